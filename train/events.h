/* TensorBoard event files: docs/run-directory.md has the format. Each process that trains a run
 * writes a file of its own, so a tail torn by a kill stays the end of an older file, where readers
 * expect it; a resumed run begins with a mark that tells readers to forget the steps done again. */
#ifndef TRAIN_EVENTS_H
#define TRAIN_EVENTS_H

#include "train/metrics.h"

typedef struct train_events train_events;

/* Creates the next event file in `directory` (which is created where missing), later in the order
 * of names than those that are there. `again`: steps from this number on come again, which a mark
 * says; 0: none do. KERN_ERR_FILE. Close with train_events_close. */
kern_status train_events_open(train_events **events, const char *directory, int64_t again);
void train_events_close(train_events *events);

/* Appends one event with a scalar (rounded to float) per value, tagged by its name, and hands it to
 * the operating system in one write. On failure the file ends with the event before. */
kern_status train_events_write(train_events *events, int64_t step, int64_t count,
                               const train_value *values);

/* CRC-32C (Castagnoli) of `count` bytes, as the records use it; "123456789" gives 0xe3069283. */
uint32_t train_crc32c(const void *bytes, size_t count);

#endif
