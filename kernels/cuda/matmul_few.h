/* Products of few rows of one type of elements (each_type.h): bound by reading b, of which every
 * 16 bytes are loaded once. `rows`, a literal: room for so many. No include guard. */
#include "kernels/cuda/runs.h"

#define EACH_ROW(row) UNROLL for (int row = 0; row < rows; row++)
#define WARPS (MATMUL_FEW_THREADS / 32)

/* Of b's lines: a warp has a run of columns in each lane and takes each WARPS-th line of the
 * block's part of k, AHEAD of them at a time. */
enum { NAME(AHEAD) = 4 };

/* a [rows][part], zeros from `depth` on as far as AHEAD lines are taken. */
DEVICE void NAME(few_stage)(REAL *to, const matmul_few_args *args, int64_t begin, int depth) {
    const int together = NAME(AHEAD) * WARPS;
    int taken = (depth + together - 1) / together * together;
    const ELEMENT *a = (const ELEMENT *)args->a + block_z() * args->stride_a + begin;
    for (int i = thread_x(); i < args->rows * taken; i += MATMUL_FEW_THREADS) {
        int row = i / taken, d = i % taken;
        to[row * MATMUL_FEW_PART + d] = d < depth ? (REAL)VALUE(a[row * args->k + d]) : 0;
    }
}

/* The block's sums of one row: of the warps, in order. The next row needs other `sums`. */
DEVICE void NAME(few_join)(REAL *sums, const REAL *sum, const matmul_few_args *args, int row) {
    const int pitch = 32 + 32 / RUN, columns = 32 * RUN; /* hits no bank twice */
    EACH_OF_RUN(i) sums[(thread_x() / 32 * RUN + i) * pitch + lane()] = sum[i];
    sync_block();
    for (int i = thread_x(); i < columns; i += MATMUL_FEW_THREADS) {
        int64_t column = (int64_t)block_x() * columns + i;
        REAL all = 0;
        UNROLL for (int warp = 0; warp < WARPS; warp++) all +=
            sums[(warp * RUN + i % RUN) * pitch + i / RUN];
        if (column >= args->n) continue;
        REAL *c = (REAL *)args->c + block_z() * args->stride_c + row * args->n + column;
        int64_t part = (int64_t)block_z() * args->parts + block_y();
        if (args->parts > 1)
            ((REAL *)args->part)[(part * args->rows + row) * args->n + column] = all;
        else
            *c = args->add ? *c + all : all;
    }
}

DEVICE void NAME(few_lines)(const matmul_few_args *args, int rows) {
    REAL *a = (REAL *)shared_memory(), *sums = a + rows * MATMUL_FEW_PART;
    int64_t begin = (int64_t)block_y() * args->depth, left = args->k - begin;
    int depth = left < args->depth ? (int)left : args->depth;
    int64_t column = ((int64_t)block_x() * 32 + lane()) * RUN;
    const ELEMENT *b = (const ELEMENT *)args->b + block_z() * args->stride_b + column;
    REAL sum[MATMUL_FEW_ROWS][RUN];
    EACH_ROW(row) {
        EACH_OF_RUN(i) sum[row][i] = 0;
    }
    NAME(few_stage)(a, args, begin, depth);
    sync_block();
    for (int d = thread_x() / 32; d < depth; d += NAME(AHEAD) * WARPS) {
        NAME(run) run[NAME(AHEAD)];
        UNROLL for (int j = 0; j < NAME(AHEAD); j++) {
            bool there = d + j * WARPS < depth;
            run[j] = NAME(load_run)(b + (there ? begin + d + j * WARPS : 0) * args->n,
                                    there ? args->n - column : 0, args->packed);
        }
        UNROLL for (int j = 0; j < NAME(AHEAD); j++) {
            EACH_ROW(row) {
                if (row < args->rows) {
                    REAL x = a[row * MATMUL_FEW_PART + d + j * WARPS];
                    EACH_OF_RUN(i)
                    sum[row][i] = FMA(x, (REAL)VALUE(run[j].element[i]), sum[row][i]);
                }
            }
        }
    }
    EACH_ROW(row) {
        if (row < args->rows)
            NAME(few_join)(sums + row % 2 * MATMUL_FEW_SUMS(RUN), sum[row], args, row);
    }
}

/* Of b's columns, where b is transposed: a warp has COLUMNS of them, its lanes runs of each. */
enum { NAME(COLUMNS) = MATMUL_FEW_COLUMNS / WARPS, NAME(RUNS) = 2 };

DEVICE void NAME(few_dots)(const matmul_few_args *args, int rows) {
    int64_t column = ((int64_t)block_x() * WARPS + thread_x() / 32) * NAME(COLUMNS);
    const ELEMENT *a = (const ELEMENT *)args->a + block_z() * args->stride_a;
    const ELEMENT *b = (const ELEMENT *)args->b + block_z() * args->stride_b + column * args->k;
    REAL sum[MATMUL_FEW_ROWS][NAME(COLUMNS)];
    EACH_ROW(row) {
        UNROLL for (int c = 0; c < NAME(COLUMNS); c++) sum[row][c] = 0;
    }
    for (int64_t at = lane() * RUN; at < args->k; at += NAME(RUNS) * 32 * RUN) {
        NAME(run) run[NAME(RUNS)][NAME(COLUMNS)];
        UNROLL for (int j = 0; j < NAME(RUNS); j++) {
            int64_t first = at + j * 32 * RUN, left = args->k - first;
            UNROLL for (int c = 0; c < NAME(COLUMNS); c++) run[j][c] = NAME(load_run)(
                b + c * args->k + first, column + c < args->n ? left : 0, args->packed);
        }
        UNROLL for (int j = 0; j < NAME(RUNS); j++) {
            int64_t first = at + j * 32 * RUN;
            EACH_ROW(row) {
                if (row < args->rows) {
                    NAME(run)
                    x = NAME(load_run)(a + row * args->k + first, args->k - first, args->packed);
                    UNROLL for (int c = 0; c < NAME(COLUMNS); c++) {
                        EACH_OF_RUN(i)
                        sum[row][c] = FMA((REAL)VALUE(x.element[i]),
                                          (REAL)VALUE(run[j][c].element[i]), sum[row][c]);
                    }
                }
            }
        }
    }
    EACH_ROW(row) {
        if (row < args->rows) UNROLL
        for (int c = 0; c < NAME(COLUMNS); c++) {
            REAL all = sum[row][c];
            UNROLL for (int bits = 1; bits < 32; bits *= 2) all += XOR(all, bits);
            REAL *to = (REAL *)args->c + block_z() * args->stride_c + row * args->n + column + c;
            if (lane() == 0 && column + c < args->n) *to = args->add ? *to + all : all;
        }
    }
}

KERNEL(NAME(matmul_lines_1), matmul_few_args, MATMUL_FEW_THREADS) {
    NAME(few_lines)(&args, 1);
}

KERNEL(NAME(matmul_lines_8), matmul_few_args, MATMUL_FEW_THREADS) {
    NAME(few_lines)(&args, MATMUL_FEW_ROWS);
}

KERNEL(NAME(matmul_dots_1), matmul_few_args, MATMUL_FEW_THREADS) {
    NAME(few_dots)(&args, 1);
}

KERNEL(NAME(matmul_dots_8), matmul_few_args, MATMUL_FEW_THREADS) {
    NAME(few_dots)(&args, MATMUL_FEW_ROWS);
}

/* The parts of an item's elements, in order. */
KERNEL(NAME(matmul_join), matmul_few_args, MATMUL_FEW_THREADS) {
    int64_t at = (int64_t)block_x() * MATMUL_FEW_THREADS + thread_x(), size = args.rows * args.n;
    const REAL *part = (const REAL *)args.part + block_z() * (args.parts * size);
    REAL *c = (REAL *)args.c + block_z() * args.stride_c, sum = 0;
    for (int i = 0; at < size && i < args.parts; i++) sum += part[i * size + at];
    if (at < size) c[at] = args.add ? c[at] + sum : sum;
}

#undef RUN
#undef EACH_OF_RUN
#undef EACH_ROW
#undef WARPS
