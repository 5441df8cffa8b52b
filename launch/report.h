/* How commands print what they found. */
#ifndef LAUNCH_REPORT_H
#define LAUNCH_REPORT_H

#include "kernels/base.h"

#include <jansson.h>
#include <stdio.h>

/* Prints `object` on a line of its own, and frees it. NULL: no memory was left to build it. */
kern_status launch_print_json(json_t *object);

/* "1.12 TFLOP": three digits, a decimal prefix, the unit. Returns `text`. */
const char *launch_scaled(char text[32], double value, const char *unit);

/* Writes a field of a CSV line, quoted where it has to be. */
void launch_csv_field(FILE *file, const char *text);

#endif
