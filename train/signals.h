/* SIGINT and SIGTERM ask the training loop to save and stop. The first one sets a flag that the
 * loop reads between steps; the second one ends the process at once, as if nothing had been
 * installed. */
#ifndef TRAIN_SIGNALS_H
#define TRAIN_SIGNALS_H

#include <signal.h>

#include "kernels/base.h"

/* The handlers that were there before. */
typedef struct {
    struct sigaction interrupt, terminate, file_size, pipe;
    stack_t stack;
    void *memory; /* of the stack that the handler runs on */
} train_signals;

/* Takes over SIGINT and SIGTERM (also where they were ignored, as a shell does for jobs in the
 * background) and clears the flag. SIGXFSZ is ignored, so that a file beyond the size limit is an
 * error of the write that names the file and not the end of the process; so is SIGPIPE, because
 * Ctrl-C ends what reads the messages (`ttt train ... | tee log`) before they are written. Not
 * nested: once per process at a time. */
void train_signals_install(train_signals *saved);

/* The same for work that saves nothing; `message` goes to stderr at the first signal and must stay
 * where it is. */
void train_signals_install_saying(train_signals *saved, const char *message);

/* Puts back what install found. The flag stays readable. */
void train_signals_restore(const train_signals *saved);

/* The number of the signal that asked to stop, or 0. */
int train_signals_received(void);

#endif
