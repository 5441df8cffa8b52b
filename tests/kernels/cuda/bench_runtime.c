#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/base.h"
#include "kernels/cuda/libraries.h"
#include "tests/kernels/cuda/bench.h"
#include "tests/kernels/cuda/bench_gpu.h"
#include "tests/kernels/cuda/emulator.h"

static void complain(const char *call, const char *what) {
    char text[256];
    snprintf(text, sizeof text, "bench: %s: %s", call, what);
    kern_assert_failed(text, __FILE__, __LINE__);
}

/* ---- memory: each piece ends at a page that faults ---- */

enum { PAGE = 4096 };

typedef struct piece {
    struct piece *next;
    char *data, *mapped;
    size_t bytes, mapped_bytes;
} piece;

static piece *pieces;
static size_t taken;

static void protect_all(int protection) {
    for (piece *p = pieces; p; p = p->next)
        ASSERT(!mprotect(p->mapped, p->mapped_bytes - PAGE, protection));
}

bool bench_find_memory(const void *address, size_t bytes, const char **begin, const char **end) {
    const char *at = address;
    for (const piece *p = pieces; p; p = p->next)
        if (at >= p->data && at + bytes <= p->data + p->bytes) {
            *begin = p->data;
            *end = p->data + p->bytes;
            return true;
        }
    return false;
}

void bench_check_memory(const void *address, size_t bytes, const char *call) {
    const char *begin, *end;
    if (!bench_find_memory(address, bytes, &begin, &end))
        complain(call, "not an address of the GPU's memory");
}

static bool is_host(const void *address) {
    const char *at = address;
    for (const piece *p = pieces; p; p = p->next)
        if (at >= p->mapped && at < p->mapped + p->mapped_bytes) return false;
    return true;
}

static size_t memory_bytes(void) {
    return bench_number("TTT_BENCH_MEMORY", (size_t)8 << 30);
}

static int bench_MemGetInfo(size_t *unused, size_t *total) {
    MAY_FAIL(MemGetInfo);
    *total = memory_bytes();
    *unused = *total - taken;
    return 0;
}

static int bench_Malloc(void **memory, size_t bytes) {
    if (bench_fails("cudaMalloc") || taken + bytes > memory_bytes()) return KERN_CUDA_MEMORY;
    piece *made = kern_array(1, sizeof *made);
    made->bytes = bytes;
    made->mapped_bytes = (bytes + PAGE - 1) / PAGE * PAGE + PAGE;
    made->mapped = mmap(NULL, made->mapped_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT(made->mapped != MAP_FAILED && bytes % 64 == 0);
    made->data = made->mapped + made->mapped_bytes - PAGE - bytes;
    memset(made->data, 0xff, bytes);
    ASSERT(!mprotect(made->mapped, made->mapped_bytes, PROT_NONE));
    made->next = pieces;
    pieces = made;
    taken += bytes;
    *memory = made->data;
    return 0;
}

/* ---- streams ---- */

typedef struct {
    void (*run)(void *arguments); /* which belong to the call */
    void *arguments;
} call;

typedef struct {
    call *item;
    int64_t count, capacity, done;
} calls;

typedef struct {
    calls waiting;
    calls *capture;
    bool there;
} stream;

/* Those that the device makes: what computes, and what ranks do together beside that. */
static stream the_stream, the_second;

static stream *stream_of(void *handle, const char *name) {
    stream *s = handle == &the_stream || handle == &the_second ? handle : NULL;
    if (!s || !s->there) complain(name, "not on one of the device's streams");
    return s;
}

void *bench_note(void *handle, void (*run)(void *), size_t bytes) {
    stream *s = stream_of(handle, "a call");
    calls *to = s->capture ? s->capture : &s->waiting;
    to->item = kern_grow(to->item, &to->capacity, to->count + 1, sizeof *to->item);
    void *arguments = kern_array(1, bytes);
    to->item[to->count++] = (call){run, arguments};
    return arguments;
}

typedef struct {
    stream *on;
    int64_t recorded, ran; /* how often */
    double time;
} event;

/* A stream runs what another one waits for. */
static void open_memory(bool open) {
    static int times;
    times += open ? 1 : -1;
    if (times == open) protect_all(open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

/* Runs what waits, until the event has been met so often if one is given. */
static void run_waiting(stream *s, const event *until, int64_t times) {
    calls *c = &s->waiting;
    open_memory(true);
    while (c->done < c->count && !(until && until->ran >= times)) {
        call *next = &c->item[c->done++];
        next->run(next->arguments);
        free(next->arguments);
    }
    open_memory(false);
    if (c->done == c->count) c->done = c->count = 0;
}

bool bench_begin_now(void *handle) {
    if (stream_of(handle, "a call") != &the_second) return false;
    if (the_stream.capture) complain("the second stream", "not while the first is recorded");
    run_waiting(&the_second, NULL, 0);
    open_memory(true);
    return true;
}

void bench_end_now(void) {
    open_memory(false);
}

static void want_idle(const char *name) {
    if (the_stream.waiting.count || the_second.waiting.count)
        complain(name, "calls that may use it are still to run");
}

static int bench_Free(void *memory) {
    MAY_FAIL(Free);
    want_idle("cudaFree");
    for (piece **p = &pieces; *p; p = &(*p)->next)
        if ((*p)->data == memory) {
            piece *gone = *p;
            *p = gone->next;
            taken -= gone->bytes;
            ASSERT(!munmap(gone->mapped, gone->mapped_bytes));
            free(gone);
            return 0;
        }
    complain("cudaFree", "not an address of the GPU's memory");
    return INVALID;
}

static int bench_HostAlloc(void **memory, size_t bytes, unsigned flags) {
    MAY_FAIL(HostAlloc);
    *memory = kern_array((int64_t)bytes, 1);
    return flags ? INVALID : 0;
}

static int bench_FreeHost(void *memory) {
    MAY_FAIL(FreeHost);
    want_idle("cudaFreeHost");
    free(memory);
    return 0;
}

static int bench_StreamCreateWithFlags(void **made, unsigned flags) {
    MAY_FAIL(StreamCreateWithFlags);
    ASSERT(flags == KERN_CUDA_NON_BLOCKING);
    the_stream.there = true;
    *made = &the_stream;
    return 0;
}

static int bench_StreamCreateWithPriority(void **made, unsigned flags, int priority) {
    MAY_FAIL(StreamCreateWithPriority);
    ASSERT(flags == KERN_CUDA_NON_BLOCKING && priority < 0);
    the_second.there = true;
    *made = &the_second;
    return 0;
}

static int bench_StreamSynchronize(void *handle) {
    MAY_FAIL(StreamSynchronize);
    stream *s = stream_of(handle, "cudaStreamSynchronize");
    if (s->capture) return CAPTURING;
    run_waiting(s, NULL, 0);
    return 0;
}

static int bench_StreamBeginCapture(void *handle, int mode) {
    MAY_FAIL(StreamBeginCapture);
    stream *s = stream_of(handle, "cudaStreamBeginCapture");
    if (s->capture || mode != KERN_CUDA_RELAXED) return INVALID;
    s->capture = kern_array(1, sizeof *s->capture);
    return 0;
}

static int bench_StreamEndCapture(void *handle, void **graph) {
    stream *s = stream_of(handle, "cudaStreamEndCapture");
    *graph = s->capture;
    s->capture = NULL;
    MAY_FAIL(StreamEndCapture);
    return *graph ? 0 : INVALID;
}

/* ---- copies ---- */

typedef struct {
    void *to;
    const void *from; /* NULL: zeros */
    size_t bytes;
} copy;

static void copy_late(void *arguments) {
    copy *c = arguments;
    if (c->from)
        memcpy(c->to, c->from, c->bytes);
    else
        memset(c->to, 0, c->bytes);
}

static int bench_MemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *handle) {
    MAY_FAIL(MemcpyAsync);
    const char *name = "cudaMemcpyAsync";
    if (kind != KERN_CUDA_TO_HOST) bench_check_memory(to, bytes, name);
    if (kind != KERN_CUDA_TO_DEVICE) bench_check_memory(from, bytes, name);
    if (kind == KERN_CUDA_TO_HOST && !is_host(to)) complain(name, "not the host's memory");
    if (kind == KERN_CUDA_TO_DEVICE && !is_host(from)) complain(name, "not the host's memory");
    if ((char *)to < (const char *)from + bytes && (const char *)from < (char *)to + bytes)
        complain(name, "a copy onto itself");
    if (kind == KERN_CUDA_TO_HOST) memset(to, 0xff, bytes);
    *(copy *)bench_note(handle, copy_late, sizeof(copy)) = (copy){to, from, bytes};
    return 0;
}

static int bench_MemsetAsync(void *to, int value, size_t bytes, void *handle) {
    MAY_FAIL(MemsetAsync);
    bench_check_memory(to, bytes, "cudaMemsetAsync");
    ASSERT(!value);
    *(copy *)bench_note(handle, copy_late, sizeof(copy)) = (copy){to, NULL, bytes};
    return 0;
}

/* ---- events ---- */

static void event_late(void *arguments) {
    event *e = *(event **)arguments;
    e->ran++;
    e->time = kern_seconds();
}

static int bench_EventCreateWithFlags(void **made, unsigned flags) {
    MAY_FAIL(EventCreateWithFlags);
    *made = kern_array(1, sizeof(event));
    return flags ? INVALID : 0;
}

static int bench_EventRecord(void *handle, void *on) {
    MAY_FAIL(EventRecord);
    event *e = handle;
    e->on = stream_of(on, "cudaEventRecord");
    e->recorded++;
    *(event **)bench_note(on, event_late, sizeof(event *)) = e;
    return 0;
}

static int bench_EventSynchronize(void *handle) {
    MAY_FAIL(EventSynchronize);
    event *e = handle;
    if (the_stream.capture) return CAPTURING;
    if (e->on) run_waiting(e->on, e, e->recorded);
    return 0;
}

/* For the event as it is recorded now, whatever is recorded later. */
typedef struct {
    event *of;
    stream *on;
    int64_t times;
} awaited;

static void wait_late(void *arguments) {
    const awaited *a = arguments;
    if (a->of->ran < a->times) run_waiting(a->on, a->of, a->times);
}

static int bench_StreamWaitEvent(void *on, void *handle, unsigned flags) {
    MAY_FAIL(StreamWaitEvent);
    event *e = handle;
    if (the_stream.capture) return CAPTURING;
    if (e->on)
        *(awaited *)bench_note(on, wait_late, sizeof(awaited)) = (awaited){e, e->on, e->recorded};
    return flags ? INVALID : 0;
}

static int bench_EventElapsedTime(float *milliseconds, void *from, void *to) {
    MAY_FAIL(EventElapsedTime);
    const event *a = from, *b = to;
    if (!a->ran || a->ran < a->recorded || !b->ran || b->ran < b->recorded) return NOT_READY;
    if (b->time < a->time) complain("cudaEventElapsedTime", "the second event came first");
    *milliseconds = (float)((b->time - a->time) * 1000);
    return 0;
}

/* ---- graphs ---- */

static void free_calls(calls *list) {
    for (int64_t i = 0; i < list->count; i++) free(list->item[i].arguments);
    free(list->item);
    free(list);
}

static int bench_GraphInstantiate(void **exec, void *graph, unsigned long long flags) {
    MAY_FAIL(GraphInstantiate);
    calls *from = graph, *made = kern_array(1, sizeof *made);
    if (flags) return INVALID;
    *made = *from;
    *from = (calls){0};
    *exec = made;
    return 0;
}

static int bench_GraphDestroy(void *graph) {
    MAY_FAIL(GraphDestroy);
    free_calls(graph);
    return 0;
}

static void graph_late(void *arguments) {
    const calls *list = *(const calls **)arguments;
    for (int64_t i = 0; i < list->count; i++) list->item[i].run(list->item[i].arguments);
}

static int bench_GraphLaunch(void *exec, void *handle) {
    MAY_FAIL(GraphLaunch);
    *(void **)bench_note(handle, graph_late, sizeof exec) = exec;
    return 0;
}

static int bench_GraphExecDestroy(void *exec) {
    MAY_FAIL(GraphExecDestroy);
    want_idle("cudaGraphExecDestroy");
    free_calls(exec);
    return 0;
}

/* ---- kernels ---- */

enum { RAISED = 64 };

static struct {
    const void *kernel;
    size_t bytes;
} raised[RAISED]; /* kernels that may have more shared memory than without asking */

static size_t shared_limit(const void *kernel) {
    for (int i = 0; i < RAISED; i++)
        if (raised[i].kernel == kernel) return raised[i].bytes;
    return KERN_CUDA_SHARED_UNASKED;
}

size_t bench_most_shared(void) {
    return bench_number("TTT_BENCH_SHARED", 101376);
}

static int bench_FuncSetAttribute(const void *kernel, int attribute, int value) {
    MAY_FAIL(FuncSetAttribute);
    if (attribute != KERN_CUDA_MOST_SHARED_BYTES || (size_t)value > bench_most_shared())
        return INVALID;
    int i = 0;
    while (raised[i].kernel && raised[i].kernel != kernel) i++;
    ASSERT(i < RAISED - 1);
    raised[i].kernel = kernel;
    raised[i].bytes = (size_t)value;
    return 0;
}

/* A kernel of a text: a block is one call. What a launch is handed is the first member. */
typedef struct {
    kern_block_kernel kernel; /* without `thread` */
    void (*block)(void *const *memory, int64_t block);
    int64_t marked;        /* instead of block: all of it is one call */
    const ptx_kernel *ptx; /* or it is run as PTX */
} text_kernel;

static int bench_LibraryLoadData(void **library, const void *code, int *jit_options,
                                 void **jit_values, unsigned jit_count, int *options, void **values,
                                 unsigned count) {
    MAY_FAIL(LibraryLoadData);
    if (jit_options || jit_values || jit_count || options || values || count) return INVALID;
    *library = bench_load_code(code);
    return *library ? 0 : INVALID;
}

static int bench_LibraryGetKernel(void **kernel, void *library, const char *name) {
    MAY_FAIL(LibraryGetKernel);
    const bench_code *code = library;
    char text[128];
    text_kernel *made = kern_array(1, sizeof *made);
    *kernel = made;
    made->marked = code->marked;
    made->kernel = (kern_block_kernel){.name = "row program", .threads = 256};
    if (made->marked >= 0) {
        made->kernel.args = sizeof(void *) * (size_t)(bench_marked_operands(made->marked) + 1);
        return 0;
    }
    if (code->ptx) {
        made->ptx = ptx_find(code->ptx, name);
        if (made->ptx) made->kernel.args = ptx_argument_bytes(made->ptx);
        return made->ptx ? 0 : INVALID;
    }
    snprintf(text, sizeof text, "%s_memories", name);
    void *block = dlsym(code->library, name), *count = dlsym(code->library, text);
    if (!block || !count) return INVALID;
    made->kernel.args = sizeof(void *) * (size_t) * (int *)count;
    memcpy(&made->block, &block, sizeof block);
    return 0;
}

typedef struct {
    const kern_block_kernel *kernel;
    unsigned grid[3], threads;
    size_t shared_bytes;
    _Alignas(16) char args[];
} launch;

static void launch_late(void *arguments) {
    const launch *l = arguments;
    const text_kernel *text = l->kernel->thread ? NULL : (const text_kernel *)l->kernel;
    const ptx_kernel *ptx = text ? text->ptx : bench_ptx(l->kernel);
    if (ptx) {
        ptx_run(ptx, l->args, l->grid, (int)l->threads, l->shared_bytes,
                bench_number("TTT_BENCH_SEED", 0));
    } else if (!text) {
        emulator_run(l->kernel, l->args, l->grid, (int)l->threads, l->shared_bytes);
    } else if (text->marked >= 0) {
        bench_run_marked(text->marked, (void *const *)(const void *)l->args);
    } else {
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = 0; i < (int64_t)l->grid[0]; i++)
            text->block((void *const *)(const void *)l->args, i);
    }
}

static int bench_LaunchKernel(const void *kernel, kern_cuda_extent grid, kern_cuda_extent block,
                              void **args, size_t shared_bytes, void *handle) {
    MAY_FAIL(LaunchKernel);
    const kern_block_kernel *k = kernel;
    bool fits = grid.x && grid.x < 1u << 31 && grid.y && grid.y < 1u << 16 && grid.z &&
                grid.z < 1u << 16 && block.x && block.x <= (unsigned)k->threads && block.y == 1 &&
                block.z == 1 && shared_bytes <= shared_limit(kernel);
    if (!fits) return INVALID;
    launch *l = bench_note(handle, launch_late, sizeof *l + k->args);
    l->kernel = k;
    memcpy(l->grid, &grid, sizeof l->grid);
    l->threads = block.x;
    l->shared_bytes = shared_bytes;
    memcpy(l->args, args[0], k->args);
    return 0;
}

#define FILL(name, arguments) .name = bench_##name,
const kern_cuda_runtime kern_cuda_runtime_table = {KERN_CUDA_RUNTIME(FILL).error = bench_error};
