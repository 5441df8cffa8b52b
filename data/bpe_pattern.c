#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/bpe_pattern.h"
#include "data/bpe_rewrite.h"
#include "data/bpe_unicode.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_FIRST = 32 << 10, STACK_MOST = 64 << 20, STEPS_MOST = 1000000000 };

struct data_bpe_pattern {
    char *regex;
    pcre2_code *code;  /* with the characters that PCRE2's Unicode does not know */
    pcre2_code *plain; /* without; NULL where it is the same */
    bool compiled;     /* both, to machine code */
    bool looks_back;
    bool empty; /* matches may be */
    data_bpe_words words;
    unsigned char kinds[256]; /* data_bpe_ascii_kinds */
};

struct data_bpe_matcher {
    pcre2_match_data *found;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* The library's reason for a fault, without its advice on flags of its own. */
static void get_reason(char *reason, size_t room, int code) {
    pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, room);
    char *flag = strstr(reason, "PCRE2_"), *advice = strstr(reason, " (");
    if (flag && advice && advice < flag) *advice = 0;
}

static kern_status compile(pcre2_code **code, data_bpe_pattern *pattern, const char *rewritten,
                           const char *called) {
    int error;
    PCRE2_SIZE place;
    uint32_t behind = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return kern_fail(KERN_ERR_MEMORY, "no memory for a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 100);
    *code = pcre2_compile((PCRE2_SPTR)rewritten, PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C,
                          &error, &place, context);
    pcre2_compile_context_free(context);
    if (!*code) {
        char reason[256];
        get_reason(reason, sizeof reason, error);
        return kern_fail(KERN_ERR_DATA, "%s: the pattern %.200s is not one: %s", called,
                         pattern->regex, reason);
    }
    /* Where a system forbids making machine code, PCRE2's interpreter gives the same matches. */
    pattern->compiled =
        pcre2_jit_compile(*code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0 &&
        pattern->compiled;
    pcre2_pattern_info(*code, PCRE2_INFO_MAXLOOKBEHIND, &behind);
    pattern->looks_back = pattern->looks_back || behind > 0;
    return KERN_OK;
}

kern_status data_bpe_pattern_create(data_bpe_pattern **out, const char *regex, const char *called) {
    kern_status status = KERN_OK;
    data_bpe_pattern *pattern = NULL;
    char *whole = NULL, *plain = NULL;
    size_t bytes = strlen(regex) + 1;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&pattern, sizeof *pattern, "a pattern"));
    TRY(kern_alloc((void **)&pattern->regex, bytes, "a pattern"));
    memcpy(pattern->regex, regex, bytes);
    pattern->compiled = true;
    TRY(data_bpe_rewrite(&whole, &pattern->looks_back, regex, called, true));
    TRY(data_bpe_rewrite(&plain, &pattern->looks_back, regex, called, false));
    TRY(compile(&pattern->code, pattern, whole, called));
    if (strcmp(whole, plain) != 0) TRY(compile(&pattern->plain, pattern, plain, called));
    const data_bpe_encoding *encoding = data_bpe_encoding_like(regex, 0);
    if (encoding) pattern->words = encoding->words;
    data_bpe_ascii_kinds(pattern->kinds);
    *out = pattern;
    pattern = NULL;
done:
    free(whole);
    free(plain);
    data_bpe_pattern_destroy(pattern);
    return status;
}

void data_bpe_pattern_destroy(data_bpe_pattern *pattern) {
    if (!pattern) return;
    pcre2_code_free(pattern->code);
    pcre2_code_free(pattern->plain);
    kern_free(pattern->regex);
    kern_free(pattern);
}

const char *data_bpe_pattern_regex(const data_bpe_pattern *pattern) {
    return pattern->regex;
}

int64_t data_bpe_pattern_ascii_end(const data_bpe_pattern *pattern, const char *text, int64_t bytes,
                                   int64_t at) {
    return data_bpe_ascii_end(pattern->words, pattern->kinds, text, bytes, at);
}

bool data_bpe_pattern_let_empty(data_bpe_pattern *pattern) {
    uint32_t can = 0;
    pcre2_pattern_info(pattern->code, PCRE2_INFO_MATCHEMPTY, &can);
    return pattern->empty = can != 0;
}

bool data_bpe_pattern_looks_back(const data_bpe_pattern *pattern) {
    return pattern->looks_back;
}

bool data_bpe_pattern_plain(const data_bpe_pattern *pattern, const char *text, int64_t bytes) {
    return pattern->plain && !data_bpe_unicode_has_later(text, bytes);
}

kern_status data_bpe_matcher_create(data_bpe_matcher **out) {
    data_bpe_matcher *matcher;
    *out = NULL;
    kern_status status = kern_alloc_zero((void **)&matcher, sizeof *matcher, "a matcher");
    if (status != KERN_OK) return status;
    matcher->found = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    matcher->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, NULL);
    if (!matcher->found || !matcher->context) {
        data_bpe_matcher_destroy(matcher);
        return kern_fail(KERN_ERR_MEMORY, "no memory for a matcher");
    }
    pcre2_set_match_limit(matcher->context, STEPS_MOST);
    /* Without a stack of its own (no memory, or no machine code) it takes 32 KiB of the thread's.
     */
    if (matcher->stack) pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    *out = matcher;
    return KERN_OK;
}

void data_bpe_matcher_destroy(data_bpe_matcher *matcher) {
    if (!matcher) return;
    pcre2_match_data_free(matcher->found);
    pcre2_match_context_free(matcher->context);
    pcre2_jit_stack_free(matcher->stack);
    kern_free(matcher);
}

static kern_status failed(const data_bpe_pattern *pattern, int code) {
    char reason[256];
    get_reason(reason, sizeof reason, code);
    return kern_fail(KERN_ERR_DATA, "the pattern %.200s fails on this text: %s", pattern->regex,
                     reason);
}

kern_status data_bpe_match(data_bpe_found *found, int64_t *begin, int64_t *end,
                           data_bpe_matcher *matcher, const data_bpe_pattern *pattern,
                           const char *text, int64_t bytes, int64_t at, bool closed, bool plain) {
    const pcre2_code *code = plain && pattern->plain ? pattern->plain : pattern->code;
    uint32_t options = (pattern->empty ? 0 : PCRE2_NOTEMPTY) | (closed ? 0 : PCRE2_PARTIAL_HARD);
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int result = pattern->compiled
                     ? pcre2_jit_match(code, subject, (PCRE2_SIZE)bytes, (PCRE2_SIZE)at, options,
                                       matcher->found, matcher->context)
                     : pcre2_match(code, subject, (PCRE2_SIZE)bytes, (PCRE2_SIZE)at,
                                   options | PCRE2_NO_UTF_CHECK, matcher->found, matcher->context);
    if (result >= 0) {
        const PCRE2_SIZE *place = pcre2_get_ovector_pointer(matcher->found);
        *begin = (int64_t)place[0];
        *end = (int64_t)place[1];
        *found = DATA_BPE_MATCH;
        return KERN_OK;
    }
    if (result == PCRE2_ERROR_NOMATCH || result == PCRE2_ERROR_PARTIAL) {
        *found = result == PCRE2_ERROR_PARTIAL ? DATA_BPE_NEEDS_MORE : DATA_BPE_NO_MATCH;
        return KERN_OK;
    }
    return failed(pattern, result);
}
