/* Runs of 16 bytes of one type of elements (each_type.h). No include guard. */
#define RUN ((int)(16 / sizeof(ELEMENT)))
#define EACH_OF_RUN(i) UNROLL for (int i = 0; i < RUN; i++)

typedef union {
    pack_16 pack;
    ELEMENT element[RUN];
} NAME(run);

/* `left` elements, zeros after them; packed: what is left is a whole run, aligned, or nothing. */
DEVICE NAME(run) NAME(load_run)(const ELEMENT *from, int64_t left, bool packed) {
    NAME(run) run;
    if (packed && left > 0) {
        run.pack = load_16(from);
    } else {
        EACH_OF_RUN(i) run.element[i] = i < left ? from[i] : 0;
    }
    return run;
}
