/* Ranks: the processes (or threads) that run one job together, and what they do together. A comm is
 * one rank's place among some of them; one of one rank stands beside it and is used like the
 * others, and launch/ fills others with a library for messages.
 *
 * Every function of a comm is collective: all its ranks make the same calls with the same counts,
 * types and roots, in the same order, or they wait for each other for ever. Results have the same
 * bits on all ranks. */
#ifndef KERNELS_COMM_H
#define KERNELS_COMM_H

#include "kernels/device.h"

typedef enum { KERN_SUM, KERN_MAX, KERN_MIN } kern_reduction;

typedef struct kern_comm kern_comm;

struct kern_comm {
    int rank, ranks; /* 0 <= rank < ranks */

    /* On memory of the stream's device, in the stream's order; what fails is the stream's error
     * (kernels/device.h). A comm is used on one stream until the other one is ordered behind that
     * (kern_device's order), and on the host likewise. dtype: f32, f64, i32, or bf16, of which sums
     * are rounded once or oftener. Buffers do not overlap, but where one is said to be the other.
     *
     * to[i] = the reduction over ranks of from[i], i < count; `to` may be `from`. */
    void (*reduce)(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                   int64_t count, kern_dtype dtype, kern_reduction how);
    /* The same of from [ranks, count], of which each rank gets its own row; `to` may be that row of
     * `from`. */
    void (*reduce_scatter)(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                           int64_t count, kern_dtype dtype, kern_reduction how);
    /* Row r of to [ranks, bytes] is `from` of rank r; `from` may be the own row of `to`. */
    void (*all_gather)(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                       size_t bytes);
    /* `at` becomes what it is on rank `root`. */
    void (*broadcast)(const kern_comm *comm, kern_stream *stream, void *at, size_t bytes, int root);

    /* On the host's memory; they wait. Ranks agree with these on what shapes a plan (the least
     * memory), add up what is shown (losses), compare hashes (the least is the largest) and get
     * names. After an error the values are undefined. */
    kern_status (*agree_i64)(const kern_comm *comm, int64_t *value, int64_t count,
                             kern_reduction how);
    kern_status (*agree_f64)(const kern_comm *comm, double *value, int64_t count,
                             kern_reduction how);
    kern_status (*tell)(const kern_comm *comm, void *at, size_t bytes, int root);

    void *context; /* the implementation's */
};

/* Where all ranks meet with what each of them met: KERN_OK where that is all fine; else the status
 * and the message, on all of them, of the first rank that has another, which that names where there
 * are several. Collective. */
kern_status kern_comm_meet(const kern_comm *comm, kern_status status);

/* One rank, on any device. */
const kern_comm *kern_comm_alone(void);

/* The ranks of a job as a mesh of two axes: rank = data->rank * tensor->ranks + tensor->rank. */
typedef struct {
    const kern_comm *job;    /* all of them */
    const kern_comm *data;   /* those that hold the same part of the weights and read other texts */
    const kern_comm *tensor; /* those that share the work on the same texts, each with its part */
    int on_machine; /* how many of the job are on this machine, and share its memory; 0: this one */
} kern_ranks;

/* A job of one rank. */
const kern_ranks *kern_ranks_alone(void);

/* Whether all ranks give the same text, of lines "what: value". Collective, on the host.
 * KERN_ERR_RANKS, on all of them: the message names the first rank whose text differs from that of
 * rank 0, both hosts, and both lines. */
kern_status kern_comm_same(const kern_comm *comm, const char *text);

/* The ranks of `host`, a comm for the CPU's memory that must outlive it, for that of the check
 * device. */
kern_comm kern_comm_check(const kern_comm *host);

#endif
