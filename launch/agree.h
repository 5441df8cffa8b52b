/* What the ranks of a job agree on before anything is planned. */
#ifndef LAUNCH_AGREE_H
#define LAUNCH_AGREE_H

#include "configs/conf.h"
#include "kernels/comm.h"

/* Whether all ranks have the same program, instruction set, device, number of threads and
 * configuration (precision among it), line by line; others wait for a rank as long as the
 * configuration says from here on. Data and vocabulary are agreed on where they are opened
 * (train/loop_open.c). Collective over the job; `conf` may have been completed. KERN_ERR_RANKS
 * names rank, host and what differs. */
kern_status launch_agree(const ttt_conf *conf);

/* That, and the mesh that the configuration wants on its device (launch_ranks_close frees it).
 * Collective over the job. */
kern_status launch_agree_and_open(const kern_ranks **ranks, const ttt_conf *conf);

#endif
