/* How tensor-parallel ranks divide parameters (infer/parameters.h). */
#include <stdio.h>
#include <string.h>

#include "infer/mixer.h"

/* What the rank has of `count` in a row. */
static infer_span share(int64_t count, int rank, int ranks) {
    int64_t most = kern_divide_up(count, ranks), first = kern_min(rank * most, count);
    return (infer_span){first, kern_min(most, count - first)};
}

int infer_parameter_spans(infer_span span[INFER_RANGES], const infer_parameter *p, int rank,
                          int ranks) {
    const infer_split *split = &p->split;
    int64_t from = 0;
    ASSERT(rank >= 0 && rank < ranks);
    if (!split->ranges) span[0] = (infer_span){0, p->whole[split->axis]};
    for (int i = 0; i < split->ranges; i++) {
        int64_t count = split->range[i].count;
        ASSERT(!split->range[i].cut || count % ranks == 0 || (split->what && !split->parts));
        span[i] = split->range[i].cut ? share(count, rank, ranks) : (infer_span){0, count};
        span[i].first += from;
        from += count;
    }
    ASSERT(!split->ranges || from == p->whole[split->axis]);
    return split->ranges ? split->ranges : 1;
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

/* A parameter that so many ranks cannot divide, or NULL. */
static const infer_parameter *undivided(const infer_parameters *p, int64_t ranks) {
    for (int i = 0; i < p->count && ranks > 1; i++) {
        const infer_split *split = &p->item[i].split;
        if (split->parts % ranks) return &p->item[i];
        for (int r = 0; r < split->ranges && !split->what; r++)
            if (!split->range[r].cut || split->range[r].count % ranks) return &p->item[i];
    }
    return NULL;
}

kern_status infer_check_ranks(const ttt_conf *conf, int ranks) {
    for (int64_t block = 0; block < conf->model.blocks && ranks > 1; block++) {
        const infer_mixer *mixer = infer_mixer_of(conf, block);
        if (mixer && mixer->undivided)
            return kern_fail(KERN_ERR_CONFIG,
                             "ranks.tensor=%d: blocks of %s (letter %.1s of model.pattern) are not "
                             "divided over ranks; ranks.tensor can be 1",
                             ranks, mixer->name, mixer->letters);
    }
    infer_parameters *p = infer_parameters_create(conf);
    const infer_parameter *item = undivided(p, ranks);
    kern_status status = KERN_OK;
    char works[256] = "1", parts[64] = "";
    size_t used = 1;
    if (!item) goto done;
    for (int n = 2; n <= 1024 && used < sizeof works - 8; n++)
        if (!undivided(p, n)) used += (size_t)snprintf(works + used, 8, ", %d", n);
    if (item->split.what)
        snprintf(parts, sizeof parts, "%s=%lld", item->split.what, (long long)item->split.parts);
    status = kern_fail(KERN_ERR_CONFIG,
                       "ranks.tensor=%d: so many ranks cannot divide %s; ranks.tensor can be %s",
                       ranks, *parts ? parts : item->name, works);
done:
    infer_parameters_destroy(p);
    return status;
}
