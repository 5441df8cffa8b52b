/* Pictures, drawn by the program gnuplot, which is called and not linked: who asks for none needs
 * none. All functions are local. */
#ifndef LAUNCH_GNUPLOT_H
#define LAUNCH_GNUPLOT_H

#include <stdio.h>

#include "kernels/base.h"

/* Whether pictures can be drawn here; to be asked before long work. KERN_ERR_FILE with a hint where
 * gnuplot is missing or lacks the terminal pngcairo. */
kern_status launch_gnuplot_check(void);

/* Runs `script`, which draws a PNG to the standard output (no `set output`), and makes `path` that
 * picture: written aside, so that there is never half of one. Errors: KERN_ERR_FILE with what
 * gnuplot said. */
kern_status launch_gnuplot_draw(const char *path, const char *script);

/* Writes `text` as a gnuplot string; control characters become blanks. */
void launch_gnuplot_quote(FILE *script, const char *text);

#endif
