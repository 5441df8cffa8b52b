#include "launch/arguments.h"

#include "configs/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/ranks.h"
#include "launch/watch.h"
#include "train/terminal.h"

enum { NAME_BYTES = 64, MOST_OPTIONS = 32 };

int launch_report(const char *command, kern_status status) {
    if (status == KERN_OK) return 0;
    bool stopped = status == KERN_ERR_INTERRUPTED;
    fflush(stdout); /* what was said before the fault comes before it */
    char *text = train_terminal_plain(kern_error()); /* names may have anything in them */
    if (stopped ? launch_ranks_rank() == 0 : launch_watch_failed(status, text))
        dprintf(STDERR_FILENO, "ttt %s: %s\n", command, text);
    free(text);
    if (stopped) return 130; /* as the shell has it for SIGINT */
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

static bool takes_config(const launch_syntax *syntax) {
    return strstr(syntax->words, "key=value") != NULL;
}

/* An option of the configuration, which is set without dashes. */
static kern_status belongs_to_config(const char *name, const char *option, const char *value) {
    return kern_fail(KERN_ERR_USAGE, "no option --%s; did you mean %s=%.200s?", name, option,
                     value ? value : "VALUE");
}

/* `value`: what the command line gives it; NULL: nothing. */
static kern_status unknown_option(const launch_syntax *syntax, const char *name,
                                  const char *value) {
    const char *names[MOST_OPTIONS];
    int64_t count = 0;
    bool config = takes_config(syntax);
    if (config && conf_option_find(name)) return belongs_to_config(name, name, value);
    for (const launch_option *option = syntax->options; option && option->name; option++) {
        ASSERT(count < MOST_OPTIONS - 1);
        names[count++] = option->name;
    }
    names[count++] = "help";
    const char *nearest = conf_nearest(name, names, count);
    if (nearest)
        return kern_fail(KERN_ERR_USAGE, "no option --%s; did you mean --%s?", name, nearest);
    nearest = config ? conf_option_nearest(name) : NULL;
    if (nearest) return belongs_to_config(name, nearest, value);
    return kern_fail(KERN_ERR_USAGE, "no option --%s; ttt %s --help lists them", name,
                     syntax->command);
}

/* Paths behind "--name=", where most shells leave a tilde as it is. */
static bool is_path(const launch_option *option) {
    static const char *const operands[] = {"FILE", "RUN", "SHARD", "SHARDS"};
    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++)
        if (!strcmp(option->operand, operands[i])) return true;
    return false;
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
    case LAUNCH_SEED: {
        unsigned long long seed = strtoull(text, &end, 10);
        if (!isdigit((unsigned char)*text) || *end || errno)
            return kern_fail(KERN_ERR_USAGE, "--%s takes a whole number from 0 to %llu, not '%s'",
                             option->name, (unsigned long long)UINT64_MAX, text);
        *(uint64_t *)option->value = seed;
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

/* The texts made of "~/x": whoever is given them keeps them to the end. */
static launch_texts expanded;

static kern_status store_behind_equals(const launch_option *option, const char *text) {
    kern_status status = KERN_OK;
    if (*text && is_path(option)) {
        char *path;
        TRY(conf_expand_home(&path, text, !strcmp(option->operand, "SHARDS")));
        expanded.item =
            kern_grow(expanded.item, &expanded.capacity, expanded.count + 1, sizeof *expanded.item);
        expanded.item[expanded.count++] = path;
        text = path;
    }
    TRY(store(option, text));
done:
    return status;
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
    const char *next = *at + 1 < argc && argv[*at + 1][0] != '-' ? argv[*at + 1] : NULL;
    if (!option || !option->name) return unknown_option(syntax, name, equals ? equals + 1 : next);
    if (option->kind == LAUNCH_FLAG) {
        if (equals) return kern_fail(KERN_ERR_USAGE, "--%s takes no value", name);
        return store(option, NULL);
    }
    if (equals) return store_behind_equals(option, equals + 1);
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
        } else if (word[1] != '-' && word[2]) {
            TRY(unknown_option(syntax, word + 1, NULL));
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
