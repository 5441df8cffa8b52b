#include "launch/arguments.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64 };

static int64_t smallest(int64_t a, int64_t b, int64_t c) {
    int64_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Letters to insert, remove or replace to turn one into the other. Names beyond NAME_BYTES - 1
 * letters are compared by their beginnings. */
static int64_t edit_distance(const char *a, const char *b) {
    int64_t row[NAME_BYTES];
    int64_t length = (int64_t)strnlen(b, NAME_BYTES - 1);
    for (int64_t j = 0; j <= length; j++) row[j] = j;
    for (int64_t i = 0; a[i] && i < NAME_BYTES - 1; i++) {
        int64_t corner = row[0]; /* distance of a[0 .. i) to b[0 .. j) */
        row[0] = i + 1;
        for (int64_t j = 0; j < length; j++) {
            int64_t above = row[j + 1];
            row[j + 1] = smallest(above + 1, row[j] + 1, corner + (a[i] != b[j]));
            corner = above;
        }
    }
    return row[length];
}

const char *launch_nearest(const char *word, const char *const *names, int64_t count) {
    int64_t best = ((int64_t)strlen(word) + 2) / 3;
    const char *nearest = NULL;
    for (int64_t i = 0; i < count; i++) {
        int64_t distance = edit_distance(word, names[i]);
        if (distance < best || (distance == best && !nearest)) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

int launch_report(const char *command, kern_status status) {
    if (status == KERN_OK) return 0;
    fflush(stdout); /* what was said before the fault comes before it */
    fprintf(stderr, "ttt %s: %s\n", command, kern_error());
    return status == KERN_ERR_USAGE ? 2 : 1;
}

static void print_option(const char *name, const char *operand, const char *help) {
    char left[NAME_BYTES];
    snprintf(left, sizeof left, "--%s%s%s", name, operand ? " " : "", operand ? operand : "");
    printf("  %-24s %s\n", left, help);
}

static void print_help(const launch_syntax *syntax) {
    printf("usage: ttt %s%s%s [options]\n\n%s\n\noptions:\n", syntax->command,
           *syntax->words ? " " : "", syntax->words, syntax->about);
    for (const launch_option *option = syntax->options; option && option->name; option++)
        print_option(option->name, option->operand, option->help);
    print_option("help", NULL, "print this and stop");
}

static kern_status unknown_option(const launch_syntax *syntax, const char *name) {
    const char *names[NAME_BYTES];
    int64_t count = 0;
    for (const launch_option *option = syntax->options; option && option->name; option++) {
        ASSERT(count < NAME_BYTES - 1);
        names[count++] = option->name;
    }
    names[count++] = "help";
    const char *nearest = launch_nearest(name, names, count);
    if (nearest)
        return kern_fail(KERN_ERR_USAGE, "no option --%s; did you mean --%s?", name, nearest);
    return kern_fail(KERN_ERR_USAGE, "no option --%s; ttt %s --help lists them", name,
                     syntax->command);
}

static kern_status store(const launch_option *option, const char *text) {
    char *end = NULL;
    errno = 0;
    switch (option->kind) {
    case LAUNCH_FLAG: *(bool *)option->value = true; return KERN_OK;
    case LAUNCH_TEXT: *(const char **)option->value = text; return KERN_OK;
    case LAUNCH_COUNT: {
        long long count = strtoll(text, &end, 10);
        if (end == text || *end || errno || count < 0)
            return kern_fail(KERN_ERR_USAGE, "--%s takes a whole number, at least 0, not '%s'",
                             option->name, text);
        *(int64_t *)option->value = count;
        return KERN_OK;
    }
    case LAUNCH_REAL: {
        double real = strtod(text, &end);
        if (end == text || *end || !isfinite(real))
            return kern_fail(KERN_ERR_USAGE, "--%s takes a number, not '%s'", option->name, text);
        *(double *)option->value = real;
        return KERN_OK;
    }
    }
    ASSERT(!"a kind without a rule");
    return KERN_OK;
}

/* The option at argv[*at], which begins with "--"; *at is left at the last word used. */
static kern_status read_option(const launch_syntax *syntax, int argc, char **argv, int *at) {
    char name[NAME_BYTES];
    const char *word = argv[*at] + 2;
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    if (length >= sizeof name) return kern_fail(KERN_ERR_USAGE, "no option --%s", word);
    memcpy(name, word, length);
    name[length] = 0;
    const launch_option *option = syntax->options;
    while (option && option->name && strcmp(option->name, name)) option++;
    if (!option || !option->name) return unknown_option(syntax, name);
    if (option->kind == LAUNCH_FLAG) {
        if (equals) return kern_fail(KERN_ERR_USAGE, "--%s takes no value", name);
        return store(option, NULL);
    }
    if (equals) return store(option, equals + 1);
    if (*at + 1 == argc || !strncmp(argv[*at + 1], "--", 2))
        return kern_fail(KERN_ERR_USAGE, "--%s needs a value: --%s %s", name, name,
                         option->operand);
    return store(option, argv[++*at]);
}

static kern_status check_words(const launch_syntax *syntax, int words, char **argv) {
    if (words < syntax->least_words)
        return kern_fail(KERN_ERR_USAGE, "something is missing; usage: ttt %s %s [options]",
                         syntax->command, syntax->words);
    if (syntax->most_words >= 0 && words > syntax->most_words)
        return kern_fail(KERN_ERR_USAGE, "'%s' is one word too many; usage: ttt %s%s%s [options]",
                         argv[syntax->most_words + 1], syntax->command, *syntax->words ? " " : "",
                         syntax->words);
    return KERN_OK;
}

int launch_parse(const launch_syntax *syntax, int *argc, char **argv) {
    kern_status status = KERN_OK;
    int words = 0;
    bool options = true;
    for (int i = 1; i < *argc; i++) {
        char *word = argv[i];
        if (!options || word[0] != '-' || !word[1]) {
            argv[++words] = word;
        } else if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            print_help(syntax);
            return 0;
        } else if (!strcmp(word, "--")) {
            options = false;
        } else if (word[1] != '-') {
            TRY(kern_fail(KERN_ERR_USAGE, "no option %s; options begin with two dashes", word));
        } else {
            TRY(read_option(syntax, *argc, argv, &i));
        }
    }
    TRY(check_words(syntax, words, argv));
    *argc = words + 1;
    return -1;
done:
    return launch_report(syntax->command, status);
}
