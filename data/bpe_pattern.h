/* Patterns that cut text into pieces: those of known vocabularies, and the users' through PCRE2,
 * for which data/bpe_rewrite.h puts them into other words. */
#ifndef DATA_BPE_PATTERN_H
#define DATA_BPE_PATTERN_H

#include "data/vocabulary.h"

/* How the known patterns cut ASCII, which is most of most texts and needs no PCRE2. */
typedef enum {
    DATA_BPE_WORDS_ANY,    /* nothing is known */
    DATA_BPE_WORDS_SPACE,  /* gpt2: letters with at most a space before them */
    DATA_BPE_WORDS_LED,    /* cl100k_base: letters with at most one character before */
    DATA_BPE_WORDS_CAPPED, /* o200k_base: the same, but capitals come before small letters */
} data_bpe_words;

/* The end of the piece that begins at byte `at` of text [bytes], where it is of ASCII, frequent,
 * and what follows it in the text shows where it ends; 0 where only the pattern can tell. The same
 * as what that would match. `kinds` is what data_bpe_ascii_kinds makes. */
int64_t data_bpe_ascii_end(data_bpe_words words, const unsigned char *kinds, const char *text,
                           int64_t bytes, int64_t at);
void data_bpe_ascii_kinds(unsigned char *kinds); /* [256] */

/* A vocabulary that is known by its number of tokens. */
typedef struct {
    const char *name;
    const char *regex;
    data_bpe_words words;
    int64_t tokens; /* without the special ones */
    int64_t size;   /* with them, and with the ids between that nothing has */
    const char *begin;
    const data_special *specials; /* ends with a name of NULL */
} data_bpe_encoding;

/* By name, NULL where there is none; by number of tokens (0: any) and regex (NULL: any). */
const data_bpe_encoding *data_bpe_encoding_named(const char *name);
const data_bpe_encoding *data_bpe_encoding_like(const char *regex, int64_t tokens);
/* Their names, with commas. */
const char *data_bpe_encoding_names(void);

typedef struct data_bpe_pattern data_bpe_pattern;
kern_status data_bpe_pattern_create(data_bpe_pattern **pattern, const char *regex,
                                    const char *called);
void data_bpe_pattern_destroy(data_bpe_pattern *pattern); /* NULL is fine */
const char *data_bpe_pattern_regex(const data_bpe_pattern *pattern);
/* Lets matches be empty from now on, and returns whether any can be. */
bool data_bpe_pattern_let_empty(data_bpe_pattern *pattern);
/* It may look at characters before a piece. */
bool data_bpe_pattern_looks_back(const data_bpe_pattern *pattern);

/* data_bpe_ascii_end for this pattern. */
int64_t data_bpe_pattern_ascii_end(const data_bpe_pattern *pattern, const char *text, int64_t bytes,
                                   int64_t at);

/* One thread's memory for matching, for patterns one after the other. */
typedef struct data_bpe_matcher data_bpe_matcher;
kern_status data_bpe_matcher_create(data_bpe_matcher **matcher);
void data_bpe_matcher_destroy(data_bpe_matcher *matcher); /* NULL is fine */

typedef enum { DATA_BPE_MATCH, DATA_BPE_NO_MATCH, DATA_BPE_NEEDS_MORE } data_bpe_found;

/* Whether matching in text [bytes], which is UTF-8, may be `plain`: no character of it is one that
 * the pattern has by a name and PCRE2's Unicode does not know. */
bool data_bpe_pattern_plain(const data_bpe_pattern *pattern, const char *text, int64_t bytes);

/* Looks for the first match, not empty unless they are let, in text [bytes], which is UTF-8, from
 * byte `at` on:
 * [*begin, *end). Unless `closed` the text goes on, and DATA_BPE_NEEDS_MORE says that what follows
 * would be looked at. `plain` is faster. Errors: KERN_ERR_DATA where the pattern takes too long or
 * too much memory. */
kern_status data_bpe_match(data_bpe_found *found, int64_t *begin, int64_t *end,
                           data_bpe_matcher *matcher, const data_bpe_pattern *pattern,
                           const char *text, int64_t bytes, int64_t at, bool closed, bool plain);

#endif
