#include "tests/kernels/cuda/emulator.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base.h"
#include "tests/kernels/cuda/fiber.h"

#ifdef EMULATOR_WATCHES /* accesses of the kernels, and what orders them (watch.h) */
#include "tests/kernels/cuda/watched/watch.h"
#define WATCH(call) watch_##call
#define MARGIN WATCH_MARGIN
#else
#define WATCH(call) ((void)0)
#define MARGIN 0
#endif

enum { LANES = 32, MOST = 1024, STACK = 65536, COPIES = 64 };

typedef enum { READY, AT_WARP, AT_BLOCK, ENDED } waiting;

typedef struct {
    void *to;
    const void *from;
    bool valid;
    int group;
} async_copy;

typedef struct {
    fiber *fiber;
    waiting state;
    const char *file; /* of the collective that it waits at, or has left */
    int line;
    void *operand;
    int copies, group; /* copies under way; the one that is begun next is of this group */
} thread;

/* One block under way, on one of the program's threads. */
typedef struct {
    const kern_block_kernel *kernel;
    const void *args;
    fiber *here;
    thread thread[MOST];
    async_copy copy[MOST][COPIES]; /* apart, so that threads lie close together */
    int threads, running, at_block, at_warp[MOST / LANES], ended;
    int warp, turn, looked_at; /* the warp under way, where its pass began, lanes seen since */
    char *shared;
    size_t shared_bytes;
    uint64_t random;
} block;

_Thread_local kern_block_place kern_place;
static _Thread_local block *the_block;
static uint64_t seed;

void emulator_seed(uint64_t value) {
    seed = value;
}

static int below(block *b, int n) {
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (int)((b->random >> 33) % (uint64_t)n);
}

static thread *running(void) {
    return &the_block->thread[the_block->running];
}

/* ---- faults ---- */

static const char *place_of(const thread *t, char *text, size_t size) {
    static const char *const how[] = {"came from", "waits for its warp at",
                                      "waits for its block at", "ended after"};
    snprintf(text, size, "%s %s:%d", how[t->state], t->file ? t->file : "the kernel's begin",
             t->line);
    return text;
}

_Noreturn static void complain(const char *what, int a, int b) {
    const block *at = the_block;
    char one[256], other[256], text[1024];
    snprintf(text, sizeof text, "%s, block %d %d %d: %s: thread %d %s, thread %d %s",
             at->kernel->name, kern_place.block[0], kern_place.block[1], kern_place.block[2], what,
             a, place_of(&at->thread[a], one, sizeof one), b,
             place_of(&at->thread[b], other, sizeof other));
    kern_assert_failed(text, __FILE__, __LINE__);
}

/* ---- the next thread ---- */

/* The next lane that can run in this pass over the warp under way; NULL at the pass's end. */
static fiber *next_lane(block *b) {
    while (b->looked_at < LANES) {
        int i = b->looked_at++, of_warp = seed == 1 ? LANES - 1 - i : (i + b->turn) % LANES;
        int which = b->warp * LANES + of_warp;
        if (b->thread[which].state != READY) continue;
        b->running = which;
        kern_place.thread = which;
        return b->thread[which].fiber;
    }
    return NULL;
}

/* The thread that runs waits or has ended: straight on to the next one. */
static void leave(block *b) {
    fiber *from = running()->fiber, *next = next_lane(b);
    fiber_change(from, next ? next : b->here);
}

/* ---- collectives ---- */

static void wait_as(waiting state, const char *file, int line, void *operand) {
    thread *t = running();
    t->state = state;
    t->file = file;
    t->line = line;
    t->operand = operand;
}

/* Threads first .. first + count are all here: at one line, or it is a fault. */
static void release_all(int first, int count) {
    block *b = the_block;
    const thread *one = &b->thread[first];
    for (int i = first + 1; i < first + count; i++)
        if (b->thread[i].line != one->line || b->thread[i].file != one->file)
            complain("a collective at two lines", first, i);
    for (int i = first; i < first + count; i++) b->thread[i].state = READY;
}

/* The last of the warp to come has act(operands) done, with those of all lanes. */
static void meet_warp(const char *file, int line, void *operand, void (*act)(thread *lanes)) {
    block *b = the_block;
    int warp = b->running / LANES;
    wait_as(AT_WARP, file, line, operand);
    if (++b->at_warp[warp] < LANES) {
        leave(b);
        return;
    }
    b->at_warp[warp] = 0;
    release_all(warp * LANES, LANES);
    act(&b->thread[warp * LANES]);
}

void kern_sync_block(const char *file, int line) {
    block *b = the_block;
    wait_as(AT_BLOCK, file, line, NULL);
    if (++b->at_block < b->threads) {
        leave(b);
    } else {
        b->at_block = 0;
        WATCH(barrier(-1));
        release_all(0, b->threads);
    }
}

static void act_sync(thread *lanes) {
    (void)lanes;
    WATCH(barrier(the_block->running / LANES));
}

void kern_sync_warp(const char *file, int line) {
    meet_warp(file, line, NULL, act_sync);
}

typedef struct {
    uint64_t mine, got;
    int from;
} shuffle;

static void act_shuffle(thread *lanes) {
    for (int i = 0; i < LANES; i++) {
        shuffle *s = lanes[i].operand;
        s->got = ((shuffle *)lanes[s->from & 31].operand)->mine;
    }
}

uint64_t kern_warp_shuffle(uint64_t bits, int from, const char *file, int line) {
    shuffle s = {bits, 0, from};
    meet_warp(file, line, &s, act_shuffle);
    return s.got;
}

typedef struct {
    bool mine;
    uint32_t all;
} ballot;

static void act_ballot(thread *lanes) {
    uint32_t all = 0;
    for (int i = 0; i < LANES; i++)
        if (((ballot *)lanes[i].operand)->mine) all |= (uint32_t)1 << i;
    for (int i = 0; i < LANES; i++) ((ballot *)lanes[i].operand)->all = all;
}

uint32_t kern_warp_ballot(bool condition, const char *file, int line) {
    ballot b = {condition, 0};
    meet_warp(file, line, &b, act_ballot);
    return b.all;
}

typedef struct {
    float *d;
    const uint32_t *a, *b;
} product;

static float half_of(uint32_t pair, int which) {
    return which ? bf16_high(pair) : bf16_low(pair);
}

typedef float eight __attribute__((vector_size(32)));

/* Lane i holds, with row = i / 4 and column = i % 4: of a, rows row and row + 8, columns 2 column
 * and 2 column + 8, two each; of b, rows 2 column and 2 column + 8, two each, in column row; of d,
 * rows row and row + 8, columns 2 column, two each. Each element is summed in the order of k. */
static void act_product(thread *lanes) {
    float a[16][16];
    eight b[16], sum[16];
    for (int i = 0; i < LANES; i++) {
        const product *p = lanes[i].operand;
        for (int j = 0; j < 8; j++)
            a[i / 4 + j / 2 % 2 * 8][i % 4 * 2 + j / 4 * 8 + j % 2] = half_of(p->a[j / 2], j % 2);
        for (int j = 0; j < 4; j++)
            b[i % 4 * 2 + j / 2 * 8 + j % 2][i / 4] = half_of(p->b[j / 2], j % 2);
    }
    for (int row = 0; row < 16; row++) {
        sum[row] = (eight){0};
        for (int k = 0; k < 16; k++) sum[row] += a[row][k] * b[k];
    }
    for (int i = 0; i < LANES; i++) {
        float *d = ((product *)lanes[i].operand)->d;
        for (int j = 0; j < 4; j++) d[j] += sum[i / 4 + j / 2 * 8][i % 4 * 2 + j % 2];
    }
}

void kern_mma_bf16(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line) {
    product p = {d, a, b};
    meet_warp(file, line, &p, act_product);
}

typedef struct {
    uint16_t row[8];
    uint32_t *to;
    bool transposed;
} matrix;

static void act_matrix(thread *lanes) {
    for (int i = 0; i < LANES; i++) {
        const matrix *m = lanes[i].operand;
        for (int j = 0; j < 4; j++) {
            uint32_t pair[2];
            for (int half = 0; half < 2; half++) {
                int row = i / 4, column = i % 4 * 2 + half;
                if (m->transposed) {
                    row = column;
                    column = i / 4;
                }
                pair[half] = ((const matrix *)lanes[j * 8 + row].operand)->row[column];
            }
            m->to[j] = pair[1] << 16 | pair[0];
        }
    }
}

void kern_load_matrix(uint32_t *to, const void *row, bool transposed, const char *file, int line) {
    matrix m = {.to = to, .transposed = transposed};
    ASSERT((uintptr_t)row % 16 == 0);
    WATCH(access(row, sizeof m.row, false, __builtin_return_address(0)));
    memcpy(m.row, row, sizeof m.row);
    meet_warp(file, line, &m, act_matrix);
}

void kern_check_pack(const void *at) {
    ASSERT((uintptr_t)at % 16 == 0);
}

/* ---- copies under way ---- */

void kern_copy_async(void *shared, const void *global, bool valid) {
    thread *t = running();
    ASSERT((uintptr_t)shared % 16 == 0 && (!valid || (uintptr_t)global % 16 == 0));
    ASSERT(t->copies < COPIES);
    WATCH(begin_copy(shared, 16));
    if (valid) WATCH(access(global, 16, false, __builtin_return_address(0)));
    memset(shared, 0xff, 16);
    the_block->copy[the_block->running][t->copies++] =
        (async_copy){shared, global, valid, t->group};
}

void kern_copy_async_commit(void) {
    running()->group++;
}

void kern_copy_async_wait(int last) {
    thread *t = running();
    async_copy *copy = the_block->copy[the_block->running];
    int kept = 0;
    for (int i = 0; i < t->copies; i++) {
        async_copy c = copy[i];
        if (c.group >= t->group - last) {
            copy[kept++] = c;
            continue;
        }
        WATCH(end_copy(c.to, 16, __builtin_return_address(0)));
        if (c.valid)
            memcpy(c.to, c.from, 16);
        else
            memset(c.to, 0, 16);
    }
    t->copies = kept;
}

/* ---- the order of threads ---- */

static void thread_main(void *unused) {
    (void)unused;
    block *b = the_block;
    b->kernel->thread(b->args);
    if (running()->copies) complain("a copy that nobody waited for", b->running, b->running);
    running()->state = ENDED;
    b->ended++;
    leave(b);
}

/* Runs those lanes of a warp that can; again and again if `far`. */
static bool run_warp(block *b, int warp, bool far) {
    bool ran = false, again = true;
    b->warp = warp;
    while (again) {
        b->turn = seed > 1 ? below(b, LANES) : 0;
        b->looked_at = 0;
        fiber *first = next_lane(b);
        if (first) fiber_change(b->here, first); /* until no lane is left of this pass */
        ran = ran || first;
        again = far && first;
    }
    return ran;
}

static void run_threads(block *b) {
    int warps = b->threads / LANES;
    while (b->ended < b->threads) {
        bool ran = false;
        int turn = seed > 1 ? below(b, warps) : 0;
        for (int i = 0; i < warps; i++) {
            int warp = seed == 1 ? warps - 1 - i : (i + turn) % warps;
            if (run_warp(b, warp, seed < 2 || below(b, 2))) ran = true;
        }
        if (ran) continue;
        int stuck = 0, other;
        while (b->thread[stuck].state == ENDED) stuck++;
        for (other = 0; other < b->threads; other++)
            if (b->thread[other].state != b->thread[stuck].state ||
                b->thread[other].line != b->thread[stuck].line)
                break;
        complain("threads that wait for ever", stuck, other % b->threads);
    }
}

static void run_block(block *b, const int at[3]) {
    b->random = seed + (uint64_t)at[0] * 7919 + (uint64_t)at[1] * 104729 + (uint64_t)at[2];
    b->ended = 0;
    kern_place = (kern_block_place){.threads = b->threads, .shared = b->shared};
    memcpy(kern_place.block, at, sizeof kern_place.block);
    if (b->shared_bytes) memset(b->shared, 0xff, b->shared_bytes);
    WATCH(block(b->shared, b->shared_bytes, b->threads));
    for (int i = 0; i < b->threads; i++) {
        thread *t = &b->thread[i];
        t->state = READY;
        t->file = NULL;
        t->line = t->copies = t->group = 0;
        fiber_start(t->fiber, thread_main, NULL);
    }
    run_threads(b);
    WATCH(end_block());
}

static block *block_of_thread(const kern_block_kernel *kernel, int threads) {
    if (!the_block) {
        the_block = kern_array(1, sizeof *the_block);
        the_block->here = fiber_here();
    }
    block *b = the_block;
    for (int i = 0; i < threads; i++)
        if (!b->thread[i].fiber) b->thread[i].fiber = fiber_create(STACK);
    b->kernel = kernel;
    b->threads = threads;
    return b;
}

void emulator_run(const kern_block_kernel *kernel, const void *args, const unsigned grid[3],
                  int threads, size_t shared_bytes) {
    ASSERT(threads > 0 && threads <= kernel->threads && threads % LANES == 0 && threads <= MOST);
    ASSERT(grid[0] && grid[1] && grid[2]);
    int64_t blocks = (int64_t)grid[0] * grid[1] * grid[2];
#ifdef EMULATOR_WATCHES
    int workers = 1;
    watch_launch(kernel->name, threads, shared_bytes);
#else
    int workers = (int)kern_min(blocks, omp_get_max_threads());
#endif
#pragma omp parallel num_threads(workers) if (workers > 1)
    {
        block *b = block_of_thread(kernel, threads);
        b->args = args;
        b->shared_bytes = shared_bytes;
        /* Of its own, so that the address sanitizer knows where it ends. */
        b->shared = shared_bytes ? aligned_alloc(16, (shared_bytes + 15) / 16 * 16 + MARGIN) : NULL;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks; i++) {
            int64_t from_end = seed == 1 ? blocks - 1 - i : i;
            int at[3] = {(int)(from_end % grid[0]), (int)(from_end / grid[0] % grid[1]),
                         (int)(from_end / grid[0] / grid[1])};
            run_block(b, at);
        }
        free(b->shared);
    }
}
