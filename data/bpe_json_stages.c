/* How a tokenizer.json cuts text: its normalizer, and the pre-tokenizers one after the other. */
#include "data/bpe_json.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 8 }; /* of sequences of sequences */

typedef struct {
    data_bpe *bpe;
    const char *called;
    bool in_letters; /* ByteLevel was there: what comes sees bytes as letters */
} stages;

static kern_status put_normalizer(stages *s, const json_t *part, int depth) {
    kern_status status = KERN_OK;
    const char *type = data_bpe_text_of(part, "type");
    const json_t *parts = json_object_get(part, "normalizers");
    if (!part || json_is_null(part)) return KERN_OK;
    if (type && !strcmp(type, "NFC")) {
        s->bpe->normal = true;
        return KERN_OK;
    }
    if (!type || strcmp(type, "Sequence") != 0 || !json_is_array(parts) || depth == MOST_DEPTH)
        return data_bpe_unsupported(s->called, "normalizer", type);
    for (size_t i = 0; i < json_array_size(parts); i++)
        TRY(put_normalizer(s, json_array_get(parts, i), depth + 1));
done:
    return status;
}

static kern_status put(stages *s, data_bpe_stage stage) {
    stage.in_letters = s->in_letters;
    return data_bpe_put_stage(s->bpe, &stage, s->called);
}

/* What "behavior" says; where it says nothing, `usual`, or NULL for a fault. */
static kern_status read_behavior(data_bpe_matched *matched, const stages *s, const json_t *part,
                                 const char *usual) {
    static const struct {
        const char *name;
        data_bpe_matched matched;
    } rows[] = {
        {"Isolated", DATA_BPE_ISOLATED},        {"Removed", DATA_BPE_REMOVED},
        {"Contiguous", DATA_BPE_CONTIGUOUS},    {"MergedWithPrevious", DATA_BPE_WITH_PREVIOUS},
        {"MergedWithNext", DATA_BPE_WITH_NEXT},
    };
    const char *behavior = data_bpe_text_of(part, "behavior");
    if (!behavior) behavior = usual;
    for (size_t i = 0; behavior && i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(behavior, rows[i].name) != 0) continue;
        *matched = rows[i].matched;
        return KERN_OK;
    }
    return data_bpe_unsupported(s->called, "pre_tokenizer's behavior", behavior);
}

/* A regular expression that matches this text alone; free() it. */
static char *escape(const char *text) {
    char *regex = kern_array(2 * (int64_t)strlen(text) + 1, 1), *at = regex;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text, small = c | 0x20;
        bool plain =
            c <= ' ' || c > 126 || (c >= '0' && c <= '9') || (small >= 'a' && small <= 'z');
        if (!plain) *at++ = '\\';
        *at++ = *text;
    }
    *at = 0;
    return regex;
}

/* Where outside of classes `wanted` begins something, or NULL. */
static const char *find_outside(const char *regex, const char *wanted) {
    bool in_class = false;
    for (const char *at = regex; *at; at++) {
        if (!in_class && !strncmp(at, wanted, strlen(wanted))) return at;
        if (*at == '\\' && at[1]) {
            at++;
        } else if (in_class) {
            in_class = *at != ']';
        } else if (*at == '[') {
            in_class = true;
            if (at[1] == '^') at++;
            if (at[1] == ']') at++;
        }
    }
    return NULL;
}

/* In Oniguruma's words ^ and $ are always of lines, and (?m) lets a dot match the end of one. *own:
 * what PCRE2 calls the same, free() it; NULL where it is as `regex` has it. */
static kern_status read_lines(char **own, const stages *s, const char *regex) {
    *own = NULL;
    for (const char *at = regex; (at = find_outside(at, "(?")); at += 2) {
        size_t flags = strspn(at + 2, "imx-");
        if (flags && memchr(at + 2, 'm', flags))
            return data_bpe_unsupported(s->called, "pre_tokenizer's option m of", regex);
    }
    if (!find_outside(regex, "^") && !find_outside(regex, "$")) return KERN_OK;
    *own = kern_array((int64_t)strlen(regex) + 5, 1);
    strcat(strcpy(*own, "(?m)"), regex);
    return KERN_OK;
}

static kern_status put_split(stages *s, const json_t *part) {
    kern_status status = KERN_OK;
    const json_t *pattern = json_object_get(part, "pattern");
    const char *regex = data_bpe_text_of(pattern, "Regex");
    const char *text = data_bpe_text_of(pattern, "String");
    char *escaped = text ? escape(text) : NULL, *lines = NULL;
    data_bpe_stage stage = {.regex = escaped ? escaped : regex, .empty = true, .hashed = escaped};
    stage.inverted = json_is_true(json_object_get(part, "invert"));
    if (!stage.regex)
        TRY(data_bpe_unsupported(s->called, "pre_tokenizer Split without", "Regex or String"));
    TRY(read_behavior(&stage.matched, s, part, NULL));
    if (!escaped) TRY(read_lines(&lines, s, regex));
    if (lines) stage.regex = lines;
    TRY(put(s, stage));
done:
    free(lines);
    free(escaped);
    return status;
}

static kern_status put_punctuation(stages *s, const json_t *part) {
    kern_status status = KERN_OK;
    char *regex = data_bpe_punctuation();
    data_bpe_stage stage = {.regex = regex, .hashed = true};
    TRY(read_behavior(&stage.matched, s, part, "Isolated"));
    TRY(put(s, stage));
done:
    free(regex);
    return status;
}

static kern_status put_byte_level(stages *s, const json_t *part) {
    kern_status status = KERN_OK;
    const json_t *use_regex = json_object_get(part, "use_regex");
    data_bpe_stage stage = {.spaced = data_bpe_asks(part, "add_prefix_space")};
    if (!json_is_false(use_regex)) stage.regex = data_bpe_encoding_named("gpt2")->regex;
    if (stage.regex || stage.spaced) TRY(put(s, stage));
    s->in_letters = true;
done:
    return status;
}

static kern_status put_pre_tokenizer(stages *s, const json_t *part, int depth) {
    kern_status status = KERN_OK;
    const char *type = data_bpe_text_of(part, "type");
    if (!type || depth == MOST_DEPTH) return data_bpe_unsupported(s->called, "pre_tokenizer", type);
    if (!strcmp(type, "Sequence")) {
        const json_t *parts = json_object_get(part, "pretokenizers");
        for (size_t i = 0; i < json_array_size(parts); i++)
            TRY(put_pre_tokenizer(s, json_array_get(parts, i), depth + 1));
    } else if (!strcmp(type, "Split")) {
        TRY(put_split(s, part));
    } else if (!strcmp(type, "Punctuation")) {
        TRY(put_punctuation(s, part));
    } else if (!strcmp(type, "Digits")) {
        bool each = json_is_true(json_object_get(part, "individual_digits"));
        TRY(put(s, (data_bpe_stage){.regex = each ? "\\p{N}" : "\\p{N}+"}));
    } else if (!strcmp(type, "ByteLevel") && !s->in_letters) {
        TRY(put_byte_level(s, part));
    } else {
        bool second = !strcmp(type, "ByteLevel");
        TRY(data_bpe_unsupported(s->called, "pre_tokenizer",
                                 second ? "ByteLevel after ByteLevel" : type));
    }
done:
    return status;
}

kern_status data_bpe_read_stages(data_bpe *bpe, const json_t *root, const char *pattern,
                                 const char *called) {
    kern_status status = KERN_OK;
    stages s = {.bpe = bpe, .called = called};
    TRY(put_normalizer(&s, json_object_get(root, "normalizer"), 0));
    if (pattern) {
        TRY(put(&s, (data_bpe_stage){.regex = pattern}));
        goto done;
    }
    TRY(put_pre_tokenizer(&s, json_object_get(root, "pre_tokenizer"), 0));
    if (!s.in_letters) TRY(data_bpe_unsupported(called, "pre_tokenizer without", "ByteLevel"));
    /* Then all of a text is one piece. */
    if (bpe->stage_count == 0) TRY(data_bpe_put_stage(bpe, &(data_bpe_stage){0}, called));
done:
    return status;
}
