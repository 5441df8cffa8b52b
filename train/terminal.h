/* Text on a terminal and in tables: what it may hold and how wide it is. A line that is rewritten
 * must not be wider than the terminal: \r does not come back from its second row. All functions are
 * local. */
#ifndef TRAIN_TERMINAL_H
#define TRAIN_TERMINAL_H

#include <stdio.h>

#include "kernels/base.h"

/* Columns that a line may fill now: one fewer than the terminal has, as some wrap behind the last.
 * Its size is asked for each time; where it knows none, COLUMNS says it, or it is 80. INT_MAX where
 * `out` is no terminal. */
int train_terminal_room(FILE *out);

/* The text in one line: control characters and bytes that are no UTF-8 as \n, \t or \x1b. free().
 */
char *train_terminal_plain(const char *text);

/* Writes a plain line: what is told of files that may have any name. */
void train_terminal_say(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A word of a command line as a shell reads it: in quotes where it has to be, in those of bash
 * ($'a\n') where it would not be one plain line. free(). */
char *train_terminal_word(const char *text);

/* Columns of a plain text: two for the wide characters of East Asia, else one. */
int train_terminal_columns(const char *text);

/* Cuts a plain text behind `room` columns; the end of one that fits into them. Both return it. */
char *train_terminal_cut(char *text, int room);
const char *train_terminal_tail(const char *text, int room);

#endif
