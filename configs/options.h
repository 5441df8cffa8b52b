/* The option table: one row an option, from which reading, overrides, help, the resolved file and
 * docs/options.md follow. Inside the room; launch uses what prints. All functions are local. */
#ifndef CONFIGS_OPTIONS_H
#define CONFIGS_OPTIONS_H

#include "configs/conf.h"

#include <stdio.h>

typedef enum {
    CONF_INTEGER, /* int64_t; "8192", also "0x2000", "0o20000", "1e6" where it is whole */
    CONF_REAL,    /* double; "3e-3" */
    CONF_BYTES,   /* double; a number with or without kB, MB, GB, TB, KiB, MiB, GiB, TiB */
    CONF_BOOLEAN, /* bool; "true" or "false", also "True", "TRUE" and so on */
    CONF_CHOICE,  /* an enum; one of the names in `choices`, whose order is the enum's */
    CONF_TEXT,    /* const char *, owned by the configuration; UTF-8 without control characters */
    CONF_PATH,    /* the same; "~/x" is set as the path in $HOME */
    CONF_LIST,    /* the same, items with commas between them, each perhaps a path; a comma, a
                   * backslash and an outer space of an item have a backslash before them, which
                   * other backslashes need not; YAML may write a sequence */
    CONF_SEED,    /* uint64_t, all of them; written as CONF_INTEGER is */
} conf_type;

typedef struct {
    const char *name; /* "section.field" */
    conf_type type;
    size_t offset;              /* of the field in ttt_conf */
    const char *fallback;       /* the default, as it would be written in a file */
    const char *unit;           /* "" for none */
    double least, most;         /* bounds of numbers, both allowed */
    const char *const *choices; /* ends with NULL */
    const char *help;
} conf_option;

/* The rows in the order of the sections; *count of them. */
const conf_option *conf_options(int64_t *count);
/* NULL where there is none of that name. */
const conf_option *conf_option_find(const char *name);

/* Sets the option's field from text. KERN_ERR_CONFIG names the option, the text and what is
 * allowed; the field then keeps its value. */
kern_status conf_option_set(ttt_conf *conf, const conf_option *option, const char *text);
/* Is the field's value within the bounds (for values that code wrote)? */
kern_status conf_option_check(const ttt_conf *conf, const conf_option *option);
/* Is the field a const char *? */
bool conf_option_is_text(const conf_option *option);
bool conf_option_equal(const ttt_conf *a, const ttt_conf *b, const conf_option *option);
/* Prints the value such that conf_option_set reads the same one; text as a quoted YAML scalar. */
void conf_option_print(FILE *to, const ttt_conf *conf, const conf_option *option);
/* Prints what is allowed: "1 to 10000", "at least 0", "one of f32, bf16, f64". */
void conf_option_print_allowed(FILE *to, const conf_option *option);
const char *conf_type_name(conf_type type);

/* The text with each "~" that a path (each item of a list) begins with, alone or before a slash,
 * replaced by $HOME; free(). KERN_ERR_CONFIG where that is needed and not set, KERN_ERR_MEMORY;
 * *expanded is then NULL. */
kern_status conf_expand_home(char **expanded, const char *text, bool list);
/* Prints an item of a list with the backslashes that it needs. */
void conf_print_item(FILE *to, const char *item);

/* The nearest of `count` names to a misspelt word; a name counts also by its part after the dot.
 * A word that begins a name means that; where none is near, one that it is a part of or that is a
 * part of it (temp for temperature, max-tokens for tokens). NULL where there is none either. */
const char *conf_nearest(const char *word, const char *const *names, int64_t count);
/* The nearest option's name, also from what other programs call it (learning_rate); NULL where none
 * is near. */
const char *conf_option_nearest(const char *word);

/* KERN_ERR_CONFIG at the first byte that is not UTF-8 or a control character (but for tab and line
 * ends where `lines`); the message names the line. */
kern_status conf_check_utf8(const char *text, size_t bytes, bool lines);

/* The table as help of a command, and as docs/options.md. */
void conf_print_options(FILE *to);
void conf_print_markdown(FILE *to);

#endif
