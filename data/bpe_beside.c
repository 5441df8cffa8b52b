/* merges.txt with its vocab.json: what the tokens are called and their ids lie in two files. */
#include "data/bpe_json.h"

#include <stdlib.h>

/* An object of names and ids; NULL where it is not. */
static json_t *load_ids(const char *vocab, size_t bytes) {
    const char *name;
    json_t *object = json_loadb(vocab, bytes, JSON_REJECT_DUPLICATES, NULL), *id;
    bool sound = json_is_object(object) && json_object_size(object) > 0;
    if (sound) json_object_foreach(object, name, id) sound = sound && json_is_integer(id);
    if (sound) return object;
    json_decref(object);
    return NULL;
}

bool data_bpe_agrees(const data_bpe *bpe, const char *vocab, size_t vocab_bytes) {
    json_t *ids = load_ids(vocab, vocab_bytes), *value;
    bool same = ids != NULL;
    int64_t tokens = 0;
    const char *name;
    char bytes[DATA_BPE_LONGEST];
    json_object_foreach(ids, name, value) {
        json_int_t id = json_integer_value(value);
        if (id < 0 || id >= bpe->vocabulary.size) {
            same = false;
            break;
        }
        const char *special = data_vocabulary_special_name(&bpe->vocabulary, (int32_t)id);
        int64_t length = data_bpe_from_alphabet(bytes, name, (int64_t)strlen(name));
        bool token = length > 0 && id < bpe->ids && bpe->tokens[id].length == length &&
                     !memcmp(bpe->pool + bpe->tokens[id].begin, bytes, (size_t)length);
        tokens += token;
        same = same && (token || (special && !strcmp(special, name)));
    }
    json_decref(ids);
    return same && tokens == bpe->token_count;
}

/* The letters of GPT-2's alphabet, as members of an object. */
static void put_letters(json_t *made) {
    for (int i = 0; i < 256; i++) {
        char letter[3] = "", byte = (char)i;
        letter[data_bpe_spell(letter, &byte, 1)] = 0;
        json_object_set_new(made, letter, json_true());
    }
}

/* The lines to `merges`, and what they make to `made`. */
static kern_status read_lines(json_t *merges, json_t *made, const char *file, size_t bytes,
                              const char *called) {
    const char *at = file;
    for (data_bpe_line l = {0}; data_bpe_next_line(&l, &at, file + bytes);) {
        char token[4 * DATA_BPE_LONGEST + 1];
        size_t length = (size_t)(l.end - l.begin);
        const char *space = memchr(l.begin, ' ', length);
        if (l.number == 1 && *l.begin == '#') continue;
        if (!space || length >= sizeof token)
            return kern_fail(KERN_ERR_DATA, "%s: line %lld of the merges is not two tokens", called,
                             (long long)l.number);
        size_t left = (size_t)(space - l.begin);
        memcpy(token, l.begin, left);
        memcpy(token + left, space + 1, length - left - 1);
        if (json_object_setn_new(made, token, length - 1, json_true()) ||
            json_array_append_new(merges, json_stringn(l.begin, length)))
            return kern_fail(KERN_ERR_DATA, "%s: line %lld of the merges is not UTF-8", called,
                             (long long)l.number);
    }
    return KERN_OK;
}

/* What is in a vocabulary and no merge makes: special tokens. */
static json_t *list_specials(json_t *ids, const json_t *made) {
    json_t *added = json_array(), *id;
    const char *name;
    json_object_foreach(ids, name, id) {
        if (json_object_get(made, name)) continue;
        json_array_append_new(added, json_pack("{s:O, s:s, s:b, s:b}", "id", id, "content", name,
                                               "special", 1, "normalized", 0));
    }
    return added;
}

static json_t *choose_pre_tokenizer(int64_t tokens) {
    const data_bpe_encoding *encoding = data_bpe_encoding_like(NULL, tokens);
    if (!encoding) encoding = data_bpe_encoding_named("gpt2");
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b}]}", "type", "Sequence",
                     "pretokenizers", "type", "Split", "pattern", "Regex", encoding->regex,
                     "behavior", "Isolated", "invert", 0, "type", "ByteLevel", "add_prefix_space",
                     0, "use_regex", 0);
}

kern_status data_bpe_join(char **json, const char *merges, size_t merges_bytes, const char *vocab,
                          size_t vocab_bytes, const char *called) {
    kern_status status = KERN_OK;
    json_t *ids = load_ids(vocab, vocab_bytes), *list = json_array(), *made = json_object();
    json_t *added = NULL, *all = NULL;
    *json = NULL;
    if (!ids)
        TRY(kern_fail(KERN_ERR_DATA,
                      "%s: the latter is no JSON object of tokens and their ids; if the merges are "
                      "numbered as GPT-2's are, move it away",
                      called));
    put_letters(made);
    TRY(read_lines(list, made, merges, merges_bytes, called));
    added = list_specials(ids, made);
    int64_t tokens = (int64_t)(json_object_size(ids) - json_array_size(added));
    all = json_pack("{s:O, s:o, s:{s:s, s:O, s:O}}", "added_tokens", added, "pre_tokenizer",
                    choose_pre_tokenizer(tokens), "model", "type", "BPE", "vocab", ids, "merges",
                    list);
    if (all) *json = json_dumps(all, JSON_COMPACT);
    if (!*json) TRY(kern_fail(KERN_ERR_MEMORY, "%s: no memory for a vocabulary", called));
done:
    json_decref(all);
    json_decref(added);
    json_decref(made);
    json_decref(list);
    json_decref(ids);
    return status;
}
