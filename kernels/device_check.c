/* The check device: the CPU, made as strict as another machine. Its addresses are real ones with a
 * bit set that no address has, so that whatever touches its memory from outside faults at once; new
 * memory is NaN; calls are noted and run when somebody waits for them, so that a result that is
 * read too early is NaN too; those of the second stream read at once, with what the first one has
 * to have run before them, and their results come when that waits for them; recordings are lists of
 * such calls. A host address among the operands of a call, or one of memory that was freed, ends
 * the program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/comm.h"
#include "kernels/device_check.h"

/* Outside what x86-64 and 64-bit Arm can address. */
static const uintptr_t MARKED = (uintptr_t)1 << 54;

/* ---- memory ---- */

typedef struct block {
    struct block *next;
    char *real;
    size_t bytes;
} block;

/* Each thread has memory and calls of its own: threads may stand for ranks. */
static _Thread_local block *blocks;

static void complain(const char *what, const void *address) {
    char text[128];
    snprintf(text, sizeof text, "check device: %s (%p)", what, address);
    kern_assert_failed(text, __FILE__, __LINE__);
}

void *kern_check_real(const void *address, size_t bytes) {
    if (!address) return NULL;
    if (!((uintptr_t)address & MARKED)) complain("an address of the host's memory", address);
    char *at = (char *)((uintptr_t)address - MARKED);
    for (const block *b = blocks; b; b = b->next)
        if (at >= b->real && at + bytes <= b->real + kern_align(b->bytes)) return at;
    complain("an address outside its memory", address);
    return NULL;
}

static kern_status check_alloc(void **memory, size_t bytes, const char *what) {
    block *made = kern_array(1, sizeof *made);
    kern_status status = kern_alloc((void **)&made->real, bytes, what);
    *memory = NULL;
    if (status != KERN_OK) {
        free(made);
        return status;
    }
    memset(made->real, 0xff, bytes); /* NaN in each type; -1 */
    made->bytes = bytes;
    made->next = blocks;
    blocks = made;
    *memory = (void *)((uintptr_t)made->real + MARKED);
    return KERN_OK;
}

static void check_free(void *memory) {
    if (!memory) return;
    kern_check_run();
    char *at = kern_check_real(memory, 0);
    for (block **b = &blocks; *b; b = &(*b)->next)
        if ((*b)->real == at) {
            block *gone = *b;
            *b = gone->next;
            memset(gone->real, 0xff, gone->bytes);
            kern_free(gone->real);
            free(gone);
            return;
        }
    complain("freed memory that is none", memory);
}

/* ---- calls ---- */

typedef struct {
    void (*run)(void *arguments); /* which belong to the call, and may be changed */
    void *arguments;
} call;

typedef struct {
    call *item;
    int64_t count, capacity;
} calls;

static _Thread_local calls waiting;
static _Thread_local calls *recording; /* NULL: calls are to run */

void *kern_check_note(void (*run)(void *), size_t bytes) {
    calls *to = recording ? recording : &waiting;
    to->item = kern_grow(to->item, &to->capacity, to->count + 1, sizeof *to->item);
    void *arguments = kern_array(1, bytes);
    to->item[to->count++] = (call){run, arguments};
    return arguments;
}

void kern_check_run(void) {
    for (int64_t i = 0; i < waiting.count; i++) {
        waiting.item[i].run(waiting.item[i].arguments);
        free(waiting.item[i].arguments);
    }
    free(waiting.item);
    waiting = (calls){0};
}

static const kern_device *cpu(void) {
    return kern_device_cpu();
}

/* ---- copies ---- */

typedef struct {
    void *to;
    const void *from; /* NULL: zeros */
    size_t to_pitch, from_pitch, width;
    int64_t count;
} copy_call;

static void copy_late(void *arguments) {
    copy_call *c = arguments;
    if (c->from)
        cpu()->copy(cpu()->stream, c->to, c->to_pitch, c->from, c->from_pitch, c->width, c->count);
    else
        cpu()->zero(cpu()->stream, c->to, c->to_pitch, c->width, c->count);
}

static size_t extent(size_t pitch, size_t width, int64_t count) {
    return count ? (size_t)(count - 1) * pitch + width : 0;
}

/* Whether a row goes onto one that is read, as far as rows are equally far apart. */
static bool overlap(const copy_call *c) {
    int64_t apart = (const char *)c->to - (const char *)c->from, width = (int64_t)c->width;
    int64_t pitch = c->count > 1 ? (int64_t)c->to_pitch : 0;
    if (c->count > 1 && c->to_pitch != c->from_pitch) return false;
    for (int64_t rows = 1 - c->count; rows < c->count; rows++)
        if (llabs(apart + rows * pitch) < width) return true;
    return false;
}

static void copy(kern_stream *stream, void *to, size_t to_pitch, const void *from,
                 size_t from_pitch, size_t width, int64_t count) {
    (void)stream;
    copy_call *c = kern_check_note(copy_late, sizeof *c);
    *c = (copy_call){kern_check_real(to, extent(to_pitch, width, count)),
                     kern_check_real(from, extent(from_pitch, width, count)),
                     to_pitch,
                     from_pitch,
                     width,
                     count};
    if (overlap(c)) complain("a copy onto itself", to);
}

static void zero(kern_stream *stream, void *to, size_t pitch, size_t width, int64_t count) {
    (void)stream;
    *(copy_call *)kern_check_note(copy_late, sizeof(copy_call)) =
        (copy_call){.to = kern_check_real(to, extent(pitch, width, count)),
                    .to_pitch = pitch,
                    .width = width,
                    .count = count};
}

typedef struct {
    void *to;
    size_t bytes;
    char content[];
} upload_call;

static void upload_late(void *arguments) {
    upload_call *u = arguments;
    memcpy(u->to, u->content, u->bytes);
}

static void upload(kern_stream *stream, void *to, const void *from, size_t bytes) {
    (void)stream;
    upload_call *u = kern_check_note(upload_late, sizeof *u + bytes);
    u->to = kern_check_real(to, bytes);
    u->bytes = bytes;
    memcpy(u->content, from, bytes);
}

typedef struct {
    void *to;
    const void *from;
    size_t bytes;
} download_call;

static void download_late(void *arguments) {
    download_call *d = arguments;
    memcpy(d->to, d->from, d->bytes);
}

static void download(kern_stream *stream, void *to, const void *from, size_t bytes) {
    (void)stream;
    if ((uintptr_t)to & MARKED) complain("a download into its own memory", to);
    memset(to, 0xff, bytes);
    *(download_call *)kern_check_note(download_late, sizeof(download_call)) =
        (download_call){to, kern_check_real(from, bytes), bytes};
}

/* ---- the stream ---- */

static void lap_late(void *arguments) {
    cpu()->lap(cpu()->stream, *(int *)arguments);
}

static void lap(kern_stream *stream, int which) {
    (void)stream;
    *(int *)kern_check_note(lap_late, sizeof which) = which;
}

static void laps(kern_stream *stream, double seconds[KERN_LAPS]) {
    (void)stream;
    cpu()->laps(cpu()->stream, seconds);
}

static kern_status finish(kern_stream *stream) {
    (void)stream;
    if (recording) complain("waiting while recording", NULL);
    kern_check_run();
    return KERN_OK;
}

/* ---- the second stream ---- */

typedef struct kept {
    struct kept *next;
    void *to, *result;
    size_t bytes;
} kept;

static _Thread_local kept *newest;

void kern_check_keep(void *to, void *result, size_t bytes) {
    kept *made = kern_array(1, sizeof *made);
    if (recording) complain("a call on the second stream while recording", to);
    memset(to, 0xff, bytes);
    *made = (kept){newest, to, result, bytes};
    newest = made;
}

/* The oldest first. */
static void deliver(kept *last) {
    if (!last) return;
    deliver(last->next);
    memcpy(last->to, last->result, last->bytes);
    free(last->result);
    free(last);
}

static void deliver_late(void *arguments) {
    deliver(*(kept **)arguments);
}

static void order(kern_stream *later, kern_stream *earlier) {
    if (recording) complain("an order of the streams while recording", NULL);
    if (earlier != earlier->device->beside) {
        kern_check_run();
        return;
    }
    *(kept **)kern_check_note(deliver_late, sizeof newest) = newest;
    newest = NULL;
    if (later->status == KERN_OK) later->status = earlier->status;
    earlier->status = KERN_OK;
}

/* ---- recordings ---- */

static void record(kern_stream *stream) {
    (void)stream;
    if (recording) complain("a recording within another", NULL);
    recording = kern_array(1, sizeof *recording);
}

static void *recorded(kern_stream *stream) {
    (void)stream;
    void *made = recording;
    recording = NULL;
    return made;
}

static void replay_late(void *arguments) {
    const calls *list = *(const calls **)arguments;
    for (int64_t i = 0; i < list->count; i++) list->item[i].run(list->item[i].arguments);
}

static void replay(kern_stream *stream, const void *of) {
    (void)stream;
    *(const void **)kern_check_note(replay_late, sizeof of) = of;
}

static void forget(void *of) {
    calls *list = of;
    if (!list) return;
    kern_check_run();
    for (int64_t i = 0; i < list->count; i++) free(list->item[i].arguments);
    free(list->item);
    free(list);
}

static kern_status check_join(kern_comm *comm, const kern_comm *host) {
    *comm = kern_comm_check(host);
    return KERN_OK;
}

static void check_leave(kern_comm *comm) {
    (void)comm;
}

static kern_stream the_stream, the_beside;

static const kern_device check = {.name = "check",
                                  .machine = &kern_machine_cpu,
                                  .stream = &the_stream,
                                  .beside = &the_beside,
                                  .order = order,
                                  .alloc = check_alloc,
                                  .free = check_free,
                                  .copy = copy,
                                  .zero = zero,
                                  .upload = upload,
                                  .download = download,
                                  .lap = lap,
                                  .laps = laps,
                                  .finish = finish,
                                  .record = record,
                                  .recorded = recorded,
                                  .replay = replay,
                                  .forget = forget,
                                  .join = check_join,
                                  .leave = check_leave,
                                  .matmul = &kern_check_matmul,
                                  .attention = &kern_check_attention,
                                  .rows = &kern_check_rows,
                                  .move = &kern_check_move};

static kern_stream the_stream = {.device = &check}, the_beside = {.device = &check};

const kern_device *kern_device_check(void) {
    return &check;
}
