/* tokenizer.json of Hugging Face, as far as it is byte-level BPE; what is not is refused by name.
 */
#include "data/bpe_json.h"
#include "data/bpe_normalize.h"
#include "data/json_fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    data_bpe *bpe;
    const char *called;
    const json_t *root, *model;
    bool *special; /* [DATA_BPE_MOST_IDS] ids of special tokens */
} reading;

static kern_status wrong(const reading *r, const char *what) {
    return kern_fail(KERN_ERR_DATA, "%s: %s", r->called, what);
}

kern_status data_bpe_unsupported(const char *called, const char *what, const char *name) {
    return kern_fail(KERN_ERR_DATA, "%s: the %s %s is not supported", called, what,
                     name ? name : "without a type");
}

bool data_bpe_asks(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    bool zero = json_is_number(value) && json_number_value(value) == 0;
    return value && !json_is_null(value) && !json_is_false(value) && !zero && !(text && !*text);
}

static kern_status check_model(const reading *r) {
    static const char *const unknown[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix", "byte_fallback"};
    const char *type = data_bpe_text_of(r->model, "type");
    if (!json_is_object(r->model)) return data_bpe_no_model(r->root, r->called);
    /* Old files name no type; merges are BPE's alone. */
    if (type ? strcmp(type, "BPE") != 0 : !json_object_get(r->model, "merges"))
        return data_bpe_unsupported(r->called, "model type", type);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (data_bpe_asks(r->model, unknown[i]))
            return data_bpe_unsupported(r->called, "model's option", unknown[i]);
    return KERN_OK;
}

/* The id, or -1. */
static int64_t id_of(const json_t *value) {
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < DATA_BPE_MOST_IDS ? id : -1;
}

/* Names may have anything in them: one line, without controls. */
static void warn_of_id(const char *called, const char *content, int64_t id, int64_t declared) {
    char text[1024];
    snprintf(text, sizeof text,
             "warning: %.400s: the added token %.200s has the id %lld, not %lld as declared: ids "
             "of added tokens that the model does not have are numbered on from its own",
             called, content, (long long)id, (long long)declared);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F) *c = '?';
    fprintf(stderr, "%s\n", text);
}

/* The id of an added token, or -1: the model's, where it has that token, else the next one that
 * none has, whatever is declared. So does tokenizers' own library, and warns where that is not the
 * same. */
static int64_t id_of_added(const reading *r, const json_t *token, const char *content,
                           int64_t *next) {
    const json_t *vocabulary = json_object_get(r->model, "vocab");
    const json_t *known = content ? json_object_get(vocabulary, content) : NULL;
    int64_t declared = id_of(json_object_get(token, "id")),
            size = (int64_t)json_object_size(vocabulary);
    int64_t id = known ? id_of(known) : declared < 0 ? -1 : kern_max(*next, size);
    *next = kern_max(*next, id + 1);
    if (id >= 0 && id != declared) warn_of_id(r->called, content, id, declared);
    return id;
}

/* It is looked for in the normal form of texts, where it stands in its own. */
static void put_normalized(const reading *r, const char *content, int64_t id, bool special) {
    data_bpe_normal normal = {0};
    data_bpe_normalize(&normal, content, (int64_t)strlen(content));
    char *text = kern_array(normal.bytes + 1, 1);
    memcpy(text, normal.text, (size_t)normal.bytes);
    text[normal.bytes] = 0;
    data_bpe_put_literal(r->bpe, text, content, (int32_t)id, special, true);
    free(text);
    data_bpe_normal_free(&normal);
}

static kern_status read_added(const reading *r) {
    const json_t *added = json_object_get(r->root, "added_tokens");
    int64_t next = 0;
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        const char *content = data_bpe_text_of(token, "content");
        int64_t id = id_of_added(r, token, content, &next);
        bool special = json_is_true(json_object_get(token, "special"));
        if (!content || !*content || id < 0 || strlen(content) > DATA_BPE_LONGEST)
            return wrong(r, "an added token has no content or no id, or one too large");
        if (data_bpe_asks(token, "single_word") || data_bpe_asks(token, "lstrip") ||
            data_bpe_asks(token, "rstrip"))
            return kern_fail(KERN_ERR_DATA,
                             "%s: the added token %.200s asks for single_word, lstrip or rstrip, "
                             "which is not supported",
                             r->called, content);
        const json_t *says = json_object_get(token, "normalized");
        bool normalized = says ? json_is_true(says) : !special;
        if (normalized && r->bpe->normal)
            put_normalized(r, content, id, special);
        else
            data_bpe_put_literal(r->bpe, content, content, (int32_t)id, special, normalized);
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
        if (!data_bpe_put_token(bpe, literal->id, literal->name, (int64_t)strlen(literal->name)))
            return wrong(r, "the id of an added token is too large");
    }
    return KERN_OK;
}

static kern_status read_root(const reading *r, const char *pattern) {
    kern_status status = KERN_OK;
    TRY(check_model(r));
    TRY(data_bpe_read_stages(r->bpe, r->root, pattern, r->called));
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
    if (!root)
        return kern_fail(KERN_ERR_DATA, "%s: line %d: %s", called, error.line,
                         data_json_fault(&error));
    r.root = root;
    r.model = json_object_get(root, "model");
    TRY(kern_alloc_zero((void **)&r.special, DATA_BPE_MOST_IDS * sizeof *r.special, called));
    TRY(read_root(&r, pattern));
done:
    kern_free(r.special);
    json_decref(root);
    return status;
}
