/* A graph that several ranks run together, each with its parts of the numbers, and the same graph
 * of one rank with all of them. For tests of autodiff/ over ranks. */
#ifndef TESTS_AUTODIFF_SPLIT_H
#define TESTS_AUTODIFF_SPLIT_H

#include "tests/autodiff/world.h"
#include "tests/ranks.h"

/* Where a graph is built. With collects false there is one rank, and nothing of ranks in it. */
typedef struct {
    ad_graph *graph;
    int ranks, rank;
    bool collects;
} split_place;

static inline ad_value split_vary(const split_place *p, ad_value x) {
    return p->collects ? ad_vary(p->graph, x) : x;
}
static inline ad_value split_sum(const split_place *p, ad_value x) {
    return p->collects ? ad_reduce(p->graph, x) : x;
}
static inline ad_value split_max(const split_place *p, ad_value x) {
    return p->collects ? ad_reduce_max(p->graph, x) : x;
}

enum { SPLIT_WHOLE = -1, SPLIT_OWN = -2 };

/* An input: of the whole job's shape, split over the ranks along an axis; whole on each; or each
 * rank's own, computed by the case. */
typedef struct {
    const char *name;
    ad_type type;
    int axis;         /* or SPLIT_WHOLE, SPLIT_OWN */
    bool fixed;       /* not differentiated by */
    double low, high; /* both 0: -1, 1 */
} split_input;

/* The rank's type of a whole one. */
static inline ad_type split_type(const split_place *p, ad_type type, int axis) {
    if (axis >= 0) type.dim[axis] /= p->ranks;
    return p->collects && axis != SPLIT_WHOLE ? ad_varying(type) : type;
}

/* The rank's part of `whole`, or (back) the part's elements into it. */
static inline void split_copy(double *part, double *whole, ad_type type, int axis, int ranks,
                              int rank, bool back) {
    int64_t outer = 1, mine = axis < 0 ? 1 : type.dim[axis] / ranks;
    for (int a = 0; a < axis; a++) outer *= type.dim[a];
    int64_t inner = ad_elements(type) / outer / (axis < 0 ? 1 : type.dim[axis]);
    int shares = axis < 0 ? 1 : ranks, share = axis < 0 ? 0 : rank;
    for (int64_t o = 0; o < outer; o++) {
        double *there = whole + ((o * shares + share) * mine) * inner;
        double *here = part + o * mine * inner;
        if (back)
            memcpy(there, here, (size_t)(mine * inner) * sizeof *there);
        else
            memcpy(here, there, (size_t)(mine * inner) * sizeof *here);
    }
}

/* Memory of the rank's device with the rank's part of whole numbers. */
static inline kern_buffer split_upload(const kern_device *device, const split_place *p,
                                       double *whole, ad_type type, int axis) {
    ad_type own = split_type(p, type, axis);
    size_t bytes = ad_bytes(own);
    double *part = malloc((size_t)ad_elements(own) * sizeof *part);
    void *stored = malloc(bytes);
    kern_buffer buffer = {0};
    ASSERT(part && stored && kern_buffer_create(&buffer, device, bytes, "a part") == KERN_OK);
    split_copy(part, whole, type, axis, p->ranks, p->rank, false);
    world_store(stored, own, part);
    kern_upload(device, buffer.data, stored, bytes);
    free(part);
    free(stored);
    return buffer;
}

/* The rank's part of f64 numbers into the whole ones. */
static inline void split_download(double *whole, const kern_buffer *buffer, const split_place *p,
                                  ad_type type, int axis) {
    double *part = malloc(buffer->bytes);
    ASSERT(part && kern_download(buffer->device, part, buffer->data, buffer->bytes) == KERN_OK);
    split_copy(part, whole, type, axis, p->ranks, p->rank, true);
    free(part);
}

static inline double split_random(uint64_t *state, double low, double high) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (double)(*state >> 11) * 0x1p-53;
}

/* Whole numbers of a type, whole ones for i32. */
static inline double *split_draw(uint64_t *state, ad_type type, double low, double high) {
    double *data = malloc((size_t)ad_elements(type) * sizeof *data);
    ASSERT(data);
    for (int64_t i = 0; i < ad_elements(type); i++) {
        data[i] = split_random(state, low, high);
        if (type.dtype == KERN_I32) data[i] = floor(data[i]);
    }
    return data;
}

static inline void split_compare(const char *what, const char *name, int ranks, const double *got,
                                 const double *expected, int64_t count, double limit) {
    double size = 0;
    for (int64_t i = 0; i < count; i++) size = fmax(size, fabs(expected[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(got[i] - expected[i]) <= limit * size))
            fail_msg("%s, %s, %d ranks, element %d: %.17g, not %.17g", what, name, ranks, (int)i,
                     got[i], expected[i]);
}

/* Sum of all elements: [1, 1]. */
static inline ad_value split_total(ad_graph *g, ad_value x) {
    if (!ad_is_value(x)) return AD_POISON;
    ad_type type = ad_type_at(g, x);
    return ad_reshape(g, ad_sum(g, x, (1u << type.rank) - 1), AD_TYPE(type.dtype, 1, 1));
}

/* Sum of x sigmoid(x): a loss that is curved everywhere. */
static inline ad_value split_loss(ad_graph *g, ad_value x) {
    return split_total(g, ad_silu(g, x));
}

#endif
