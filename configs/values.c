/* Values of options: text to field and back. */
#include "configs/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *field(ttt_conf *conf, const conf_option *option) {
    return (char *)conf + option->offset;
}

static const void *field_of(const ttt_conf *conf, const conf_option *option) {
    return (const char *)conf + option->offset;
}

/* Enums differ in type but not in size, so they go by bytes. */
_Static_assert(sizeof(conf_attention) == sizeof(int) && sizeof(conf_inner) == sizeof(int) &&
                   sizeof(conf_precision) == sizeof(int),
               "a choice is stored as an int");

static int choice_of(const ttt_conf *conf, const conf_option *option) {
    int choice;
    memcpy(&choice, field_of(conf, option), sizeof choice);
    return choice;
}

void conf_option_print_allowed(FILE *to, const conf_option *option) {
    switch (option->type) {
    case CONF_BOOLEAN: fputs("true or false", to); break;
    case CONF_TEXT: fputs("text without control characters", to); break;
    case CONF_PATH: fputs("a path; ~/ is the home directory", to); break;
    case CONF_LIST: fputs("a,b or [a, b] as in YAML; a comma inside of one is \\,", to); break;
    case CONF_SEED: fprintf(to, "0 to %llu", (unsigned long long)UINT64_MAX); break;
    case CONF_CHOICE:
        fputs("one of ", to);
        for (int i = 0; option->choices[i]; i++)
            fprintf(to, "%s%s", i ? ", " : "", option->choices[i]);
        break;
    case CONF_INTEGER:
    case CONF_REAL:
    case CONF_BYTES:
        if (isinf(option->most))
            fprintf(to, "at least %.16g", option->least);
        else
            fprintf(to, "%.16g to %.16g", option->least, option->most);
    }
}

/* "name: 'text' PROBLEM; allowed: ... unit" */
static kern_status refuse(const conf_option *option, const char *text, const char *problem) {
    char *allowed = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&allowed, &bytes);
    if (!to) return kern_fail(KERN_ERR_MEMORY, "no memory for an error message");
    conf_option_print_allowed(to, option);
    if (*option->unit) fprintf(to, " (%s)", option->unit);
    fclose(to);
    kern_fail(KERN_ERR_CONFIG, "%s: '%.200s' %s; allowed: %s", option->name, text, problem,
              allowed);
    free(allowed);
    return KERN_ERR_CONFIG;
}

/* A whole number as YAML 1.2's core schema writes one, in up to 64 bits and all of the text. */
static bool read_digits(uint64_t *digits, bool *negative, const char *text) {
    static const struct {
        const char *prefix, *digits;
        int base;
    } forms[] = {{"0x", "0123456789abcdefABCDEF", 16}, {"0o", "01234567", 8}};
    const char *allowed = "0123456789";
    int base = 10;
    *negative = *text == '-';
    if (*text == '+' || *text == '-')
        text++;
    else
        for (int i = 0; i < 2; i++)
            if (!strncmp(text, forms[i].prefix, 2)) {
                text += 2;
                allowed = forms[i].digits;
                base = forms[i].base;
                break;
            }
    if (!*text || text[strspn(text, allowed)]) return false;
    errno = 0;
    *digits = strtoull(text, NULL, base);
    return errno == 0;
}

/* A number as YAML 1.2's core schema writes one: strtod without its infinities, blanks, other
 * hexadecimals and half-read text. *rest is what follows the number. */
static bool read_number(double *number, const char *text, const char **rest) {
    size_t length = strspn(text, "0123456789+-.eE");
    char plain[64];
    char *end;
    uint64_t digits;
    bool negative;
    if (read_digits(&digits, &negative, text)) {
        *number = negative ? -(double)digits : (double)digits;
        *rest = text + strlen(text);
        return true;
    }
    if (!length || length >= sizeof plain) return false;
    memcpy(plain, text, length);
    plain[length] = 0;
    errno = 0;
    *number = strtod(plain, &end);
    *rest = text + (end - plain);
    return end != plain && isfinite(*number);
}

static bool is_infinite(const char *text) {
    if (*text == '+' || *text == '-') text++;
    return !strcmp(text, ".inf") || !strcmp(text, ".Inf") || !strcmp(text, ".INF");
}

static bool ends_in_multiplier(const char *rest) {
    return *rest && strchr("kKmMgG", *rest) && !rest[1];
}

/* To an int64_t, or a uint64_t where it is a seed. */
static kern_status read_integer(void *to, const conf_option *option, const char *text) {
    const double beyond = 18446744073709551616.0; /* 2^64 */
    const char *rest;
    double number;
    uint64_t digits;
    bool negative, seed = option->type == CONF_SEED;
    if (!read_number(&number, text, &rest)) return refuse(option, text, "is not a whole number");
    if (ends_in_multiplier(rest))
        return refuse(option, text, "is not a plain number (write it out: 8192, not 8k)");
    if (*rest || number != floor(number)) return refuse(option, text, "is not a whole number");
    bool exact = read_digits(&digits, &negative, text); /* where a double is not */
    if (seed ? number < 0 || (!exact && number >= beyond)
             : number < option->least || number > option->most)
        return refuse(option, text, "is out of bounds");
    if (!exact) digits = (uint64_t)fabs(number);
    if (seed)
        *(uint64_t *)to = digits;
    else
        *(int64_t *)to = number < 0 ? -(int64_t)digits : (int64_t)digits;
    return KERN_OK;
}

static kern_status read_real(double *real, const conf_option *option, const char *text) {
    const char *rest;
    double number;
    if (is_infinite(text)) return refuse(option, text, "is out of bounds");
    if (!read_number(&number, text, &rest) || *rest) return refuse(option, text, "is not a number");
    if (number < option->least || number > option->most)
        return refuse(option, text, "is out of bounds");
    *real = number + 0.0; /* no negative zero */
    return KERN_OK;
}

static kern_status read_bytes(double *real, const conf_option *option, const char *text) {
    static const struct {
        const char *name;
        double bytes;
    } units[] = {
        {"", 1},      {"B", 1},      {"kB", 1e3},      {"MB", 1e6},         {"GB", 1e9},
        {"TB", 1e12}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}, {"TiB", 1099511627776}};
    const char *rest;
    double number;
    if (!read_number(&number, text, &rest)) return refuse(option, text, "is not a size");
    rest += strspn(rest, " ");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(rest, units[i].name)) continue;
        if (number < 0 || !isfinite(number * units[i].bytes))
            return refuse(option, text, "is out of bounds");
        *real = number * units[i].bytes + 0.0;
        return KERN_OK;
    }
    return refuse(option, text,
                  "is not a size (a number, then nothing, kB, MB, GB, TB, KiB, MiB, GiB or TiB)");
}

static kern_status read_choice(void *to, const conf_option *option, const char *text) {
    int count = 0;
    for (; option->choices[count]; count++)
        if (!strcmp(option->choices[count], text)) {
            memcpy(to, &count, sizeof count);
            return KERN_OK;
        }
    const char *nearest = conf_nearest(text, option->choices, count);
    if (!nearest) return refuse(option, text, "is not known");
    char problem[96];
    snprintf(problem, sizeof problem, "is not known (did you mean %s?)", nearest);
    return refuse(option, text, problem);
}

static kern_status read_truth(bool *to, const conf_option *option, const char *text) {
    static const char *const words[] = {"false", "False", "FALSE", "true", "True", "TRUE"};
    for (int i = 0; i < 6; i++)
        if (!strcmp(text, words[i])) {
            *to = i >= 3;
            return KERN_OK;
        }
    return refuse(option, text, "is neither true nor false");
}

static kern_status read_text(const char **to, const conf_option *option, const char *text) {
    kern_status status = KERN_OK;
    char *copy = NULL;
    if (option->type == CONF_TEXT)
        copy = strdup(text);
    else
        TRY(conf_expand_home(&copy, text, option->type == CONF_LIST));
    if (!copy) return kern_fail(KERN_ERR_MEMORY, "no memory for the text of %s", option->name);
    TRY(conf_check_utf8(copy, strlen(copy), false));
    free((void *)*to);
    *to = copy;
    return KERN_OK;
done:
    free(copy);
    return kern_fail_context(status, "%s", option->name);
}

kern_status conf_option_set(ttt_conf *conf, const conf_option *option, const char *text) {
    void *to = field(conf, option);
    switch (option->type) {
    case CONF_INTEGER:
    case CONF_SEED: return read_integer(to, option, text);
    case CONF_REAL: return read_real(to, option, text);
    case CONF_BYTES: return read_bytes(to, option, text);
    case CONF_CHOICE: return read_choice(to, option, text);
    case CONF_BOOLEAN: return read_truth(to, option, text);
    case CONF_TEXT:
    case CONF_PATH:
    case CONF_LIST: return read_text(to, option, text);
    }
    ASSERT(false && "a type without a rule");
    return KERN_OK;
}

/* The fewest digits that give the same bits back. */
static void print_real(FILE *to, double real) {
    char text[32];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, real);
        if (strtod(text, NULL) == real) break;
    }
    double whole;
    if (modf(real, &whole) == 0 && fabs(real) < 1e15) snprintf(text, sizeof text, "%.0f", real);
    fputs(text, to);
}

static void print_quoted(FILE *to, const char *text) {
    putc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') putc('\\', to);
        putc(*text, to);
    }
    putc('"', to);
}

void conf_option_print(FILE *to, const ttt_conf *conf, const conf_option *option) {
    const void *from = field_of(conf, option);
    switch (option->type) {
    case CONF_INTEGER: fprintf(to, "%lld", (long long)*(const int64_t *)from); break;
    case CONF_REAL:
    case CONF_BYTES: print_real(to, *(const double *)from); break;
    case CONF_BOOLEAN: fputs(*(const bool *)from ? "true" : "false", to); break;
    case CONF_CHOICE: fputs(option->choices[choice_of(conf, option)], to); break;
    case CONF_TEXT:
    case CONF_PATH:
    case CONF_LIST: print_quoted(to, *(const char *const *)from); break;
    case CONF_SEED: fprintf(to, "%llu", (unsigned long long)*(const uint64_t *)from); break;
    }
}

kern_status conf_option_check(const ttt_conf *conf, const conf_option *option) {
    const void *from = field_of(conf, option);
    double number = 0;
    switch (option->type) {
    case CONF_BOOLEAN:
    case CONF_TEXT:
    case CONF_PATH:
    case CONF_LIST:
    case CONF_SEED: return KERN_OK;
    case CONF_CHOICE: {
        int count = 0, choice = choice_of(conf, option);
        while (option->choices[count]) count++;
        ASSERT(choice >= 0 && choice < count);
        return KERN_OK;
    }
    case CONF_INTEGER: number = (double)*(const int64_t *)from; break;
    case CONF_REAL:
    case CONF_BYTES: number = *(const double *)from; break;
    }
    if (number >= option->least && number <= option->most) return KERN_OK;
    char text[32];
    snprintf(text, sizeof text, "%.16g", number);
    return refuse(option, text, "is out of bounds");
}

bool conf_option_is_text(const conf_option *option) {
    return option->type == CONF_TEXT || option->type == CONF_PATH || option->type == CONF_LIST;
}

bool conf_option_equal(const ttt_conf *a, const ttt_conf *b, const conf_option *option) {
    const void *of_a = field_of(a, option), *of_b = field_of(b, option);
    switch (option->type) {
    case CONF_INTEGER:
    case CONF_SEED: return !memcmp(of_a, of_b, sizeof(int64_t));
    case CONF_REAL:
    case CONF_BYTES: return !memcmp(of_a, of_b, sizeof(double));
    case CONF_BOOLEAN: return *(const bool *)of_a == *(const bool *)of_b;
    case CONF_CHOICE: return choice_of(a, option) == choice_of(b, option);
    case CONF_TEXT:
    case CONF_PATH:
    case CONF_LIST: return !strcmp(*(const char *const *)of_a, *(const char *const *)of_b);
    }
    ASSERT(false && "a type without a rule");
    return false;
}
