/* tokenizer.json of Hugging Face, as far as it is byte-level BPE; what is not is refused by name.
 */
#include "data/bpe_model.h"

#include <jansson.h>

typedef struct {
    data_bpe *bpe;
    const char *called;
    const json_t *root, *model;
    bool *special; /* [DATA_BPE_MOST_IDS] ids of special tokens */
} reading;

static kern_status wrong(const reading *r, const char *what) {
    return kern_fail(KERN_ERR_DATA, "%s: %s", r->called, what);
}

static kern_status unsupported(const reading *r, const char *what, const char *name) {
    return kern_fail(KERN_ERR_DATA, "%s: the %s %s is not supported", r->called, what,
                     name ? name : "without a type");
}

static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* Absent, null, false, 0 and "" ask for nothing. */
static bool asks(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    bool zero = json_is_number(value) && json_number_value(value) == 0;
    return value && !json_is_null(value) && !json_is_false(value) && !zero && !(text && !*text);
}

static kern_status check_normalizer(const reading *r) {
    const json_t *normalizer = json_object_get(r->root, "normalizer");
    const char *type = text_of(normalizer, "type");
    if (!normalizer || json_is_null(normalizer)) return KERN_OK;
    const json_t *parts = json_object_get(normalizer, "normalizers");
    if (type && !strcmp(type, "Sequence") && json_is_array(parts)) {
        if (json_array_size(parts) == 0) return KERN_OK;
        type = text_of(json_array_get(parts, 0), "type");
    }
    return unsupported(r, "normalizer", type);
}

static kern_status check_model(const reading *r) {
    static const char *const unknown[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix", "byte_fallback"};
    const char *type = text_of(r->model, "type");
    if (!json_is_object(r->model)) return wrong(r, "has no model");
    /* Old files name no type; merges are BPE's alone. */
    if (type ? strcmp(type, "BPE") != 0 : !json_object_get(r->model, "merges"))
        return unsupported(r, "model type", type);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (asks(r->model, unknown[i])) return unsupported(r, "model's option", unknown[i]);
    return KERN_OK;
}

static kern_status put_split(const reading *r, const json_t *part) {
    const json_t *pattern = json_object_get(part, "pattern");
    const char *regex = text_of(pattern, "Regex"), *behavior = text_of(part, "behavior");
    bool inverted = json_is_true(json_object_get(part, "invert"));
    if (!regex) return unsupported(r, "pre_tokenizer", "Split without a Regex");
    /* What to remove where matches are kept: text that no pattern matches, which ours all do. */
    bool isolated =
        behavior && (!strcmp(behavior, "Isolated") || (inverted && !strcmp(behavior, "Removed")));
    if (!isolated) return unsupported(r, "pre_tokenizer Split's behavior", behavior);
    return data_bpe_put_stage(r->bpe, regex, r->called);
}

static kern_status put_pre_tokenizer(const reading *r, const json_t *part, bool *byte_level) {
    const char *type = text_of(part, "type");
    if (*byte_level || !type) return unsupported(r, "pre_tokenizer", type);
    if (!strcmp(type, "Split")) return put_split(r, part);
    if (!strcmp(type, "Digits")) {
        bool each = json_is_true(json_object_get(part, "individual_digits"));
        return data_bpe_put_stage(r->bpe, each ? "\\p{N}" : "\\p{N}+", r->called);
    }
    if (strcmp(type, "ByteLevel")) return unsupported(r, "pre_tokenizer", type);
    if (asks(part, "add_prefix_space"))
        return unsupported(r, "pre_tokenizer ByteLevel's", "add_prefix_space");
    *byte_level = true;
    const json_t *use_regex = json_object_get(part, "use_regex");
    if (use_regex && json_is_false(use_regex)) return KERN_OK;
    return data_bpe_put_stage(r->bpe, data_bpe_encoding_named("gpt2")->regex, r->called);
}

static kern_status read_pre_tokenizer(const reading *r) {
    kern_status status = KERN_OK;
    const json_t *pre = json_object_get(r->root, "pre_tokenizer");
    const char *type = text_of(pre, "type");
    bool byte_level = false;
    if (type && !strcmp(type, "Sequence")) {
        const json_t *parts = json_object_get(pre, "pretokenizers");
        for (size_t i = 0; i < json_array_size(parts); i++)
            TRY(put_pre_tokenizer(r, json_array_get(parts, i), &byte_level));
    } else {
        TRY(put_pre_tokenizer(r, pre, &byte_level));
    }
    if (!byte_level) TRY(unsupported(r, "pre_tokenizer without", "ByteLevel"));
    if (r->bpe->stage_count == 0) TRY(wrong(r, "its pre_tokenizer has no pattern"));
done:
    return status;
}

/* The id, or -1. */
static int64_t id_of(const json_t *value) {
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < DATA_BPE_MOST_IDS ? id : -1;
}

static kern_status read_added(const reading *r) {
    const json_t *added = json_object_get(r->root, "added_tokens");
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        const char *content = text_of(token, "content");
        int64_t id = id_of(json_object_get(token, "id"));
        bool special = json_is_true(json_object_get(token, "special"));
        if (!content || !*content || id < 0 || strlen(content) > DATA_BPE_LONGEST)
            return wrong(r, "an added token has no content or no id, or one too large");
        if (asks(token, "single_word") || asks(token, "lstrip") || asks(token, "rstrip"))
            return kern_fail(KERN_ERR_DATA,
                             "%s: the added token %.200s asks for single_word, lstrip or rstrip, "
                             "which is not supported",
                             r->called, content);
        data_bpe_put_literal(r->bpe, content, (int32_t)id, special);
        r->special[id] = r->special[id] || special;
    }
    return KERN_OK;
}

static kern_status read_vocabulary(const reading *r) {
    const char *key;
    json_t *value, *vocabulary = json_object_get(r->model, "vocab");
    char bytes[DATA_BPE_LONGEST];
    if (!json_is_object(vocabulary)) return wrong(r, "its model has no vocab");
    json_object_foreach(vocabulary, key, value) {
        int64_t id = id_of(value),
                length = data_bpe_from_alphabet(bytes, key, (int64_t)strlen(key));
        if (id >= 0 && r->special[id]) continue;
        if (id < 0 || length <= 0 || !data_bpe_put_token(r->bpe, id, bytes, length))
            return kern_fail(
                KERN_ERR_DATA,
                "%s: the token %.200s is not of byte-level BPE, or its id is another's "
                "or too large",
                r->called, key);
    }
    return data_bpe_index_tokens(r->bpe, r->called);
}

/* The two halves of a merge, "a b" or ["a", "b"]; false where it is neither. */
static bool halves_of(const char **left, int64_t *left_length, const char **right,
                      const json_t *merge) {
    *left = json_string_value(json_is_array(merge) ? json_array_get(merge, 0) : merge);
    if (!*left) return false;
    if (json_is_array(merge)) {
        *right = json_string_value(json_array_get(merge, 1));
        *left_length = (int64_t)strlen(*left);
        return *right && json_array_size(merge) == 2;
    }
    const char *space = strchr(*left, ' ');
    *right = space ? space + 1 : NULL;
    *left_length = space ? space - *left : 0;
    return space != NULL;
}

static kern_status read_merges(const reading *r) {
    const json_t *merges = json_object_get(r->model, "merges");
    char bytes[2 * DATA_BPE_LONGEST];
    if (!json_is_array(merges)) return wrong(r, "its model has no merges");
    if (json_array_size(merges) > DATA_BPE_MOST_IDS)
        return wrong(r, "its model has more merges than are supported");
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const char *left, *right;
        int64_t characters, a = 0, b = 0;
        if (halves_of(&left, &characters, &right, json_array_get(merges, i))) {
            a = data_bpe_from_alphabet(bytes, left, characters);
            if (a > 0) b = data_bpe_from_alphabet(bytes + a, right, (int64_t)strlen(right));
        }
        int32_t first = a > 0 ? data_bpe_find_token(r->bpe, bytes, a) : -1;
        int32_t second = b > 0 ? data_bpe_find_token(r->bpe, bytes + a, b) : -1;
        int32_t whole = a > 0 && b > 0 ? data_bpe_find_token(r->bpe, bytes, a + b) : -1;
        if (first < 0 || second < 0 || whole < 0)
            return kern_fail(KERN_ERR_DATA, "%s: merge %lld is not of two tokens to a third",
                             r->called, (long long)i);
        data_bpe_put_pair(r->bpe, first, second, (int32_t)i, whole);
    }
    r->bpe->whole_first = json_is_true(json_object_get(r->model, "ignore_merges"));
    return KERN_OK;
}

/* Added tokens that are text have bytes, but no piece and no merge is one. */
static kern_status put_added_text(const reading *r) {
    data_bpe *bpe = r->bpe;
    for (int64_t i = 0; i < bpe->literal_count; i++) {
        const data_bpe_literal *literal = &bpe->literals[i];
        bool there = literal->id < bpe->ids && bpe->tokens[literal->id].length;
        if (literal->special || there || r->special[literal->id]) continue;
        if (!data_bpe_put_token(bpe, literal->id, literal->text, literal->length))
            return wrong(r, "the id of an added token is too large");
    }
    return KERN_OK;
}

static kern_status read_root(const reading *r, const char *pattern) {
    kern_status status = KERN_OK;
    if (!json_is_object(r->root)) TRY(wrong(r, "is not an object"));
    TRY(check_model(r));
    TRY(check_normalizer(r));
    if (pattern)
        TRY(data_bpe_put_stage(r->bpe, pattern, r->called));
    else
        TRY(read_pre_tokenizer(r));
    TRY(read_added(r));
    TRY(read_vocabulary(r));
    TRY(read_merges(r));
    TRY(put_added_text(r));
done:
    return status;
}

kern_status data_bpe_read_json(data_bpe *bpe, const char *file, size_t bytes, const char *called,
                               const char *pattern) {
    kern_status status = KERN_OK;
    json_error_t error;
    reading r = {.bpe = bpe, .called = called};
    json_t *root = json_loadb(file, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root) return kern_fail(KERN_ERR_DATA, "%s: line %d: %s", called, error.line, error.text);
    r.root = root;
    r.model = json_object_get(root, "model");
    TRY(kern_alloc_zero((void **)&r.special, DATA_BPE_MOST_IDS * sizeof *r.special, called));
    TRY(read_root(&r, pattern));
done:
    kern_free(r.special);
    json_decref(root);
    return status;
}
