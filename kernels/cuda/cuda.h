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
    bool tf32;           /* products of f32 may round their operands to TF32 */
    size_t cudnn;        /* the version of cuDNN by which attention is computed; 0: by none */
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

/* ---- algorithms.c: which algorithm each product takes ---- */

/* A product as cublasLt has it, for algorithms to be checked by. */
typedef struct {
    void *library, *description, *a, *b, *c;
} kern_cublas_product;

enum { KERN_CUDA_KIND = 160, KERN_CUBLAS_WORKSPACE_MOST = 32 << 20 };

/* The choice for this kind of product (a text without " = "): the one that there is, or what
 * ask(choice, how) says, which is then kept. */
kern_status kern_cuda_algorithm(kern_cublas_choice *choice, const char *kind,
                                const kern_cublas_product *product,
                                kern_status (*ask)(kern_cublas_choice *, const void *),
                                const void *how);
/* As kern_device's. */
char *kern_cuda_chosen(void);
kern_status kern_cuda_choose(const char *chosen, const char *from);

/* ---- comm.c ---- */

kern_status kern_cuda_join(struct kern_comm *comm, const struct kern_comm *host);
void kern_cuda_leave(struct kern_comm *comm);

/* ---- the tables ---- */

kern_status kern_cuda_matmul_open(void);
extern const kern_matmul_ops kern_cuda_matmul;
extern const kern_attention_ops kern_cuda_attention;
kern_status kern_cuda_cudnn_open(size_t *version); /* after which there is */
extern const kern_attention_ops kern_cuda_attention_cudnn;
extern const kern_rows_ops kern_cuda_rows;
extern const kern_move_ops kern_cuda_move;

/* As kern_device's: runs of bytes, pitches apart. from NULL: zeros. */
void kern_cuda_copy_runs(kern_stream *stream, void *to, size_t to_pitch, const void *from,
                         size_t from_pitch, size_t width, int64_t rows);

/* to = from, of bf16; both aligned to 16 bytes. */
void kern_cuda_widen(kern_stream *stream, float *to, const uint16_t *from, int64_t count);

#endif
