#include "launch/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kern_status launch_print_json(json_t *object) {
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    if (!text) return kern_fail(KERN_ERR_MEMORY, "no memory for JSON");
    puts(text);
    free(text);
    return KERN_OK;
}

const char *launch_scaled(char text[32], double value, const char *unit) {
    static const char *const prefix[] = {"", "k", "M", "G", "T", "P", "E"};
    size_t p = 0;
    for (; value >= 999.5 && p + 1 < sizeof prefix / sizeof *prefix; p++) value /= 1000;
    int digits = value >= 99.95 || p == 0 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(text, 32, "%.*f %s%s", digits, value, prefix[p], unit);
    return text;
}

void launch_csv_field(FILE *file, const char *text) {
    if (!strpbrk(text, ",\"\n\r")) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"') fputc('"', file);
        fputc(*text, file);
    }
    fputc('"', file);
}
