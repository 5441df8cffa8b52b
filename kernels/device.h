/* What computes: the memory of a device and the calls that work on it, in four families. This
 * header, an implementation behind it and nothing else knows where numbers lie. The CPU is the
 * reference; "check" is the CPU with memory that the rest of the program may not touch and with
 * calls that run as late as they may (device_check.c): what passes on it can run elsewhere. "cuda"
 * is an NVIDIA GPU, by a plug-in (kernels/cuda) that is opened when it is asked for.
 *
 * Calls are made on a stream, all by one thread, and run in its order, possibly
 * later; they take addresses in the device's memory unless something else is said, and none of them
 * fails on its own: a stream keeps its first error, and what follows is undefined until
 * kern_finish() has told of it. A device has a second stream, for what ranks do together while the
 * first one computes. All local. */
#ifndef KERNELS_DEVICE_H
#define KERNELS_DEVICE_H

#include "kernels/attention.h"
#include "kernels/machine.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"

typedef struct kern_device kern_device;
struct kern_comm;

typedef struct {
    const kern_device *device;
    kern_status status; /* of the first call that failed; its message is kern_error()'s */
} kern_stream;

/* What `create` makes is for this device alone: prepared, immutable, shareable. *workspace: bytes
 * of the device's memory, aligned to 64, that a run with up to `threads` threads needs. */

/* Products (kernels/matmul.h). */
typedef struct {
    kern_status (*create)(void **state, const kern_matmul_shape *shape, int threads,
                          size_t *workspace);
    void (*run)(kern_stream *stream, const void *state, void *c, const void *a, const void *b,
                void *workspace);
    void (*destroy)(void *state);
} kern_matmul_ops;

/* Addresses of a stage of attention, by the names of kernels/attention.h; NULL: absent, or not
 * wanted. past_rows [1]: how many rows of the past there are. */
typedef struct {
    const void *q, *k, *v, *past_k, *past_v;
    const int32_t *past_rows;
    int64_t past_stride;
    const void *ct_o, *a, *b, *c; /* of stages 1 and 2 */
    void *o, *lse;                /* results of stage 0, read by the others */
    void *ct_q, *ct_k, *ct_v, *ct_ct_o, *ct_past_k, *ct_past_v;
    int64_t ct_past_stride;
    void *workspace;
} kern_attention_arguments;

/* Stage 0, 1 or 2 with at most `past` rows before the new ones. */
typedef struct {
    kern_status (*create)(void **state, const kern_attention_shape *shape, int stage, int64_t past,
                          int threads, size_t *workspace);
    void (*run)(kern_stream *stream, const void *state, const kern_attention_arguments *call);
    void (*destroy)(void *state);
} kern_attention_ops;

/* Row programs (kernels/rows.h). */
typedef struct {
    kern_status (*create)(void **state, const kern_row_program *program, int threads,
                          size_t *workspace);
    void (*run)(kern_stream *stream, const void *state, void *const *operand, void *workspace);
    void (*destroy)(void *state);
} kern_rows_ops;

/* What moves elements (kernels/gather.h, copy.h, round.h). `shape` and strides are the host's. */
typedef struct {
    void (*gather)(kern_stream *stream, kern_dtype dtype, void *out, const void *table,
                   const int32_t *index, int64_t rows, int64_t vocab, int64_t width);
    void (*scatter_add)(kern_stream *stream, kern_dtype dtype, void *table, const void *row,
                        const int32_t *index, int64_t rows, int64_t vocab, int64_t width);
    void (*copy)(kern_stream *stream, void *dst, const int64_t *dst_stride, const void *src,
                 const int64_t *src_stride, const int64_t *shape, int rank, size_t bytes);
    void (*round)(kern_stream *stream, uint16_t *to, const float *from, int64_t count);
} kern_move_ops;

enum { KERN_LAPS = 8 };

struct kern_device {
    const char *name; /* as --device takes it */
    bool host;        /* its memory is the program's: what reads it may keep pointers to it */
    const kern_machine *machine; /* how much of what it does at a time, and how fast */
    kern_stream *stream;
    /* The second one, for collectives alone (kernels/comm.h). */
    kern_stream *beside;
    /* What is called on `later`, one of the two, from here on runs when all that was called on the
     * other one has run; an error of `beside` becomes the stream's. Not within a recording. */
    void (*order)(kern_stream *later, kern_stream *earlier);
    /* Aligned to 64 bytes, contents undefined; `what` names it in the error. free may be given
     * NULL; it waits for calls that still use the memory. */
    kern_status (*alloc)(void **memory, size_t bytes, const char *what);
    void (*free)(void *memory);
    /* `rows` runs of `width` bytes, pitches apart; the two do not overlap. */
    void (*copy)(kern_stream *stream, void *to, size_t to_pitch, const void *from,
                 size_t from_pitch, size_t width, int64_t rows);
    void (*zero)(kern_stream *stream, void *to, size_t pitch, size_t width, int64_t rows);
    /* From the host; `from` may be changed when the call returns. */
    void (*upload)(kern_stream *stream, void *to, const void *from, size_t bytes);
    /* To the host; `to` is there after kern_finish. */
    void (*download)(kern_stream *stream, void *to, const void *from, size_t bytes);
    /* The stream's time since its last lap is lap 0 .. KERN_LAPS-1; -1: it is nobody's. */
    void (*lap)(kern_stream *stream, int lap);
    /* Seconds of each lap that has passed since this was last asked. */
    void (*laps)(kern_stream *stream, double seconds[KERN_LAPS]);
    kern_status (*finish)(kern_stream *stream);
    /* Calls between record and recorded are kept instead of run; NULL entries: calls cost nothing
     * here. A recording holds addresses, and the contents of uploads. */
    void (*record)(kern_stream *stream);
    void *(*recorded)(kern_stream *stream);
    void (*replay)(kern_stream *stream, const void *recording);
    void (*forget)(void *recording);
    /* Of several algorithms of equal right, on which bits depend, those that were chosen so far: a
     * text, the caller's to free(). choose: such a text of an earlier process, read from the file
     * `from`, before anything is created; that of another machine is left aside, and this is said.
     * KERN_ERR_DATA: it is damaged. NULL entries: nothing is chosen here. */
    char *(*chosen)(void);
    kern_status (*choose)(const char *chosen, const char *from);
    /* The ranks of `host`, a comm for the host's memory that must outlive it (kernels/comm.h), for
     * memory of this device, and their end. Collective. NULL entries: `host` itself is for it. */
    kern_status (*join)(struct kern_comm *comm, const struct kern_comm *host);
    void (*leave)(struct kern_comm *comm);
    const kern_matmul_ops *matmul;
    const kern_attention_ops *attention;
    const kern_rows_ops *rows;
    const kern_move_ops *move;
};

const kern_device *kern_device_cpu(void);
const kern_device *kern_device_check(void);
/* "cuda" or "cuda:1", and behind it what is wanted of it, "+tf32" (products of f32 round their
 * operands to 10 bits behind the point), "+cudnn" (attention by cuDNN where it can), from the
 * plug-in libttt_cuda.so; KERN_ERR_CONFIG says what is missing. */
kern_status kern_device_cuda(const kern_device **device, const char *name);
/* Whether a device's name asks for cuDNN; the same error for what "cuda" does not take. */
kern_status kern_device_cuda_cudnn(bool *cudnn, const char *name);
/* "cuda" is one of several ranks' on this machine from here on: each has the next GPU. */
void kern_device_cuda_share(int local);

/* The device of this name; an error that lists those there are (KERN_ERR_CONFIG). */
kern_status kern_device_open(const kern_device **device, const char *name);

/* Waits for all calls on the stream: KERN_OK, or its first error, which is then forgotten. */
kern_status kern_finish(kern_stream *stream);

/* Memory of a device and who it belongs to. Zero-initialised: none. */
typedef struct {
    const kern_device *device;
    void *data;
    size_t bytes;
} kern_buffer;

kern_status kern_buffer_create(kern_buffer *buffer, const kern_device *device, size_t bytes,
                               const char *what);
/* The same, zeroed on the device's stream. */
kern_status kern_buffer_create_zero(kern_buffer *buffer, const kern_device *device, size_t bytes,
                                    const char *what);
void kern_buffer_destroy(kern_buffer *buffer);

/* Moves `bytes` in each of `items` items, `pitch` apart, from one place to another of the same
 * memory, in pieces of which none is copied onto itself. */
void kern_shift(kern_stream *stream, void *to, const void *from, size_t bytes, size_t pitch,
                int64_t items);

/* From and to the host; kern_download waits until the bytes are there. */
void kern_upload(const kern_device *device, void *to, const void *from, size_t bytes);
kern_status kern_download(const kern_device *device, void *to, const void *from, size_t bytes);

#endif
