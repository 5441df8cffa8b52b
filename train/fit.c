#include "train/fit.h"

#include <malloc.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double FAR_TOO_MUCH = 1.5;
enum { BUDGETS = 6, SMALL_BUDGETS = 3, MESSAGE_BYTES = 1500 };

void train_bytes_text(char *text, double bytes) {
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t u = 0;
    for (; bytes >= 999.5 && u + 1 < sizeof unit / sizeof *unit; u++) bytes /= 1000;
    int digits = bytes >= 99.95 || u == 0 ? 0 : bytes >= 9.995 ? 1 : 2;
    snprintf(text, 32, "%.*f %s", digits, bytes, unit[u]);
}

int train_threads(const ttt_conf *conf) {
    return conf->train.threads ? (int)conf->train.threads : omp_get_num_procs();
}

static int64_t divisor_below(int64_t number, int64_t most) {
    while (number % most) most--;
    return most;
}

int64_t train_preferred_micro_batch(const ttt_conf *conf, int64_t sequences,
                                    const kern_machine *machine) {
    if (conf->train.micro_batch)
        return divisor_below(sequences, kern_min(conf->train.micro_batch, sequences));
    for (int64_t micro = 1; micro < sequences; micro++)
        if (sequences % micro == 0 &&
            (double)(micro * infer_chunk(conf, conf->train.context)) >= machine->product_rows)
            return micro;
    return sequences;
}

/* ---- steps that may be taken ---- */

/* So many sequences at once, and a budget of so many of the BUDGETS shares of what could be kept;
 * all of them: no bound. What is known of the step stays when it is gone. */
typedef struct candidate candidate;
struct candidate {
    int64_t micro_batch;
    int share;
    double budget;
    train_step_memory memory; /* until it is compiled without what only plans say */
    /* The most that a rank has, and so the same on all: bytes that no other sequences at once, nor
     * another context, would alter; of all that is known before plans are compiled; */
    double standing, least;
    bool compiled;
    double flops, cost; /* and then, of what it executes */
    candidate *next;
};

struct train_search {
    const ttt_conf *conf;
    const kern_device *device;
    const kern_ranks *ranks;
    int threads;
    bool debug;
    double limit;
    candidate *known, *best;
    train_step *step;    /* or NULL: the one that was looked at last, */
    const candidate *at; /* which was this */
    kern_status status;  /* the first failure, after which nothing more is done */
};

train_search *train_search_create(const ttt_conf *conf, const kern_device *device,
                                  const kern_ranks *ranks, int threads, bool debug) {
    train_search *s = kern_array(1, sizeof *s);
    *s = (train_search){
        .conf = conf, .device = device, .ranks = ranks, .threads = threads, .debug = debug};
    return s;
}

void train_search_destroy(train_search *s) {
    if (!s) return;
    for (candidate *c = s->known, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    train_step_destroy(s->step);
    free(s);
    malloc_trim(0); /* what the steps that were not taken held counts no longer */
}

/* A failure of one rank is one of all. */
static void meet(train_search *s, kern_status status) {
    s->status = kern_comm_meet(s->ranks->job, status);
    if (s->status == KERN_OK) return;
    train_step_destroy(s->step);
    s->step = NULL;
    s->at = NULL;
}

/* Makes s->step the candidate's, without plans. */
static void look_at(train_search *s, const candidate *c) {
    train_step_spec spec = {.conf = s->conf,
                            .micro_batch = c->micro_batch,
                            .budget = c->budget,
                            .device = s->device,
                            .ranks = s->ranks,
                            .threads = s->threads,
                            .debug = s->debug};
    if (s->at && s->at->micro_batch == c->micro_batch) {
        train_step_choose(s->step, c->budget);
    } else {
        train_step_destroy(s->step);
        s->step = NULL;
        meet(s, train_step_build(&s->step, &spec));
    }
    if (s->status == KERN_OK) s->at = c;
}

/* All that is decided by is the same on all ranks: how much of it the largest takes. Then they look
 * at the same steps, one after the other. */
static void measure(train_search *s, candidate *c) {
    const kern_comm *job = s->ranks->job;
    train_step_memory *m = &c->memory;
    *m = train_step_plan(s->step);
    size_t standing = m->parameters + m->product_weights + m->gradient + m->moments;
    int64_t bytes[] = {(int64_t)m->total, (int64_t)standing};
    s->status = job->agree_i64(job, bytes, 2, KERN_MAX);
    m->total = (size_t)bytes[0];
    c->standing = (double)bytes[1];
}

static candidate *know(train_search *s, int64_t micro_batch, int share) {
    for (candidate *c = s->known; c; c = c->next)
        if (c->micro_batch == micro_batch && c->share == share) return c;
    double budget = HUGE_VAL;
    if (share < BUDGETS) {
        const train_step_memory *all = &know(s, micro_batch, BUDGETS)->memory;
        budget = (double)(all->carries + all->slots) * share / BUDGETS;
    }
    candidate *c = kern_array(1, sizeof *c);
    *c =
        (candidate){.micro_batch = micro_batch, .share = share, .budget = budget, .next = s->known};
    s->known = c;
    if (s->status == KERN_OK) look_at(s, c);
    if (s->status == KERN_OK) measure(s, c);
    c->least = (double)c->memory.total;
    return c;
}

/* The time; where nothing is known of it executed work, which in products of few rows reaches less
 * of the machine. */
static double cost(const train_search *s, const candidate *c) {
    if (train_can_predict(s->device->machine)) return train_predict(s->step).step.seconds;
    double rows = (double)(c->micro_batch * infer_chunk(s->conf, s->conf->train.context));
    return c->memory.executed_flops * (1 + 32 / rows);
}

static void compile(train_search *s, candidate *c) {
    if (s->status == KERN_OK && s->at != c) look_at(s, c);
    if (s->status == KERN_OK) meet(s, train_step_compile(s->step));
    if (s->status != KERN_OK || c->compiled) return;
    measure(s, c);
    double work[] = {c->memory.executed_flops, cost(s, c)};
    if (s->status == KERN_OK)
        s->status = s->ranks->job->agree_f64(s->ranks->job, work, 2, KERN_MAX);
    c->flops = work[0];
    c->cost = work[1];
    c->compiled = true;
}

static double total(train_search *s, candidate *c) {
    if (!c->compiled) compile(s, c);
    return (double)c->memory.total;
}

/* Whether the step takes more; it is compiled only where that decides. */
static bool exceeds(train_search *s, candidate *c, double bytes) {
    return c->least > bytes || total(s, c) > bytes;
}

static bool fits(train_search *s, candidate *c) {
    return !exceeds(s, c, s->limit);
}

static bool is_smaller(train_search *s, candidate *a, candidate *b) {
    if (b->compiled && a->least >= total(s, b)) return false;
    return exceeds(s, b, total(s, a));
}

/* ---- the search ---- */

/* A step that fits is taken if the best so far does not or executes more, one that does not if it
 * is smaller. */
static candidate *choose(train_search *s, candidate *best, candidate *next) {
    if (!fits(s, best)) return is_smaller(s, next, best) ? next : best;
    return fits(s, next) && next->flops < best->flops ? next : best;
}

/* The step with everything kept; or, where that does not fit, with the largest of some budgets that
 * does; or the smallest that was found. What a budget does not buy is computed again in the
 * workspace, which grows by that, in jumps: so the budget is found by trying. The smallest step is
 * one of the first few; where even nothing kept is far too much, the others need not be tried,
 * unless there is no smaller micro-batch: the least that is `last` does not depend on the limit. */
static candidate *best_budget(train_search *s, int64_t micro_batch, bool last) {
    candidate *best = know(s, micro_batch, BUDGETS);
    if (fits(s, best)) return best;
    if (!last && know(s, micro_batch, 0)->least > s->limit) return best; /* no other has less */
    for (int share = 1; share < BUDGETS; share++) know(s, micro_batch, share); /* keeps no plans */
    for (int share = 0; share < SMALL_BUDGETS; share++) {
        best = choose(s, best, know(s, micro_batch, share));
        if (!last && exceeds(s, best, FAR_TOO_MUCH * s->limit)) break;
    }
    for (int share = BUDGETS - 1; share >= SMALL_BUDGETS && fits(s, best); share--) {
        best = choose(s, best, know(s, micro_batch, share));
        if (best->share == share) break;
    }
    return best;
}

/* Fewer sequences need less. */
static candidate *better(train_search *s, candidate *best, candidate *fewer) {
    if (!fits(s, best)) return fewer;
    return fits(s, fewer) && fewer->cost < best->cost ? fewer : best;
}

static candidate *best_of_all(train_search *s) {
    const conf_train *train = &s->conf->train;
    int64_t sequences = train_sequences(s->conf, s->ranks);
    int64_t micro = train_preferred_micro_batch(s->conf, sequences, s->device->machine);
    candidate *best = best_budget(s, micro, train->micro_batch || micro == 1);
    while (!train->micro_batch && micro > 1 && s->status == KERN_OK &&
           (best->share < BUDGETS || !fits(s, best))) {
        micro = best->standing > s->limit ? 1 : divisor_below(sequences, micro - 1);
        best = better(s, best, best_budget(s, micro, micro == 1));
    }
    return best;
}

/* ---- the refusal ---- */

typedef struct {
    char text[MESSAGE_BYTES];
    size_t used;
} message;

__attribute__((format(printf, 2, 3))) static void say(message *to, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int length = vsnprintf(to->text + to->used, sizeof to->text - to->used, format, values);
    va_end(values);
    if (length > 0) to->used += (size_t)length;
    if (to->used >= sizeof to->text) to->used = sizeof to->text - 1;
}

static void say_kinds(message *to, const train_step_memory *m) {
    const struct {
        const char *name;
        size_t bytes;
    } kinds[] = {{"weights", m->parameters + m->product_weights},
                 {"gradient", m->gradient},
                 {"optimiser", m->moments},
                 {"carries", m->carries},
                 {"history", m->history},
                 {"kept values", m->slots},
                 {"activations", m->activations},
                 {"workspace", m->workspace},
                 {"program", m->program}};
    const char *comma = "";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char bytes[32];
        if (!kinds[i].bytes) continue;
        train_bytes_text(bytes, (double)kinds[i].bytes);
        say(to, "%s%s %s", comma, kinds[i].name, bytes);
        comma = ", ";
    }
}

/* Whether one changed value is enough, by compiling the changed configuration. */
static bool enough(const train_search *s, const char *assignment) {
    ttt_conf *changed = NULL;
    bool yes = false;
    if (conf_copy(&changed, s->conf) == KERN_OK && conf_set(changed, assignment) == KERN_OK &&
        conf_check(changed) == KERN_OK) {
        train_search *smaller =
            train_search_create(changed, s->device, s->ranks, s->threads, s->debug);
        smaller->limit = s->limit;
        int64_t micro_batch = changed->train.micro_batch ? changed->train.micro_batch : 1;
        yes = fits(smaller, best_budget(smaller, micro_batch, false)) && smaller->status == KERN_OK;
        train_search_destroy(smaller);
    }
    conf_destroy(changed);
    return yes;
}

static void say_if_enough(message *to, const train_search *s, const char *assignment) {
    if (enough(s, assignment)) say(to, ", or %s", assignment);
}

static void say_smaller_context(message *to, const train_search *s) {
    char assignment[64];
    int64_t chunk = s->conf->inner.chunk;
    for (int64_t context = s->conf->train.context / 2; context >= 1; context /= 2) {
        int64_t whole = context >= chunk ? context / chunk * chunk : context;
        snprintf(assignment, sizeof assignment, "train.context=%lld", (long long)whole);
        if (!enough(s, assignment)) continue;
        say(to, ", or %s", assignment);
        return;
    }
}

/* The best that was found is the smallest that the configuration itself allows. */
static kern_status refuse(const train_search *s) {
    message to = {.used = 0};
    const conf_train *train = &s->conf->train;
    const train_step_memory *least = &s->best->memory;
    double needs = (double)least->total;
    char needed[32], limit[32];
    train_bytes_text(needed, needs);
    train_bytes_text(limit, s->limit);
    say(&to, "training needs at least %s, and %s is %s: ", needed,
        train->memory_limit > 0    ? "train.memory_limit"
        : s->ranks->job->ranks > 1 ? "the least that a rank has free"
                                   : "what is free",
        limit);
    say_kinds(&to, least);
    say(&to, "; what would be enough: %s %.0f bytes",
        train->memory_limit > 0 ? "train.memory_limit of" : "free memory of", needs);
    if (train->micro_batch > 1) say_if_enough(&to, s, "train.micro_batch=1");
    if (train->precision == CONF_F64) say_if_enough(&to, s, "train.precision=f32");
    if (train->precision != CONF_BF16) say_if_enough(&to, s, "train.precision=bf16");
    if (s->best->standing < s->limit) say_smaller_context(&to, s);
    return kern_fail(KERN_ERR_MEMORY, "%s", to.text);
}

/* What would work is said by numbers that do. */
static kern_status check_share(const ttt_conf *conf, const kern_ranks *ranks) {
    int64_t batch = conf->train.batch, many = ranks->data->ranks, tensor = ranks->tensor->ranks;
    char numbers[256] = "";
    if (batch % many == 0) return KERN_OK;
    for (int64_t n = 1, used = 0; n <= batch && used < 200; n++)
        if (batch % n == 0)
            used += snprintf(numbers + used, sizeof numbers - (size_t)used, "%s%lld",
                             used ? ", " : "", (long long)(n * tensor));
    return kern_fail(KERN_ERR_CONFIG,
                     "train.batch=%lld cannot be divided among %lld ranks that read texts of their "
                     "own: begin %s ranks, or set train.batch to a multiple of %lld",
                     (long long)batch, (long long)many, numbers, (long long)many);
}

kern_status train_search_within(train_search *s, train_step **step, train_fit *fit, double limit) {
    const kern_comm *job = s->ranks->job;
    if (step) *step = NULL;
    if (s->status != KERN_OK) return s->status;
    kern_status status = check_share(s->conf, s->ranks);
    s->limit = limit;
    if (status == KERN_OK) status = job->agree_f64(job, &s->limit, 1, KERN_MIN);
    if (status != KERN_OK) return status;
    candidate *best = s->best = best_of_all(s);
    *fit = (train_fit){s->limit, best->micro_batch, best->budget, best->memory};
    if (step && fits(s, best)) {
        if (s->at != best) compile(s, best); /* again */
        *step = s->step;
        s->step = NULL;
        s->at = NULL;
    }
    return s->status;
}

kern_status train_fit_find(train_step **step, train_fit *fit, const ttt_conf *conf,
                           const kern_device *device, double limit, const kern_ranks *ranks,
                           int threads, bool debug) {
    train_search *s = train_search_create(conf, device, ranks, threads, debug);
    kern_status status = train_search_within(s, step, fit, limit);
    train_search_destroy(s);
    return status;
}

kern_status train_fit_create(train_step **step, train_fit *fit, const ttt_conf *conf, double limit,
                             const kern_ranks *ranks, int threads, bool debug) {
    const kern_device *device;
    *step = NULL;
    kern_status status = kern_device_open(&device, conf->train.device);
    if (status != KERN_OK) return status;
    train_search *s = train_search_create(conf, device, ranks, threads, debug);
    status = train_search_within(s, step, fit, limit);
    if (status == KERN_OK && !*step) status = refuse(s);
    train_search_destroy(s);
    return status;
}
