/* Configurations from text, for tests: written to a folder of the test's own. */
#ifndef TESTS_CONFIGS_TEXTS_H
#define TESTS_CONFIGS_TEXTS_H

#include "configs/conf.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

static char scratch[] = "/tmp/ttt-configs-XXXXXX";

static inline int make_scratch(void **state) {
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static inline int remove_scratch(void **state) {
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", scratch);
    return system(command);
}

/* Writes scratch/NAME and leaves its path in `path`. */
static inline void write_text(char path[256], const char *name, const char *text, size_t bytes) {
    snprintf(path, 256, "%s/%s", scratch, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* The configuration in `text`, which must load. */
static inline ttt_conf *loaded(const char *text) {
    char path[256];
    ttt_conf *conf;
    write_text(path, "good.yaml", text, strlen(text));
    kern_status status = conf_load(&conf, path, 0, NULL);
    if (status != KERN_OK) fail_msg("%s", kern_error());
    return conf;
}

/* `text` must be refused with a message that holds each of the parts (NULL ends them). */
static inline void refused(const char *text, ...) {
    char path[256];
    ttt_conf *conf;
    va_list parts;
    write_text(path, "bad.yaml", text, strlen(text));
    assert_int_not_equal(conf_load(&conf, path, 0, NULL), KERN_OK);
    assert_null(conf);
    va_start(parts, text);
    for (const char *part; (part = va_arg(parts, const char *));)
        if (!strstr(kern_error(), part)) fail_msg("no '%s' in: %s", part, kern_error());
    va_end(parts);
}

#endif
