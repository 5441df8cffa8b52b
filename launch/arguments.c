#include "launch/arguments.h"

#include "configs/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64, MOST_OPTIONS = 32 };

int launch_report(const char *command, kern_status status) {
    if (status == KERN_OK) return 0;
    fflush(stdout); /* what was said before the fault comes before it */
    fprintf(stderr, "ttt %s: %s\n", command, kern_error());
    if (status == KERN_ERR_INTERRUPTED) return 130; /* as the shell has it for SIGINT */
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
    const char *names[MOST_OPTIONS];
    int64_t count = 0;
    for (const launch_option *option = syntax->options; option && option->name; option++) {
        ASSERT(count < MOST_OPTIONS - 1);
        names[count++] = option->name;
    }
    names[count++] = "help";
    const char *nearest = conf_nearest(name, names, count);
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
    case LAUNCH_TEXTS: {
        launch_texts *texts = option->value;
        texts->item =
            kern_grow(texts->item, &texts->capacity, texts->count + 1, sizeof *texts->item);
        texts->item[texts->count++] = text;
        return KERN_OK;
    }
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
    ASSERT(false && "a kind without a rule");
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
