/* The CUDA device: a GPU's memory, one stream, recordings as graphs. */
#include "kernels/cuda/plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda.h"

/* ---- memory ---- */

static kern_status gpu_alloc(void **memory, size_t bytes, const char *what) {
    size_t unused = 0, total = 0, asked = bytes ? kern_align(bytes) : 64;
    *memory = NULL;
    int result = kern_cuda_runtime_table.Malloc(memory, asked);
    if (result != KERN_CUDA_MEMORY) return kern_cuda_check(result, "cudaMalloc");
    kern_cuda_runtime_table.GetLastError(); /* or a launch would report it again */
    kern_cuda_runtime_table.MemGetInfo(&unused, &total);
    return kern_fail(KERN_ERR_MEMORY,
                     "%s: %.1f MiB do not fit on %s, of whose %.1f MiB %.1f are free; "
                     "ttt plan says what takes memory",
                     what, (double)bytes / 0x1p20, kern_cuda_gpu.name, (double)total / 0x1p20,
                     (double)unused / 0x1p20);
}

static kern_stream the_stream;

static void gpu_free(void *memory) {
    if (!memory) return;
    ON_STREAM(&the_stream, RUNTIME(StreamSynchronize, kern_cuda_stream));
    ON_STREAM(&the_stream, RUNTIME(Free, memory));
}

static bool in_one_run(size_t to_pitch, size_t from_pitch, size_t width, int64_t rows) {
    return rows == 1 || (to_pitch == width && from_pitch == width);
}

static void copy(kern_stream *stream, void *to, size_t to_pitch, const void *from,
                 size_t from_pitch, size_t width, int64_t rows) {
    if (!width || !rows) return;
    if (in_one_run(to_pitch, from_pitch, width, rows))
        ON_STREAM(stream, RUNTIME(MemcpyAsync, to, from, width * (size_t)rows, KERN_CUDA_WITHIN,
                                  kern_cuda_stream));
    else
        kern_cuda_copy_runs(stream, to, to_pitch, from, from_pitch, width, rows);
}

static void zero(kern_stream *stream, void *to, size_t pitch, size_t width, int64_t rows) {
    if (!width || !rows) return;
    if (in_one_run(pitch, pitch, width, rows))
        ON_STREAM(stream, RUNTIME(MemsetAsync, to, 0, width * (size_t)rows, kern_cuda_stream));
    else
        kern_cuda_copy_runs(stream, to, pitch, NULL, 0, width, rows);
}

/* ---- the stream ---- */

static kern_status finish(kern_stream *stream) {
    ON_STREAM(stream, RUNTIME(StreamSynchronize, kern_cuda_stream));
    kern_cuda_deliver();
    return stream->status;
}

typedef struct {
    void *graph, *uploads;
} recording;

static bool captures;

static void record(kern_stream *stream) {
    ON_STREAM(stream, RUNTIME(StreamBeginCapture, kern_cuda_stream, KERN_CUDA_RELAXED));
    captures = stream->status == KERN_OK;
    kern_cuda_keep_uploads();
}

/* The capture is ended in any case, or nothing else would run. */
static void *recorded(kern_stream *stream) {
    void *graph = NULL;
    recording *made = kern_array(1, sizeof *made);
    made->uploads = kern_cuda_kept_uploads();
    if (stream->status == KERN_OK)
        ON_STREAM(stream, RUNTIME(StreamEndCapture, kern_cuda_stream, &graph));
    else if (captures) /* the first error is the one to tell of */
        kern_cuda_runtime_table.StreamEndCapture(kern_cuda_stream, &graph);
    ON_STREAM(stream, RUNTIME(GraphInstantiate, &made->graph, graph, 0));
    if (graph) kern_cuda_runtime_table.GraphDestroy(graph);
    if (stream->status == KERN_OK) return made;
    kern_cuda_forget_uploads(made->uploads);
    free(made);
    return NULL;
}

static void replay(kern_stream *stream, const void *of) {
    const recording *r = of;
    if (r) ON_STREAM(stream, RUNTIME(GraphLaunch, r->graph, kern_cuda_stream));
}

static void forget(void *of) {
    recording *r = of;
    if (!r) return;
    ON_STREAM(&the_stream, RUNTIME(StreamSynchronize, kern_cuda_stream));
    ON_STREAM(&the_stream, RUNTIME(GraphExecDestroy, r->graph));
    kern_cuda_forget_uploads(r->uploads);
    free(r);
}

/* ---- opening ---- */

static char device_name[KERN_CUDA_NAME];

static kern_machine machine;

static kern_device cuda = {.name = device_name,
                           .machine = &machine,
                           .stream = &the_stream,
                           .alloc = gpu_alloc,
                           .free = gpu_free,
                           .copy = copy,
                           .zero = zero,
                           .upload = kern_cuda_upload,
                           .download = kern_cuda_download,
                           .lap = kern_cuda_lap,
                           .laps = kern_cuda_laps,
                           .finish = finish,
                           .record = record,
                           .recorded = recorded,
                           .replay = replay,
                           .forget = forget,
                           .chosen = kern_cuda_chosen,
                           .choose = kern_cuda_choose,
                           .join = kern_cuda_join,
                           .leave = kern_cuda_leave,
                           .matmul = &kern_cuda_matmul,
                           .attention = &kern_cuda_attention,
                           .rows = &kern_cuda_rows,
                           .move = &kern_cuda_move};

/* Makes a rank's number that of a GPU. */
static kern_status look_for(int *asked) {
    int index = *asked, count = 0, result = kern_cuda_runtime_table.GetDeviceCount(&count);
    if (result == KERN_CUDA_OLD_DRIVER)
        return kern_fail(KERN_ERR_CONFIG, "device cuda: no NVIDIA driver, or one too old for this "
                                          "build's CUDA; nvidia-smi shows it");
    if (result == KERN_CUDA_NO_DEVICE || (!result && !count))
        return kern_fail(KERN_ERR_CONFIG, "device cuda: the driver sees no GPU");
    kern_status status = kern_cuda_check(result, "cudaGetDeviceCount");
    if (status == KERN_OK && index >= count)
        return kern_fail(KERN_ERR_CONFIG, "device cuda:%d: there %s %d GPU%s, counted from 0",
                         index, count > 1 ? "are" : "is", count, count > 1 ? "s" : "");
    if (index < 0 && status == KERN_OK) *asked = (-1 - index) % count;
    return status;
}

static kern_status learn(int index) {
    kern_gpu *gpu = &kern_cuda_gpu;
    static char properties[KERN_CUDA_PROPERTIES];
    kern_status status = KERN_OK;
    int shared = 0;
    size_t unused = 0, total = 0;
    TRY(RUNTIME(SetDevice, index));
    TRY(RUNTIME(GetDeviceProperties, properties, index));
    TRY(RUNTIME(DeviceGetAttribute, &gpu->major, KERN_CUDA_MAJOR, index));
    TRY(RUNTIME(DeviceGetAttribute, &gpu->minor, KERN_CUDA_MINOR, index));
    TRY(RUNTIME(DeviceGetAttribute, &gpu->multiprocessors, KERN_CUDA_MULTIPROCESSORS, index));
    TRY(RUNTIME(DeviceGetAttribute, &shared, KERN_CUDA_SHARED_BYTES, index));
    gpu->shared_bytes = (size_t)shared;
    snprintf(gpu->name, sizeof gpu->name, "%.60s", properties);
    TRY(RUNTIME(MemGetInfo, &unused, &total));
    machine =
        kern_machine_like(gpu->name, 0.95 * (double)unused); /* what graphs and modules take */
    if (gpu->major < 8)
        status = kern_fail(KERN_ERR_CONFIG,
                           "device cuda: %s has compute capability %d.%d; 8.0 or "
                           "more is needed",
                           gpu->name, gpu->major, gpu->minor);
done:
    return status;
}

kern_status kern_cuda_open(const kern_device **device, const kern_cuda_wish *wish) {
    static bool open;
    kern_status status = KERN_OK;
    *device = NULL;
    int index = wish->index;
    TRY(look_for(&index));
    if (open && (kern_cuda_gpu.index != index || kern_cuda_gpu.tf32 != wish->tf32 ||
                 !kern_cuda_gpu.cudnn == wish->cudnn))
        return kern_fail(KERN_ERR_CONFIG, "device %s: this program computes on %s", wish->name,
                         device_name);
    if (!open) {
        TRY(learn(index));
        TRY(RUNTIME(StreamCreateWithFlags, &kern_cuda_stream, KERN_CUDA_NON_BLOCKING));
        TRY(kern_cuda_transfer_create());
        TRY(kern_cuda_matmul_open());
        if (wish->cudnn) {
            TRY(kern_cuda_cudnn_open(&kern_cuda_gpu.cudnn));
            cuda.attention = &kern_cuda_attention_cudnn;
        }
        kern_cuda_gpu.index = index;
        kern_cuda_gpu.tf32 = wish->tf32;
        the_stream.device = &cuda;
        snprintf(device_name, sizeof device_name, "%s", wish->name);
        if (wish->index < 0) /* the name leaves it open */
            snprintf(device_name, sizeof device_name, "cuda:%d%s%s", index,
                     wish->tf32 ? "+tf32" : "", wish->cudnn ? "+cudnn" : "");
        fprintf(stderr, "%s is %s\n", device_name, kern_cuda_gpu.name);
        open = true;
    }
    *device = &cuda;
done:
    return status;
}
