#include "train/shard.h"

train_shard train_shard_whole(int64_t elements, int64_t decaying) {
    ASSERT(elements % INFER_ROW == 0 && decaying % INFER_ROW == 0 && decaying <= elements);
    return (train_shard){.ranks = 1,
                         .pieces = 1,
                         .piece = {{.share = elements, .turn = 1}},
                         .weights = elements,
                         .flat = elements,
                         .decaying = decaying,
                         .elements = elements};
}

/* Where what decays and lies block by block ends: over tensor-parallel ranks only their parts do.
 */
static int64_t end_of_blocks(const infer_parameters *layout) {
    return layout->ranks > 1 ? layout->same.first : layout->decaying;
}

/* Of the parameters of a block and later ones there. */
static int64_t first_of_block(const infer_parameters *layout, int block) {
    for (int i = layout->first[block]; i < layout->count; i++)
        if (layout->item[i].offset < end_of_blocks(layout)) return layout->item[i].offset;
    return end_of_blocks(layout);
}

static infer_span uncounted(const infer_parameters *layout) {
    return layout->rank ? layout->same : (infer_span){0, 0};
}

/* Pieces are whole numbers of rows for each rank. What lies where one ends and the other begins
 * belongs to the one that is complete later. */
train_shard train_shard_of(const infer_parameters *layout, int suffix, int rank, int ranks,
                           bool rounded) {
    if (ranks == 1) {
        train_shard whole = train_shard_whole(layout->elements, layout->decaying);
        whole.uncounted = uncounted(layout);
        return whole;
    }
    int64_t unit = INFER_ROW * (int64_t)ranks, begin[TRAIN_PIECES + 1] = {0};
    int blocks = (int)kern_divide_up(suffix, TRAIN_PREFIX_PIECES);
    int turns = suffix ? (int)kern_divide_up(suffix, blocks) : 0;
    train_shard shard = {.rank = rank,
                         .ranks = ranks,
                         .pieces = turns + 3,
                         .turns = turns,
                         .apart = rounded,
                         .flat = kern_round_up(layout->elements, unit),
                         .decaying = layout->decaying,
                         .uncounted = uncounted(layout)};
    int64_t rest = end_of_blocks(layout) / unit * unit;
    for (int i = 0; i <= turns; i++) {
        int block = (int)kern_min((int64_t)i * blocks, suffix);
        begin[i + 1] = kern_min(kern_round_up(first_of_block(layout, block), unit), rest);
    }
    begin[turns + 2] = rest;
    begin[turns + 3] = shard.flat;
    for (int i = 0; i < shard.pieces; i++) {
        bool of_prefix = i > 0 && i <= turns, apart = rounded && of_prefix;
        int turn = of_prefix ? turns + 1 - i : i == turns + 1 ? 0 : turns + 1;
        int64_t share = (begin[i + 1] - begin[i]) / ranks;
        int64_t home = shard.weights + (apart ? 0 : rank * share);
        shard.piece[i] = (train_piece){begin[i], share, shard.elements, home, turn, apart};
        shard.elements += share;
        shard.weights += apart ? share : share * ranks;
    }
    return shard;
}

int train_shard_turn(const train_shard *shard, int64_t element) {
    int i = 0;
    while (i + 1 < shard->pieces && element >= shard->piece[i + 1].first) i++;
    return shard->piece[i].turn;
}

int train_shard_counted(infer_span range[TRAIN_COUNTED], const train_shard *shard) {
    int ranges = 0;
    for (int i = 0; i < shard->pieces; i++) {
        const train_piece *p = &shard->piece[i];
        int64_t first = p->first + shard->rank * p->share, end = first + p->share;
        infer_span not = shard->uncounted;
        int64_t from = not .count ? kern_min(kern_max(not .first, first), end) : end;
        int64_t until = kern_min(kern_max(not .first + not .count, from), end);
        if (from > first) range[ranges++] = (infer_span){first, from - first};
        if (end > until) range[ranges++] = (infer_span){until, end - until};
    }
    return ranges;
}

int train_shard_ranges(train_range range[TRAIN_RANGES], const train_shard *shard) {
    int ranges = 0;
    for (int i = 0; i < shard->pieces; i++) {
        const train_piece *p = &shard->piece[i];
        int64_t first = p->first + shard->rank * p->share, end = first + p->share;
        int64_t border = kern_min(kern_max(shard->decaying, first), end);
        if (border > first)
            range[ranges++] = (train_range){first, p->place, p->home, border - first, true};
        if (end > border)
            range[ranges++] = (train_range){border, p->place + border - first,
                                            p->home + border - first, end - border, false};
    }
    return ranges;
}
