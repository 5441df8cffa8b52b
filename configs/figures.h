/* A small YAML file of numbers by name. Local. */
#ifndef CONFIGS_FIGURES_H
#define CONFIGS_FIGURES_H

#include "kernels/base.h"

typedef struct {
    const char *key;
    double *value;
} conf_figure;

/* Reads a file that gives every one of the `count` keys a number above 0, and no other key.
 * KERN_ERR_FILE where it cannot be read, else KERN_ERR_CONFIG: the message names file, line and key
 * and lists the keys. On failure some values may be set. */
kern_status conf_figures_load(const char *path, int count, const conf_figure *figure);

#endif
