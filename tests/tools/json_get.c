/* Values of JSON, for tests that are scripts:
 *     json_get [--has NAME] [--without NAME,NAME...] [--numbers] ROWS [FIELD...] <FILE
 *     json_get --bytes ROWS STRING HEX <FILE
 * FILE holds one JSON object or array, or several, as JSON lines do. ROWS is a path in each: names
 * and indices joined by '/', -1 for the last, '*' for every element, '.' for the whole. For each
 * row, or with --has for those that have that member, it prints a line: the values at the FIELDs,
 * which are paths in the row, between tabs; without FIELD the row itself, without the members of
 * --without. Strings are printed as they are, numbers with all their digits, all else as compact
 * JSON. With --numbers every value must be a number. --bytes writes no lines but one row's bytes
 * after the other's: its member STRING, or where it has none, what HEX spells in hexadecimal. What
 * a path names must exist. Exit codes: 0; 1 with a message if it does not, or there is no JSON; 2
 * for what is no use of it. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 256 };

typedef struct {
    const char *has, *rows;
    char *without, **field; /* fields: NULL behind the last */
    bool numbers, bytes;
} request;

static bool fail(const char *what, const char *detail) {
    fprintf(stderr, "json_get: %s: %s\n", what, detail);
    return false;
}

/* Cuts the first name off a path; NULL if nothing is left of it. */
static const char *first_name(char name[NAME_BYTES], const char *path) {
    size_t length = strcspn(path, "/");
    snprintf(name, NAME_BYTES, "%.*s", (int)length, path);
    return path[length] ? path + length + 1 : NULL;
}

static json_t *member(json_t *value, const char *name) {
    if (json_is_object(value)) return json_object_get(value, name);
    char *end;
    long index = strtol(name, &end, 10);
    if (!json_is_array(value) || end == name || *end) return NULL;
    long size = (long)json_array_size(value);
    if (index < 0) index += size;
    return index < 0 ? NULL : json_array_get(value, (size_t)index);
}

/* NULL if it is not there. */
static json_t *at(json_t *value, const char *path) {
    char name[NAME_BYTES];
    if (!strcmp(path, ".")) return value;
    while (path && value) {
        path = first_name(name, path);
        value = member(value, name);
    }
    return value;
}

static bool print_value(json_t *value, const request *asked, const char *path) {
    if (asked->numbers && !json_is_number(value)) return fail("no number", path);
    if (json_is_string(value)) {
        fwrite(json_string_value(value), 1, json_string_length(value), stdout);
        return true;
    }
    if (json_is_real(value)) {
        printf("%.17g", json_real_value(value));
        return true;
    }
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    if (!text) return fail("cannot be written", path);
    fputs(text, stdout);
    free(text);
    return true;
}

static bool write_bytes(json_t *row, const request *asked) {
    json_t *text = at(row, asked->field[0]), *hex = at(row, asked->field[1]);
    if (json_is_string(text)) return print_value(text, asked, asked->field[0]);
    if (!json_is_string(hex)) return fail("neither string is there", asked->field[1]);
    const char *digits = json_string_value(hex);
    if (strlen(digits) % 2 || digits[strspn(digits, "0123456789abcdef")])
        return fail("not hexadecimal", digits);
    for (; *digits; digits += 2) {
        char byte[3] = {digits[0], digits[1], 0};
        putchar((int)strtol(byte, NULL, 16));
    }
    return true;
}

static bool print_row(json_t *row, const request *asked) {
    if (asked->has && !json_object_get(row, asked->has)) return true;
    if (asked->bytes) return write_bytes(row, asked);
    for (const char *name = asked->without; name && *name; name += strlen(name) + 1)
        json_object_del(row, name);
    if (!asked->field[0] && !print_value(row, asked, asked->rows)) return false;
    for (char **field = asked->field; *field; field++) {
        json_t *value = at(row, *field);
        if (!value) return fail("a row has nothing at", *field);
        if (field > asked->field) putchar('\t');
        if (!print_value(value, asked, *field)) return false;
    }
    putchar('\n');
    return true;
}

/* Prints the rows at `path` of the value; NULL: the value is the row. */
static bool print_rows(json_t *value, const char *path, const request *asked) {
    char name[NAME_BYTES];
    if (!path || !strcmp(path, ".")) return print_row(value, asked);
    path = first_name(name, path);
    if (strcmp(name, "*")) {
        value = member(value, name);
        return value ? print_rows(value, path, asked) : fail("nothing at", name);
    }
    if (!json_is_array(value)) return fail("no array for", asked->rows);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!print_rows(json_array_get(value, i), path, asked)) return false;
    return true;
}

/* Whether only blanks are left on stdin. */
static bool ended(void) {
    int c;
    do c = getchar();
    while (c == ' ' || c == '\n' || c == '\r' || c == '\t');
    return c == EOF || ungetc(c, stdin) == EOF;
}

static bool run(const request *asked) {
    if (ended()) return fail("stdin", "it is empty");
    do {
        json_error_t error;
        json_t *value = json_loadf(
            stdin, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        if (!value) return fail("no JSON", error.text);
        bool printed = print_rows(value, asked->rows, asked);
        json_decref(value);
        if (!printed) return false;
    } while (!ended());
    return true;
}

/* What main was given; false if that is no use of it. */
static bool parse(request *asked, char **word) {
    *asked = (request){.has = NULL};
    for (; *word && !strncmp(*word, "--", 2); word++) {
        if (!strcmp(*word, "--numbers"))
            asked->numbers = true;
        else if (!strcmp(*word, "--bytes"))
            asked->bytes = true;
        else if (!strcmp(*word, "--has") && word[1])
            asked->has = *++word;
        else if (!strcmp(*word, "--without") && word[1])
            asked->without = *++word;
        else
            return false;
    }
    if (!*word) return false;
    asked->rows = *word++;
    asked->field = word;
    return !asked->bytes || (word[0] && word[1] && !word[2]);
}

/* "a,b" to "a", "b" and an empty name, one behind the other; NULL: no memory. */
static char *split_names(const char *list) {
    size_t length = strlen(list);
    char *names = calloc(length + 2, 1);
    if (!names) return NULL;
    memcpy(names, list, length);
    for (char *c = names; *c; c++)
        if (*c == ',') *c = 0;
    return names;
}

int main(int count, char **word) {
    request asked;
    (void)count;
    if (!parse(&asked, word + 1)) {
        fail("usage", "[--has NAME] [--without NAME,...] [--numbers | --bytes] ROWS [FIELD...]");
        return 2;
    }
    if (asked.without && !(asked.without = split_names(asked.without))) return 1;
    bool good = run(&asked);
    free(asked.without);
    return good && !fflush(stdout) ? 0 : 1;
}
