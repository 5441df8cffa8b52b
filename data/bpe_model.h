/* The inside of data/bpe.h, for the files bpe_*.c alone: the tables of a vocabulary, how readers
 * fill them, and the merging of one piece. */
#ifndef DATA_BPE_MODEL_H
#define DATA_BPE_MODEL_H

#include "data/bpe.h"
#include "data/bpe_pattern.h"

#include <string.h>

enum {
    DATA_BPE_MOST_IDS = 1 << 22,
    DATA_BPE_LONGEST = 1024, /* bytes of a token */
    DATA_BPE_STAGES = 8,
    DATA_BPE_NO_RANK = INT32_MAX,
};

/* Where the bytes of a token lie in the pool; length 0: no such token. */
typedef struct {
    int64_t begin;
    int32_t length;
} data_bpe_token;

/* A token by its bytes: a slot of an open hash table. */
typedef struct {
    uint64_t key;   /* data_bpe_key */
    int32_t length; /* 0: free */
    int32_t id;
} data_bpe_word;

/* Two tokens that merge into `id`: a slot of an open hash table. */
typedef struct {
    uint64_t key; /* left << 32 | right; UINT64_MAX: free */
    int32_t rank, id;
} data_bpe_pair;

/* A text that is a token as it stands, before any pattern. */
typedef struct {
    const char *text, *name; /* what is looked for; the token as its file writes it */
    int32_t length, id;
    bool special;    /* only where asked for */
    bool normalized; /* looked for after the others, in what they leave, in its normal form */
} data_bpe_literal;

/* What becomes of what a pattern matches: a piece; nothing; with matches beside it a piece; a piece
 * with what is before it, or behind it, and is none. */
typedef enum {
    DATA_BPE_ISOLATED,
    DATA_BPE_REMOVED,
    DATA_BPE_CONTIGUOUS,
    DATA_BPE_WITH_PREVIOUS,
    DATA_BPE_WITH_NEXT,
} data_bpe_matched;

/* How a text, or a piece of the stage before, is cut. */
typedef struct {
    const char *regex; /* as the file or the user wrote it; NULL: it is not cut */
    data_bpe_matched matched;
    bool inverted;   /* that is for what the pattern leaves between its matches */
    bool empty;      /* matches may be empty: they end a piece */
    bool spaced;     /* first of all a space is put before what does not begin with one */
    bool in_letters; /* the pattern sees bytes as letters of GPT-2's alphabet */
    bool hashed;     /* the hash of the vocabulary covers it; see hash_cutting */
    /* Made of these: */
    data_bpe_pattern *pattern;
    bool plain; /* pieces are matches and what is between them: what encoding makes fast */
} data_bpe_stage;

typedef struct {
    data_vocabulary vocabulary; /* first: a pointer to it is a pointer to all */
    char hash[9];
    char *file, *pattern, *begin;
    char *pool;
    int64_t pool_bytes, pool_capacity;
    data_bpe_token *tokens; /* [ids] */
    int64_t ids, token_count, tokens_capacity;
    data_bpe_word *words; /* [word_mask + 1] */
    data_bpe_pair *pairs; /* [pair_mask + 1] */
    uint64_t word_mask, pair_mask;
    int64_t word_count, pair_count;
    int32_t byte_ids[256];
    data_bpe_pair *byte_pairs; /* [256 * 256], of the tokens of two bytes; the key is unused */
    /* [literal_count] those that are not normalized first [exact_count]; by text, of one beginning
     * the longest first */
    data_bpe_literal *literals;
    int64_t exact_count;
    int64_t literal_count, literals_capacity;
    data_special *specials;
    bool has_empty; /* the token `empty` has no bytes: it decodes to nothing, and no text has it */
    int32_t empty;
    bool whole_first; /* a piece that is a token is that token, whatever merging would give */
    bool normal;      /* text is brought into normal form C first */
    data_bpe_stage stages[DATA_BPE_STAGES]; /* each cuts the pieces of the one before */
    int stage_count;
    bool spaced; /* a stage puts spaces */
    bool waits;  /* the beginning of a text cannot be cut before all of it is there */
} data_bpe;

static inline uint64_t data_bpe_mix(uint64_t x) {
    x ^= x >> 32;
    x *= 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
}

/* Up to eight bytes determine and are determined by (key, length); more are hashed. length > 0. */
static inline uint64_t data_bpe_key(const char *text, int64_t length) {
    uint64_t key = 0, word;
    uint32_t low, high;
    if (length < 4) {
        const unsigned char *b = (const unsigned char *)text;
        return b[0] | (uint64_t)b[length / 2] << 8 | (uint64_t)b[length - 1] << 16;
    }
    if (length <= 8) {
        memcpy(&low, text, 4);
        memcpy(&high, text + length - 4, 4);
        return low | (uint64_t)high << 32;
    }
    for (int64_t i = 0; i < length - 8; i += 8) {
        memcpy(&word, text + i, 8);
        key = data_bpe_mix(key + word);
    }
    memcpy(&word, text + length - 8, 8);
    return data_bpe_mix(key + word);
}

static inline uint64_t data_bpe_word_hash(uint64_t key, int64_t length) {
    return data_bpe_mix(key + (uint64_t)length * 0xA0761D6478BD642Fu);
}

/* The token whose bytes are exactly these, -1 where none is in the table. */
static inline int32_t data_bpe_find(const data_bpe *bpe, const char *text, int64_t length,
                                    uint64_t key, uint64_t hash) {
    for (uint64_t i = hash & bpe->word_mask;; i = (i + 1) & bpe->word_mask) {
        const data_bpe_word *word = &bpe->words[i];
        if (word->key == key && word->length == length &&
            (length <= 8 || !memcmp(bpe->pool + bpe->tokens[word->id].begin, text, (size_t)length)))
            return word->id;
        if (word->length == 0) return -1;
    }
}

static inline int32_t data_bpe_find_token(const data_bpe *bpe, const char *text, int64_t length) {
    uint64_t key = data_bpe_key(text, length);
    return data_bpe_find(bpe, text, length, key, data_bpe_word_hash(key, length));
}

/* What two tokens merge into; rank DATA_BPE_NO_RANK where they do not. */
static inline data_bpe_pair data_bpe_find_pair(const data_bpe *bpe, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)left << 32 | (uint32_t)right;
    for (uint64_t i = data_bpe_mix(key) & bpe->pair_mask;; i = (i + 1) & bpe->pair_mask) {
        if (bpe->pairs[i].key == key) return bpe->pairs[i];
        if (bpe->pairs[i].key == UINT64_MAX)
            return (data_bpe_pair){.rank = DATA_BPE_NO_RANK, .id = -1};
    }
}

/* For readers, in this order. A token has an id of its own and bytes that no other has; false from
 * data_bpe_put_token where that is not so (the reader knows the line).
 * data_bpe_put_pair: `left` and `right` merge into `id`; the first of two equal pairs counts. */
bool data_bpe_put_token(data_bpe *bpe, int64_t id, const char *bytes, int64_t length);
/* The one token that has no bytes; false as above, or where there is one. */
bool data_bpe_put_empty(data_bpe *bpe, int64_t id);
kern_status data_bpe_index_tokens(data_bpe *bpe, const char *called);
void data_bpe_put_pair(data_bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t id);
/* Ranks are ids: every two tokens whose concatenation is a token merge into it. */
void data_bpe_pair_by_rank(data_bpe *bpe);
/* Copies both. */
void data_bpe_put_literal(data_bpe *bpe, const char *text, const char *name, int32_t id,
                          bool special, bool normalized);
/* Adds a stage. */
kern_status data_bpe_put_stage(data_bpe *bpe, const data_bpe_stage *stage, const char *called);
/* Completes the tables; where tokens are not found whole first, those that merging does not reach
 * leave the table of words, so that looking a piece up there is the same as merging it. */
kern_status data_bpe_finish(data_bpe *bpe, const char *called, const char *begin);

/* A line of a text file. */
typedef struct {
    const char *begin, *end; /* without the line's end */
    int64_t number;
} data_bpe_line;

/* The next line from *at on that is not empty. */
bool data_bpe_next_line(data_bpe_line *line, const char **at, const char *end);

/* The readers: file [bytes] into an empty model. */
kern_status data_bpe_read_ranks(data_bpe *bpe, const char *file, size_t bytes, const char *called);
kern_status data_bpe_read_merges(data_bpe *bpe, const char *file, size_t bytes, const char *called);
kern_status data_bpe_read_json(data_bpe *bpe, const char *file, size_t bytes, const char *called,
                               const char *pattern);

/* KERN_ERR_DATA where a file is of a known kind that is no vocabulary, or one that is not read:
 * says which, and what to do. */
kern_status data_bpe_check_kind(const char *file, size_t bytes, const char *called);

/* merges [merges_bytes] and the vocab.json that gives their tokens ids as one tokenizer.json, to
 * *json; free() it. Errors: KERN_ERR_DATA, naming `called`. */
kern_status data_bpe_join(char **json, const char *merges, size_t merges_bytes, const char *vocab,
                          size_t vocab_bytes, const char *called);
/* Whether vocab.json says no more of these merges than is known without it. */
bool data_bpe_agrees(const data_bpe *bpe, const char *vocab, size_t vocab_bytes);

/* GPT-2's alphabet, in which files write bytes as characters. The i-th byte in its order; the bytes
 * that UTF-8 text [length] stands for to bytes [DATA_BPE_LONGEST], and their number, -1 where it
 * has a character that is none of them or is too long. */
int data_bpe_alphabet_byte(int i);
int64_t data_bpe_from_alphabet(char *bytes, const char *text, int64_t length);
/* Any bytes [length] to text [2 * length] of that alphabet; returns its length. The same back, from
 * text of the alphabet alone. */
int64_t data_bpe_spell(char *text, const char *bytes, int64_t length);
int64_t data_bpe_unspell(char *bytes, const char *text, int64_t length);

/* Appends the tokens of one piece, merged from its bytes; tokens has room. A long piece is merged
 * in windows as small as its tokens allow: in linear time and no memory to speak of, as a rule; in
 * O(n log n) and 28 bytes a byte at worst. Errors: KERN_ERR_MEMORY. */
kern_status data_bpe_merge(data_tokens *tokens, const data_bpe *bpe, const char *piece,
                           int64_t bytes);

/* The functions of the vocabulary (bpe_cut.c, bpe_encode.c). */
kern_status data_bpe_scratch_open(void **scratch, const data_vocabulary *vocabulary);
void data_bpe_scratch_close(void *scratch);
kern_status data_bpe_encode(data_tokens *tokens, int64_t *consumed,
                            const data_vocabulary *vocabulary, void *scratch, const char *text,
                            int64_t bytes, bool last, bool special);

#endif
