/* How the ranks that read different texts divide the work of the optimiser: the flat buffers of
 * parameters and gradient are cut into pieces by what of the gradient is complete first, and each
 * piece into as many equal parts as there are ranks, of which a rank updates its own and keeps the
 * moments of no other. All local. */
#ifndef TRAIN_SHARD_H
#define TRAIN_SHARD_H

#include "infer/parameters.h"

/* Part r of a piece is `share` elements of the flat gradient from first + r * share on. Moments are
 * of the own parts alone, one behind the other. Weights are whole pieces, but for those of which
 * the own part alone is there, and what others have of them rounded, by products that are so
 * (train/weights.h). */
typedef struct {
    int64_t first, share;
    int64_t place, home; /* of the own part among moments, among weights */
    int turn;            /* in which its gradient is complete */
    bool apart;          /* the weights are the own part alone */
} train_piece;

/* In the order of the flat buffers: the embedding, pieces of the prefix (of the same number of
 * blocks each), the suffix, and what does not decay, of all blocks. Some may be empty. With one
 * rank all is one piece. Turn 0: the suffix's reverse is over. Then, while the prefix's comes to
 * its end, a turn for each of its pieces, the last one first; and then there is all. */
enum { TRAIN_PREFIX_PIECES = 8, TRAIN_PIECES = TRAIN_PREFIX_PIECES + 3 };

typedef struct {
    int rank, ranks; /* the own one; that divide the work */
    int pieces;
    train_piece piece[TRAIN_PIECES];
    int turns;            /* of pieces of the prefix */
    bool apart;           /* some pieces' weights are */
    int64_t weights;      /* elements of them that are here */
    int64_t flat;         /* elements of the gradient: the layout's, padded */
    int64_t decaying;     /* of them the first */
    int64_t elements;     /* of all own parts */
    infer_span uncounted; /* in norms, because another tensor-parallel rank has the same */
} train_shard;

/* Of `ranks` that hold what the layout has, each, rank `rank`. `suffix`: the first block that
 * belongs to the suffix; `rounded`: products are, so the prefix's weights are apart. All sizes are
 * multiples of INFER_ROW. */
train_shard train_shard_of(const infer_parameters *layout, int suffix, int rank, int ranks,
                           bool rounded);

/* One rank's of buffers of so many elements, of which the first decay. */
train_shard train_shard_whole(int64_t elements, int64_t decaying);

/* The turn of the piece that has this element of the gradient. */
int train_shard_turn(const train_shard *shard, int64_t element);

/* Of the own parts what counts in a norm of the whole job's; how many ranges. */
enum { TRAIN_COUNTED = 2 * TRAIN_PIECES };
int train_shard_counted(infer_span range[TRAIN_COUNTED], const train_shard *shard);

/* What a rank updates at once: elements that all decay or none of which does. */
enum { TRAIN_RANGES = 2 * TRAIN_PIECES };
typedef struct {
    int64_t first, place, home, elements; /* in the gradient, among moments, among weights */
    bool decays;
} train_range;
int train_shard_ranges(train_range range[TRAIN_RANGES], const train_shard *shard);

#endif
