/* What the plug-in libttt_mpi.so gives to the program that opens it: the ranks of an MPI job. Only
 * the plug-in knows MPI. Everything is called by the thread that opened it; collectives on the
 * second stream (kernels/device.h) run on another one. */
#ifndef LAUNCH_MPI_PLUGIN_H
#define LAUNCH_MPI_PLUGIN_H

#include "kernels/comm.h"

typedef struct {
    int rank, ranks;
    int local, locals; /* among the ranks of the same node */
    bool whole_node;   /* they all may use the same processors */
    /* The comm, for memory of the CPU, of the ranks that give the same `color`, in the order of
     * their ranks. Collective over the job. */
    kern_status (*split)(const kern_comm **part, int color);
    void (*release)(const kern_comm *part); /* collective over the part; NULL is fine */
    void (*finalize)(void);                 /* collective; waits for all ranks */
} launch_mpi;

/* Starts MPI, once a process. KERN_ERR_RANKS: it could not be. */
kern_status launch_mpi_open(launch_mpi *mpi);
typedef kern_status launch_mpi_opener(launch_mpi *mpi);

#endif
