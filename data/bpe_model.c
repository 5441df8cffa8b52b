#include "data/bpe_model.h"
#include "data/checksum.h"

#include <stdio.h>
#include <stdlib.h>

/* Room for the token; false where its id is another's or too large. */
static bool take_id(data_bpe *bpe, int64_t id) {
    if (id < 0 || id >= DATA_BPE_MOST_IDS) return false;
    if (id >= bpe->ids) {
        bpe->tokens = kern_grow(bpe->tokens, &bpe->tokens_capacity, id + 1, sizeof *bpe->tokens);
        memset(bpe->tokens + bpe->ids, 0, (size_t)(id + 1 - bpe->ids) * sizeof *bpe->tokens);
        bpe->ids = id + 1;
    }
    return !bpe->tokens[id].length && !(bpe->has_empty && id == bpe->empty);
}

bool data_bpe_put_token(data_bpe *bpe, int64_t id, const char *bytes, int64_t length) {
    ASSERT(length > 0 && length <= DATA_BPE_LONGEST);
    if (!take_id(bpe, id)) return false;
    bpe->pool = kern_grow(bpe->pool, &bpe->pool_capacity, bpe->pool_bytes + length, 1);
    memcpy(bpe->pool + bpe->pool_bytes, bytes, (size_t)length);
    bpe->tokens[id] = (data_bpe_token){bpe->pool_bytes, (int32_t)length};
    bpe->pool_bytes += length;
    bpe->token_count++;
    return true;
}

bool data_bpe_put_empty(data_bpe *bpe, int64_t id) {
    if (bpe->has_empty || !take_id(bpe, id)) return false;
    bpe->has_empty = true;
    bpe->empty = (int32_t)id;
    return true;
}

static uint64_t mask_for(int64_t count) {
    uint64_t slots = 16;
    while (slots < (uint64_t)count * 2) slots *= 2;
    return slots - 1;
}

static void put_word(data_bpe *bpe, int32_t id) {
    const data_bpe_token *token = &bpe->tokens[id];
    uint64_t key = data_bpe_key(bpe->pool + token->begin, token->length);
    uint64_t i = data_bpe_word_hash(key, token->length) & bpe->word_mask;
    while (bpe->words[i].length) i = (i + 1) & bpe->word_mask;
    bpe->words[i] = (data_bpe_word){key, token->length, id};
}

static kern_status make_words(data_bpe *bpe) {
    kern_free(bpe->words);
    bpe->words = NULL;
    bpe->word_mask = mask_for(bpe->token_count);
    return kern_alloc_zero((void **)&bpe->words, (bpe->word_mask + 1) * sizeof *bpe->words,
                           "a vocabulary");
}

kern_status data_bpe_index_tokens(data_bpe *bpe, const char *called) {
    kern_status status = KERN_OK;
    TRY(make_words(bpe));
    for (int32_t id = 0; id < bpe->ids; id++) {
        const data_bpe_token *token = &bpe->tokens[id];
        if (!token->length) continue;
        int32_t other = data_bpe_find_token(bpe, bpe->pool + token->begin, token->length);
        if (other >= 0)
            TRY(kern_fail(KERN_ERR_DATA, "%s: tokens %d and %d have the same bytes", called, other,
                          id));
        put_word(bpe, id);
    }
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        bpe->byte_ids[byte] = data_bpe_find_token(bpe, &text, 1);
        if (bpe->byte_ids[byte] < 0)
            TRY(kern_fail(KERN_ERR_DATA,
                          "%s: byte 0x%02x has no token; only vocabularies of all bytes are read",
                          called, byte));
    }
done:
    return status;
}

/* Doubles the table where it is half full. Running out of memory ends the program, as in
 * kern_grow. */
static void make_room_for_pairs(data_bpe *bpe) {
    int64_t slots = (int64_t)bpe->pair_mask + 1, capacity = 0;
    if (bpe->pairs && bpe->pair_count * 2 < slots) return;
    data_bpe_pair *old = bpe->pairs;
    int64_t old_slots = old ? slots : 0;
    slots = old ? slots * 2 : 1 << 12;
    bpe->pairs = kern_grow(NULL, &capacity, slots, sizeof *bpe->pairs);
    bpe->pair_mask = (uint64_t)slots - 1;
    for (int64_t i = 0; i < slots; i++) bpe->pairs[i].key = UINT64_MAX;
    for (int64_t i = 0; i < old_slots; i++) {
        if (old[i].key == UINT64_MAX) continue;
        uint64_t at = data_bpe_mix(old[i].key) & bpe->pair_mask;
        while (bpe->pairs[at].key != UINT64_MAX) at = (at + 1) & bpe->pair_mask;
        bpe->pairs[at] = old[i];
    }
    free(old);
}

void data_bpe_put_pair(data_bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t id) {
    make_room_for_pairs(bpe);
    uint64_t key = (uint64_t)left << 32 | (uint32_t)right;
    uint64_t at = data_bpe_mix(key) & bpe->pair_mask;
    for (; bpe->pairs[at].key != UINT64_MAX; at = (at + 1) & bpe->pair_mask)
        if (bpe->pairs[at].key == key) return;
    bpe->pairs[at] = (data_bpe_pair){key, rank, id};
    bpe->pair_count++;
}

void data_bpe_pair_by_rank(data_bpe *bpe) {
    for (int32_t id = 0; id < bpe->ids; id++) {
        const data_bpe_token *token = &bpe->tokens[id];
        const char *text = bpe->pool + token->begin;
        for (int32_t half = 1; half < token->length; half++) {
            int32_t left = data_bpe_find_token(bpe, text, half);
            int32_t right =
                left < 0 ? -1 : data_bpe_find_token(bpe, text + half, token->length - half);
            if (right >= 0) data_bpe_put_pair(bpe, left, right, id, id);
        }
    }
}

void data_bpe_put_literal(data_bpe *bpe, const char *text, const char *name, int32_t id,
                          bool special, bool normalized) {
    int64_t at = bpe->literal_count++;
    bpe->literals = kern_grow(bpe->literals, &bpe->literals_capacity, bpe->literal_count,
                              sizeof *bpe->literals);
    char *copy = strdup(text), *name_copy = strdup(name);
    ASSERT(copy && *copy && name_copy);
    bpe->literals[at] = (data_bpe_literal){.text = copy,
                                           .name = name_copy,
                                           .length = (int32_t)strlen(copy),
                                           .id = id,
                                           .special = special,
                                           .normalized = normalized};
}

/* Patterns of known vocabularies leave nothing between their matches to remove. */
static bool is_plain(const data_bpe_stage *stage) {
    bool kept = stage->matched == DATA_BPE_REMOVED && stage->inverted &&
                data_bpe_encoding_like(stage->regex, 0);
    return stage->regex && (stage->matched == DATA_BPE_ISOLATED || kept) && !stage->empty &&
           !stage->spaced && !stage->in_letters;
}

kern_status data_bpe_put_stage(data_bpe *bpe, const data_bpe_stage *wanted, const char *called) {
    kern_status status = KERN_OK;
    if (bpe->stage_count == DATA_BPE_STAGES)
        return kern_fail(KERN_ERR_DATA, "%s: has more than %d patterns one after the other", called,
                         DATA_BPE_STAGES);
    data_bpe_stage *stage = &bpe->stages[bpe->stage_count];
    *stage = *wanted;
    stage->pattern = NULL;
    if (stage->regex) {
        TRY(data_bpe_pattern_create(&stage->pattern, stage->regex, called));
        stage->regex = data_bpe_pattern_regex(stage->pattern);
        stage->empty = stage->empty && data_bpe_pattern_let_empty(stage->pattern);
        bpe->waits = bpe->waits || data_bpe_pattern_looks_back(stage->pattern);
    }
    stage->plain = is_plain(stage);
    bpe->spaced = bpe->spaced || stage->spaced;
    bool undecided = !stage->regex || stage->empty || stage->spaced || stage->in_letters;
    bpe->waits = bpe->waits || (bpe->stage_count == 0 && undecided);
    bpe->stage_count++;
done:
    return status;
}

/* By kind and the first byte, as it is looked up; of one first byte the longest first. */
static int by_text(const void *left, const void *right) {
    const data_bpe_literal *a = left, *b = right;
    if (a->normalized != b->normalized) return a->normalized ? 1 : -1;
    int first = (unsigned char)*a->text - (unsigned char)*b->text;
    if (first) return first;
    return a->length != b->length ? b->length - a->length : strcmp(a->text, b->text);
}

static int by_id(const void *left, const void *right) {
    const data_special *a = left, *b = right;
    return (a->id > b->id) - (a->id < b->id);
}

static kern_status finish_literals(data_bpe *bpe, const char *called) {
    kern_status status = KERN_OK;
    data_vocabulary *vocabulary = &bpe->vocabulary;
    size_t count = (size_t)bpe->literal_count;
    if (count) qsort(bpe->literals, count, sizeof *bpe->literals, by_text);
    TRY(kern_alloc((void **)&bpe->specials, (count + 1) * sizeof *bpe->specials, "special tokens"));
    if (bpe->has_empty) bpe->specials[vocabulary->special_count++] = (data_special){bpe->empty, ""};
    for (size_t i = 0; i < count; i++) {
        const data_bpe_literal *literal = &bpe->literals[i];
        if (i && !strcmp(literal->text, literal[-1].text))
            TRY(kern_fail(KERN_ERR_DATA, "%s: two added tokens are %.200s", called, literal->name));
        bpe->exact_count += !literal->normalized;
        if (literal->special)
            bpe->specials[vocabulary->special_count++] = (data_special){literal->id, literal->name};
        if (literal->id >= vocabulary->size) vocabulary->size = literal->id + 1;
    }
    qsort(bpe->specials, (size_t)vocabulary->special_count, sizeof *bpe->specials, by_id);
    vocabulary->specials = bpe->specials;
done:
    return status;
}

static kern_status choose_beginning(data_bpe *bpe, const char *called, const char *begin) {
    static const char *const usual[] = {
        "<|begin_of_text|>", "<｜begin▁of▁sentence｜>", "<s>",   "<bos>", "<|startoftext|>",
        "<|endoftext|>",     "<|end_of_text|>",         "<SOS>",
    };
    data_vocabulary *vocabulary = &bpe->vocabulary;
    vocabulary->bos = begin ? data_vocabulary_special_id(vocabulary, begin) : -1;
    for (size_t i = 0; !begin && vocabulary->bos < 0 && i < sizeof usual / sizeof *usual; i++)
        vocabulary->bos = data_vocabulary_special_id(vocabulary, usual[i]);
    if (vocabulary->bos >= 0) {
        vocabulary->begin = data_vocabulary_special_name(vocabulary, vocabulary->bos);
        return KERN_OK;
    }
    if (begin)
        return kern_fail(KERN_ERR_USAGE, "%s: none of its %lld special tokens is called %s", called,
                         (long long)vocabulary->special_count, begin);
    return kern_fail(KERN_ERR_USAGE,
                     "%s: which special token begins a document is not known; name it (--begin)",
                     called);
}

/* What changes ids beyond the tokens, of vocabularies that have such things. Others have the hash
 * of their tokens alone, whatever their pattern, as shards remember it. */
static uint32_t hash_cutting(uint32_t crc, const data_bpe *bpe) {
    static const char *const matched[] = {"isolated", "removed", "contiguous",
                                          "merged with previous", "merged with next"};
    bool more = bpe->normal;
    for (int i = 0; i < bpe->stage_count; i++) {
        const data_bpe_stage *stage = &bpe->stages[i];
        bool isolated = stage->matched == DATA_BPE_ISOLATED ||
                        (stage->matched == DATA_BPE_REMOVED && stage->inverted);
        more = more || !isolated || !stage->regex || stage->empty || stage->spaced ||
               stage->in_letters || stage->hashed;
    }
    if (!more) return crc;
    if (bpe->normal) crc = data_crc32(crc, "NFC", 4);
    for (int i = 0; i < bpe->stage_count; i++) {
        const data_bpe_stage *stage = &bpe->stages[i];
        const char *words[] = {stage->regex ? stage->regex : "",
                               stage->regex ? matched[stage->matched] : "whole",
                               stage->inverted ? "inverted" : "", stage->spaced ? "spaced" : "",
                               stage->in_letters ? "in letters" : ""};
        for (size_t k = 0; k < sizeof words / sizeof *words; k++)
            crc = data_crc32(crc, words[k], strlen(words[k]) + 1);
    }
    return crc;
}

static void hash_tokens(data_bpe *bpe) {
    uint32_t crc = 0;
    for (int64_t id = 0; id < bpe->vocabulary.size; id++) {
        data_bpe_token token = id < bpe->ids ? bpe->tokens[id] : (data_bpe_token){0, 0};
        unsigned char length[4];
        for (int i = 0; i < 4; i++) length[i] = (unsigned char)(token.length >> 8 * i);
        crc = data_crc32(crc, length, sizeof length);
        if (token.length) crc = data_crc32(crc, bpe->pool + token.begin, (size_t)token.length);
    }
    snprintf(bpe->hash, sizeof bpe->hash, "%08x", hash_cutting(crc, bpe));
}

static kern_status keep_reached_words(data_bpe *bpe) {
    kern_status status = KERN_OK;
    data_tokens merged = {0};
    TRY(make_words(bpe));
    TRY(data_tokens_reserve(&merged, DATA_BPE_LONGEST));
    for (int32_t id = 0; id < bpe->ids; id++) {
        const data_bpe_token *token = &bpe->tokens[id];
        if (!token->length) continue;
        merged.count = 0;
        TRY(data_bpe_merge(&merged, bpe, bpe->pool + token->begin, token->length));
        if (merged.count == 1 && merged.ids[0] == id) put_word(bpe, id);
    }
done:
    free(merged.ids);
    return status;
}

kern_status data_bpe_finish(data_bpe *bpe, const char *called, const char *begin) {
    kern_status status = KERN_OK;
    data_vocabulary *vocabulary = &bpe->vocabulary;
    make_room_for_pairs(bpe);
    TRY(kern_alloc((void **)&bpe->byte_pairs, 65536 * sizeof *bpe->byte_pairs, "a vocabulary"));
    for (int i = 0; i < 65536; i++)
        bpe->byte_pairs[i] = data_bpe_find_pair(bpe, bpe->byte_ids[i >> 8], bpe->byte_ids[i & 255]);
    if (!bpe->whole_first) TRY(keep_reached_words(bpe));
    if (bpe->ids > vocabulary->size) vocabulary->size = bpe->ids;
    TRY(finish_literals(bpe, called));
    TRY(choose_beginning(bpe, called, begin));
    hash_tokens(bpe);
    vocabulary->hash = bpe->hash;
done:
    return status;
}
