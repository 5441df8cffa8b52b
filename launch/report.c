#include "launch/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"
#include "train/terminal.h"

json_t *launch_json(const char *format, ...) {
    json_error_t error;
    va_list values;
    va_start(values, format);
    json_t *object = json_vpack_ex(&error, 0, format, values);
    va_end(values);
    if (!object) fprintf(stderr, "JSON of the format %s: %s\n", format, error.text);
    ASSERT(object);
    return object;
}

void launch_json_set(json_t *object, const char *key, json_t *value) {
    ASSERT(!json_object_set_new(object, key, value));
}

void launch_json_add(json_t *array, json_t *value) {
    ASSERT(!json_array_append_new(array, value));
}

json_t *launch_json_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *launch_json_text(const char *text) {
    static const char unknown[] = "\xef\xbf\xbd";
    int64_t left = (int64_t)strlen(text);
    char *valid = malloc((size_t)left * (sizeof unknown - 1) + 1), *end = valid;
    ASSERT(valid);
    for (;;) {
        int64_t prefix = data_utf8_prefix(text, left);
        memcpy(end, text, (size_t)prefix);
        end += prefix;
        if (prefix == left) break;
        memcpy(end, unknown, sizeof unknown - 1);
        end += sizeof unknown - 1;
        text += prefix + 1;
        left -= prefix + 1;
    }
    json_t *string = json_stringn(valid, (size_t)(end - valid));
    free(valid);
    return string;
}

json_t *launch_json_seed(uint64_t seed) {
    char digits[24];
    if (seed <= INT64_MAX) return json_integer((json_int_t)seed);
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)seed);
    return json_string(digits);
}

kern_status launch_print_json(json_t *object) {
    ASSERT(object);
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
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

void launch_print_name(const char *name, int width) {
    char *plain = train_terminal_plain(name);
    int blanks = abs(width) - train_terminal_columns(plain);
    if (blanks < 0) blanks = 0;
    printf("%*s%s%*s", width < 0 ? blanks : 0, "", plain, width < 0 ? 0 : blanks, "");
    free(plain);
}

char *launch_command_text(int argc, char *const *argv) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    ASSERT(to);
    fputs("ttt", to);
    for (int i = 0; i < argc; i++) {
        char *word = train_terminal_word(argv[i]);
        fprintf(to, " %s", word);
        free(word);
    }
    ASSERT(!fclose(to));
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
