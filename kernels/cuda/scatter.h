/* Rows added to a table by index, in REAL: for move.cu, which includes this once for each type. */

DEVICE void ADD_ROW(REAL *to, const REAL *from, int64_t width) {
    for (int64_t j = thread_x(); j < width; j += threads_x()) to[j] += from[j];
}

/* An element is added to by one thread, in the order of i. */
KERNEL(SCATTER_ROWS, scatter_rows_args, MOVE_THREADS) {
    uint32_t *seen = (uint32_t *)shared_memory();
    int32_t index = args.index[block_x()];
    bool mine = index >= 0 && index < args.vocab;
    if (mine) mine = !is_before(seen, args.index, block_x(), index);
    REAL *to = (REAL *)args.table + index * args.width;
    for (int64_t begin = block_x(); mine && begin < args.rows; begin += MOVE_THREADS) {
        look_for(seen, args.index, begin, args.rows, index);
        for (int w = 0; w < MOVE_THREADS / 32; w++)
            for (int l = 0; l < 32; l++)
                if (seen[w] >> l & 1u)
                    ADD_ROW(to, (const REAL *)args.row + (begin + w * 32 + l) * args.width,
                            args.width);
        sync_block();
    }
}
