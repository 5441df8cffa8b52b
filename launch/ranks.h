/* The ranks of a job: processes that mpirun or srun has started, as the meshes of kernels/comm.h.
 * A process that was started alone is a job of one rank, and MPI is not looked for. */
#ifndef LAUNCH_RANKS_H
#define LAUNCH_RANKS_H

#include "kernels/comm.h"

/* Joins the job, where the environment says that there are several ranks; first thing in main.
 * Collective. The rank gets its share of the node's processors. Of ranks that are not the first,
 * nothing appears on the screen from here on but what ends them. KERN_ERR_RANKS, KERN_ERR_CONFIG:
 * there is no plug-in for MPI, or MPI knows of other ranks than the environment. */
kern_status launch_ranks_begin(void);

/* Of the job; 0 and 1 without one. */
int launch_ranks_rank(void);
int launch_ranks_count(void);

/* All ranks of the job, for the host's memory; for what the program itself agrees on. */
const kern_comm *launch_ranks_job(void);

/* The job's mesh with `tensor` ranks on the tensor axis, for memory of the device. Collective.
 * KERN_ERR_CONFIG: their number is no multiple of `tensor`. Free with launch_ranks_close, which is
 * collective, too. */
kern_status launch_ranks_open(const kern_ranks **ranks, const kern_device *device, int64_t tensor);
void launch_ranks_close(const kern_ranks *ranks);

/* Leaves the job: last thing in main. Collective where `code`, the program's exit code, is 0 or
 * 130; with another one the job ends. Returns the exit code. */
int launch_ranks_end(int code);

#endif
