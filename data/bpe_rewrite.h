/* Patterns of tokenizers in the words of PCRE2. They are written for the regular expressions of
 * Rust and of Oniguruma, which differ from PCRE2's in what \s, \w and \p{...} are members of. */
#ifndef DATA_BPE_REWRITE_H
#define DATA_BPE_REWRITE_H

#include "kernels/base.h"

/* *out: what PCRE2 is to compile for `regex`; free() it. Categories and the script Han are those of
 * Unicode 16: `later` adds what PCRE2's Unicode lacks, which takes time in matching and is needed
 * for texts with such characters only. Other scripts are of PCRE2's Unicode, and the scripts
 * themselves, not its wider script extensions. White space is Unicode's White_Space, \w is that of
 * Oniguruma: Alphabetic, marks, digits, connectors. *anchored: it may ask for the beginning of the
 * text. Errors: KERN_ERR_DATA naming `called` and the place, for what PCRE2 would read differently
 * without a word (operations on classes, \h and the like); *out is then NULL. */
kern_status data_bpe_rewrite(char **out, bool *anchored, const char *regex, const char *called,
                             bool later);

#endif
