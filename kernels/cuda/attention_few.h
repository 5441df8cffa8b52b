/* Attention's forward for a few rows, one type of elements: bound by reading keys and values. A
 * block has one part of a head's keys. Eight lanes take a key, a run of 16 bytes each; a block's
 * sixteen such groups take keys in turn. First all scores, then their largest and sum, then the
 * values. No include guard. */
#include "kernels/cuda/runs.h"

#define EACH_ROW(row) UNROLL for (int row = 0; row < ATTENTION_FEW; row++)

/* Where a key of the segments begins. */
DEVICE const ELEMENT *NAME(few_key)(const attention_args *args, const void *before,
                                    const void *fresh, int64_t past, int64_t key) {
    int64_t group = block_y() / (args->heads / args->groups);
    return (const ELEMENT *)(key < past ? before : fresh) +
           offset_of_key(args, past, key, item_of_block(args), group, args->past_stride);
}

/* Shared memory: the queries, scaled; scores [FEW, PART]; sums of values of each warp. */
typedef struct {
    REAL *q, *score, *sum;
} NAME(few_areas);

DEVICE NAME(few_areas) NAME(few_areas_of)(void) {
    REAL *score = (REAL *)shared_memory();
    REAL *sum = score + ATTENTION_FEW * ATTENTION_PART;
    REAL *q = sum + ATTENTION_FEW_THREADS / 32 * ATTENTION_FEW * 8 * RUN;
    NAME(few_areas) areas = {q, score, sum};
    return areas;
}

DEVICE void NAME(few_scores)(NAME(few_areas) areas, const attention_args *args, int64_t past,
                             attention_range part) {
    int size = args->size, of_key = thread_x() % 8;
    /* all lanes of a warp go round as often */
    for (int64_t at = part.begin; at < part.end; at += ATTENTION_PART_UNIT) {
        int64_t key = at + thread_x() / 8;
        bool there = key < part.end;
        const ELEMENT *k = NAME(few_key)(args, args->past_k, args->k, past, there ? key : at);
        REAL sum[ATTENTION_FEW];
        EACH_ROW(row) sum[row] = 0;
        for (int first = of_key * RUN; first < size; first += 8 * RUN) {
            NAME(run) run = NAME(load_run)(k + first, size - first, args->packed);
            EACH_ROW(row) {
                if (row < args->rows) EACH_OF_RUN(i)
                if (first + i < size)
                    sum[row] =
                        FMA((REAL)VALUE(run.element[i]), areas.q[row * size + first + i], sum[row]);
            }
        }
        EACH_ROW(row) {
            UNROLL for (int bits = 1; bits < 8; bits *= 2) sum[row] += XOR(sum[row], bits);
            if (of_key == 0) /* also beyond the part, where there is room */
                areas.score[row * ATTENTION_PART + key - part.begin] = sum[row];
        }
    }
}

/* Of row `row`, by the warp of this number: scores -> exp(score - largest), {largest, sum}. */
DEVICE void NAME(few_softmax)(NAME(few_areas) areas, const attention_args *args, int64_t past,
                              attention_range part, int row) {
    REAL *score = areas.score + row * ATTENTION_PART, largest = (REAL)ATTENTION_LOWEST, sum = 0;
    for (int64_t key = part.begin + lane(); key < part.end; key += 32) {
        REAL s = score[key - part.begin];
        if (sees(past + row, key, args->window)) largest = s > largest ? s : largest;
    }
    UNROLL for (int bits = 1; bits < 32; bits *= 2) {
        REAL other = XOR(largest, bits);
        largest = other > largest ? other : largest;
    }
    for (int64_t key = part.begin + lane(); key < part.end; key += 32) {
        bool seen = sees(past + row, key, args->window);
        REAL p = seen ? EXP(score[key - part.begin] - largest) : 0;
        score[key - part.begin] = p;
        sum += p;
    }
    UNROLL for (int bits = 1; bits < 32; bits *= 2) sum += XOR(sum, bits);
    if (lane() == 0 && row < args->rows) {
        REAL *stat =
            (REAL *)args->part_stat + part_of_row(args, item_of_block(args), row, block_y()) * 2;
        stat[0] = largest;
        stat[1] = sum;
    }
}

/* A run of columns of each lane: sums over the group's keys, then over the groups. */
DEVICE void NAME(few_values)(NAME(few_areas) areas, const attention_args *args, int64_t past,
                             attention_range part, int first) {
    int column = first + thread_x() % 8 * RUN, warp = thread_x() / 32;
    REAL sum[ATTENTION_FEW][RUN];
    EACH_ROW(row) {
        EACH_OF_RUN(i) sum[row][i] = 0;
    }
    for (int64_t key = part.begin + thread_x() / 8; key < part.end; key += ATTENTION_PART_UNIT) {
        const ELEMENT *v = NAME(few_key)(args, args->past_v, args->v, past, key);
        NAME(run) run = NAME(load_run)(v + column, args->size - column, args->packed);
        EACH_ROW(row) {
            if (row < args->rows) {
                REAL p = areas.score[row * ATTENTION_PART + key - part.begin];
                EACH_OF_RUN(i)
                sum[row][i] = FMA(p, (REAL)VALUE(run.element[i]), sum[row][i]);
            }
        }
    }
    EACH_ROW(row) {
        EACH_OF_RUN(i) {
            UNROLL for (int bits = 8; bits < 32; bits *= 2) sum[row][i] += XOR(sum[row][i], bits);
            if (lane() < 8)
                areas.sum[((warp * ATTENTION_FEW + row) * 8 + lane()) * RUN + i] = sum[row][i];
        }
    }
}

DEVICE void NAME(few_store)(NAME(few_areas) areas, const attention_args *args, int first) {
    const int each = ATTENTION_FEW * 8 * RUN;
    int columns = 8 * RUN;
    for (int i = thread_x(); i < args->rows * columns; i += ATTENTION_FEW_THREADS) {
        int row = i / columns, column = first + i % columns;
        if (column >= args->size) continue;
        REAL sum = 0;
        UNROLL for (int warp = 0; warp < ATTENTION_FEW_THREADS / 32; warp++) sum +=
            areas.sum[warp * each + i];
        int64_t part = part_of_row(args, item_of_block(args), row, block_y());
        ((REAL *)args->part)[part * args->size + column] = sum;
    }
}

KERNEL(NAME(attention_few), attention_args, ATTENTION_FEW_THREADS) {
    NAME(few_areas) areas = NAME(few_areas_of)();
    int64_t past = past_of(&args);
    attention_range part = keys_of_block(&args, past, 0, args.rows, ATTENTION_PART_UNIT);
    for (int i = thread_x(); i < args.rows * args.size; i += ATTENTION_FEW_THREADS) {
        int64_t query = statistic_of(&args, item_of_block(&args), i / args.size, block_y());
        areas.q[i] = (REAL)args.scale *
                     (REAL)VALUE(((const ELEMENT *)args.q)[query * args.size + i % args.size]);
    }
    sync_block();
    NAME(few_scores)(areas, &args, past, part);
    sync_block();
    NAME(few_softmax)(areas, &args, past, part, thread_x() / 32);
    sync_block();
    for (int first = 0; first < args.size; first += 8 * RUN) {
        NAME(few_values)(areas, &args, past, part, first);
        sync_block();
        NAME(few_store)(areas, &args, first);
        sync_block();
    }
}

/* The parts of a query, in order, but for those of which it sees nothing: they may not be there. A
 * block a query. */
KERNEL(NAME(attention_merge), attention_args, ATTENTION_FEW_THREADS) {
    int64_t query = block_x();
    const REAL *stat = (const REAL *)args.part_stat + query * args.parts * 2;
    const REAL *part = (const REAL *)args.part + query * args.parts * args.size;
    REAL largest = stat[0], total = 0;
    for (int i = 1; i < args.parts; i++) largest = stat[2 * i] > largest ? stat[2 * i] : largest;
    for (int i = 0; i < args.parts; i++)
        total = FMA(EXP(stat[2 * i] - largest), stat[2 * i + 1], total);
    for (int column = thread_x(); column < args.size; column += ATTENTION_FEW_THREADS) {
        REAL sum = 0;
        for (int i = 0; i < args.parts; i++)
            if (stat[2 * i + 1] != 0)
                sum = FMA(EXP(stat[2 * i] - largest), part[(int64_t)i * args.size + column], sum);
        ((REAL *)args.o)[query * args.size + column] = sum / total;
    }
    if (thread_x() == 0)
        ((REAL *)args.lse)[query] = (REAL)((double)largest + kern_log_f64((double)total));
}

#undef RUN
#undef EACH_ROW
#undef EACH_OF_RUN
