/* Pictures, drawn by the program gnuplot, which is called and not linked: who asks for none needs
 * none. All functions are local. */
#ifndef LAUNCH_GNUPLOT_H
#define LAUNCH_GNUPLOT_H

#include <stdio.h>

#include "kernels/base.h"

/* Whether pictures of that kind (a terminal of gnuplot's: "pngcairo", "svg") can be drawn here; to
 * be asked before long work. KERN_ERR_FILE with a hint where gnuplot is missing or lacks it. */
kern_status launch_gnuplot_check(const char *terminal);

/* Runs `script`, which draws a PNG to the standard output (no `set output`), and makes `path` that
 * picture: written aside, so that there is never half of one. Errors: KERN_ERR_FILE with what
 * gnuplot said. */
kern_status launch_gnuplot_draw(const char *path, const char *script);

/* The same for a script that draws SVG: *svg receives it, from its tag on, to be put into a page;
 * free(). */
kern_status launch_gnuplot_svg(char **svg, const char *script);

/* Writes `text` as a gnuplot string; control characters become blanks. */
void launch_gnuplot_quote(FILE *script, const char *text);

#endif
