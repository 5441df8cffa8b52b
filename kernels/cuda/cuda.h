/* The CUDA device, as its parts see each other. Internal to kernels/cuda. All calls come from one
 * thread of the program at a time and go to one stream of one GPU. */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include "kernels/cuda/libraries.h"
#include "kernels/device.h"

/* The GPU that was opened. */
typedef struct {
    int index, major, minor, multiprocessors;
    size_t shared_bytes; /* at most, of a block */
    char name[64];       /* the vendor's */
} kern_gpu;
extern kern_gpu kern_cuda_gpu;

extern void *kern_cuda_stream; /* the library's */

/* KERN_OK, or an error that names the call and says what the library says. */
kern_status kern_cuda_check(int result, const char *call);
kern_status kern_cublas_check(int result, const char *call);
kern_status kern_nvrtc_check(int result, const char *call);

#define RUNTIME(name, ...) kern_cuda_check(kern_cuda_runtime_table.name(__VA_ARGS__), "cuda" #name)
#define CUBLAS(name, ...) kern_cublas_check(kern_cublas_table.name(__VA_ARGS__), "cublasLt" #name)

#define NVRTC(name, ...) kern_nvrtc_check(kern_nvrtc_table.name(__VA_ARGS__), "nvrtc" #name)

/* On a stream: not called after the stream's first error, which it may be. */
#define ON_STREAM(stream, call) ((stream)->status = (stream)->status ? (stream)->status : (call))

/* LAUNCH(kernel, grid, threads of a block, bytes of shared memory, stream, &arguments): nothing
 * where the grid is empty. */
#define LAUNCH(name, grid, threads, shared_bytes, stream, args)                                    \
    kern_cuda_launch(stream, #name, &name, grid, threads, shared_bytes, args)
void kern_cuda_launch(kern_stream *stream, const char *name, const void *kernel,
                      kern_cuda_extent grid, int threads, size_t shared_bytes, const void *args);

/* ---- transfer.c: host memory, through memory that the GPU reaches ---- */

kern_status kern_cuda_transfer_create(void);
void kern_cuda_upload(kern_stream *stream, void *to, const void *from, size_t bytes);
void kern_cuda_download(kern_stream *stream, void *to, const void *from, size_t bytes);
/* After the stream has come to its end: what was downloaded goes where it was asked for. */
void kern_cuda_deliver(void);
/* Uploads between these are kept for as long as the recording; the list is the caller's. */
void kern_cuda_keep_uploads(void);
void *kern_cuda_kept_uploads(void);
void kern_cuda_forget_uploads(void *kept);

/* ---- laps.c ---- */

void kern_cuda_lap(kern_stream *stream, int which);
void kern_cuda_laps(kern_stream *stream, double seconds[KERN_LAPS]);

/* ---- compile.c: texts of row programs ---- */

/* The kernels of a text that has this prelude and kernel `name` (and `name`_sums, unless `sums` is
 * NULL). Compiled for the GPU that was opened, once in this process; kept on disk between runs. */
kern_status kern_cuda_compile(const char *text, const char *name, void **kernel, void **sums);

/* ---- comm.c ---- */

kern_status kern_cuda_join(struct kern_comm *comm, const struct kern_comm *host);
void kern_cuda_leave(struct kern_comm *comm);

/* ---- the tables ---- */

kern_status kern_cuda_matmul_open(void);
extern const kern_matmul_ops kern_cuda_matmul;
extern const kern_attention_ops kern_cuda_attention;
extern const kern_rows_ops kern_cuda_rows;
extern const kern_move_ops kern_cuda_move;

/* As kern_device's: runs of bytes, pitches apart. from NULL: zeros. */
void kern_cuda_copy_runs(kern_stream *stream, void *to, size_t to_pitch, const void *from,
                         size_t from_pitch, size_t width, int64_t rows);

#endif
