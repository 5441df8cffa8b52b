/* How tensor-parallel ranks divide parameters (infer/parameters.h). */
#include <stdio.h>
#include <string.h>

#include "infer/mixer.h"

/* What the rank has of `count` in a row. */
static infer_span share(int64_t count, int rank, int ranks) {
    int64_t most = kern_divide_up(count, ranks), first = kern_min(rank * most, count);
    return (infer_span){first, kern_min(most, count - first)};
}

void infer_split_add(infer_split *split, int axis, int64_t count, int64_t parts, const char *what) {
    ASSERT(split->ranges < INFER_RANGES && (!split->ranges || split->axis == axis));
    ASSERT(parts == 0 || count % parts == 0);
    split->axis = axis;
    split->range[split->ranges].count = count;
    split->range[split->ranges].parts = parts;
    split->range[split->ranges++].what = what;
}

int infer_spans(infer_span span[INFER_RANGES], const infer_split *split, infer_held held, int rank,
                int ranks) {
    int64_t from = 0;
    int spans = 0;
    ASSERT(rank >= 0 && rank < ranks);
    for (int i = 0; i < split->ranges; i++) {
        int64_t count = split->range[i].count, parts = split->range[i].parts;
        ASSERT(parts % ranks == 0 || split->uneven);
        bool has = held == INFER_ALL_RANGES || (held == INFER_CUT_RANGES) == (parts > 0);
        if (has) span[spans] = parts ? share(count, rank, ranks) : (infer_span){0, count};
        if (has) span[spans++].first += from;
        from += count;
    }
    return spans;
}

/* ---- elements ---- */

/* Elements for each index of axis split.axis, and how often the axis is gone through. */
static int64_t inside(const infer_parameter *p) {
    int64_t elements = 1;
    for (int axis = p->split.axis + 1; axis < INFER_AXES; axis++) elements *= p->whole[axis];
    return elements;
}

static int64_t outside(const infer_parameter *p) {
    int64_t times = 1;
    for (int axis = 0; axis < p->split.axis; axis++) times *= p->whole[axis];
    return times;
}

static bool has_all(const infer_parameter *p) {
    return p->spans == 1 && p->span[0].count == p->whole[p->split.axis];
}

int64_t infer_parameter_runs(const infer_parameter *p) {
    return has_all(p) ? 1 : outside(p) * p->spans;
}

infer_run infer_parameter_run(const infer_parameter *p, int64_t i) {
    int64_t time = i / p->spans, of = i % p->spans, width = inside(p), axis = p->split.axis;
    int64_t own = time * p->dim[axis];
    if (has_all(p)) return (infer_run){.count = p->elements};
    for (int64_t s = 0; s < of; s++) own += p->span[s].count;
    return (infer_run){.whole = (time * p->whole[axis] + p->span[of].first) * width,
                       .own = own * width,
                       .count = p->span[of].count * width};
}

void infer_parameter_pick(const infer_parameter *p, void *to, const void *whole, size_t bytes,
                          int64_t first, int64_t count) {
    int64_t runs = infer_parameter_runs(p), end = first + count;
    int64_t row = p->elements / (runs / p->spans); /* has a run of each span */
    memset(to, 0, (size_t)count * bytes);          /* what the last ranks have not got */
    for (int64_t i = first / row * p->spans; i < kern_divide_up(end, row) * p->spans; i++) {
        infer_run run = infer_parameter_run(p, i);
        int64_t from = kern_max(run.own, first), until = kern_min(run.own + run.count, end);
        if (from < until)
            memcpy((char *)to + (size_t)(from - first) * bytes,
                   (const char *)whole + (size_t)(run.whole + from - run.own) * bytes,
                   (size_t)(until - from) * bytes);
    }
}

/* ---- how many ranks ---- */

/* Whether so many ranks can divide all parameters; else *what is the option whose *parts they
 * cannot. */
static bool can_divide(const infer_parameters *p, int64_t ranks, const char **what,
                       int64_t *parts) {
    for (int i = 0; i < p->count; i++) {
        const infer_split *split = &p->item[i].split;
        for (int r = 0; r < split->ranges && !split->uneven; r++) {
            *what = split->range[r].what;
            *parts = split->range[r].parts;
            if (*parts % ranks) return false;
        }
    }
    return true;
}

kern_status infer_check_ranks(const ttt_conf *conf, int ranks) {
    infer_parameters *p = infer_parameters_create(conf);
    kern_status status = KERN_OK;
    char works[256] = "1";
    const char *what, *other;
    int64_t parts, others;
    size_t used = 1;
    if (can_divide(p, ranks, &what, &parts)) goto done;
    for (int n = 2; n <= 1024 && used < sizeof works - 8; n++)
        if (can_divide(p, n, &other, &others)) used += (size_t)snprintf(works + used, 8, ", %d", n);
    status =
        kern_fail(KERN_ERR_CONFIG,
                  "ranks.tensor=%d: so many ranks cannot divide %s=%lld; ranks.tensor can be %s",
                  ranks, what, (long long)parts, works);
done:
    infer_parameters_destroy(p);
    return status;
}
