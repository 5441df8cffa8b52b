/* Text between two literals to tokens: cut by the stages of a vocabulary, and merged. For the files
 * bpe_*.c alone. */
#ifndef DATA_BPE_CUT_H
#define DATA_BPE_CUT_H

#include "data/bpe_model.h"
#include "data/bpe_normalize.h"

typedef struct {
    char *bytes;
    int64_t capacity;
} data_bpe_room;

/* What one thread needs to encode. */
typedef struct {
    const data_bpe *bpe;
    data_bpe_matcher *matcher;
    struct data_bpe_memo *memos; /* [MEMOS] by hash; the last one with a hash stays */
    /* [RECENT] the same for short words of the vocabulary, whose own table is too large for caches
     */
    data_bpe_word *recent;
    data_bpe_normal normal;
    data_bpe_room spaced, letters, piece; /* of the stage that puts a space, and so on */
    bool goes_on; /* no literal or end is right before the text that is cut */

    /* While text of which the end is not known is encoded from its normal form [.., end): the last
     * place between pieces where a cluster begins, and how many tokens there were. */
    bool noting;
    const char *end, *noted;
    int64_t noted_tokens;
} data_bpe_scratch;

/* Cuts text [bytes], which is UTF-8. Unless `closed` it goes on, and *consumed says how much of it
 * is decided. tokens has room for a token a byte, two where a stage puts spaces. Errors:
 * KERN_ERR_MEMORY; KERN_ERR_DATA where a pattern takes too long. */
kern_status data_bpe_cut(data_tokens *tokens, int64_t *consumed, data_bpe_scratch *scratch,
                         const char *text, int64_t bytes, bool closed);

/* The tokens of a piece that is cut already, bytes > 0. Errors: KERN_ERR_MEMORY. */
kern_status data_bpe_put_piece(data_tokens *tokens, data_bpe_scratch *scratch, const char *piece,
                               int64_t bytes);

/* Text is decided up to `place`, and all of its tokens are there. */
void data_bpe_note(data_bpe_scratch *scratch, const data_tokens *tokens, const char *place);

#endif
