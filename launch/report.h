/* How commands print what they found. All functions are local. */
#ifndef LAUNCH_REPORT_H
#define LAUNCH_REPORT_H

#include "kernels/base.h"

#include <jansson.h>
#include <stdio.h>

/* JSON that cannot lose a value unnoticed: where jansson refuses one (a number that is not finite,
 * a text that is no UTF-8, a format that does not fit), these end the program. Numbers and texts
 * that the caller does not know well enough go through launch_json_number and launch_json_text. */
json_t *launch_json(const char *format, ...);                         /* json_pack */
void launch_json_set(json_t *object, const char *key, json_t *value); /* takes the value */
void launch_json_add(json_t *array, json_t *value);                   /* takes the value */
json_t *launch_json_number(double value);                             /* null if not finite */
json_t *launch_json_text(const char *text); /* bytes that are no UTF-8 become U+FFFD */
json_t *launch_json_seed(uint64_t seed);    /* a text from 2^63 on: jansson's integers end there */

/* Prints `object` on a line of its own, and frees it. Errors: KERN_ERR_MEMORY. */
kern_status launch_print_json(json_t *object);

/* "1.12 TFLOP": three digits, a decimal prefix, the unit. Returns `text`. */
const char *launch_scaled(char text[32], double value, const char *unit);

/* Prints a name as a cell of a table, in one line whatever is in it (train/terminal.h) and filled
 * up to `width` columns: with spaces behind it, or before it where width < 0. */
void launch_print_name(const char *name, int width);

/* "ttt eval runs/a --data 'x y.h5'": a command line as a shell reads it; free(). argv[0] is the
 * command's name. */
char *launch_command_text(int argc, char *const *argv);

/* Writes a field of a CSV line, quoted where it has to be. */
void launch_csv_field(FILE *file, const char *text);

#endif
