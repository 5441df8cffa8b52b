/* SIGINT, SIGTERM and SIGQUIT, and SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU, ask the training loop to
 * save and stop: they set a flag that the loop reads between steps. The second of the first three
 * ends the process at once, as if nothing had been installed; of the others a second one means
 * nothing, because terminals and queues send them more than once. */
#ifndef TRAIN_SIGNALS_H
#define TRAIN_SIGNALS_H

#include <signal.h>

#include "kernels/base.h"

enum { TRAIN_SIGNALS = 7 };

/* The handlers that were there before. */
typedef struct {
    struct sigaction asks[TRAIN_SIGNALS], file_size, pipe;
    stack_t stack;
    void *memory; /* of the stack that the handler runs on */
} train_signals;

/* Takes these over (also where they were ignored, as a shell does for jobs in the background; but
 * SIGHUP that is ignored, as nohup has it, stays so) and clears the flag. SIGXFSZ is ignored, so
 * that a file beyond the size limit is an error of the write that names the file and not the end of
 * the process; so is SIGPIPE, because Ctrl-C ends what reads the messages (`ttt train ... | tee
 * log`) before they are written. Not nested: once per process at a time. */
void train_signals_install(train_signals *saved);

/* The same for work that saves nothing; `text` goes to stderr at the first signal, with what a
 * second one does, and must stay where it is. NULL: nothing is said. */
void train_signals_install_saying(train_signals *saved, const char *text);

/* Puts back what install found. The flag stays readable. */
void train_signals_restore(const train_signals *saved);

/* The number of the signal that asked to stop, or 0. */
int train_signals_received(void);

#endif
