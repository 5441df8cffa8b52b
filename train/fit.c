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

/* ---- one choice of sequences at once ---- */

typedef struct {
    const ttt_conf *conf;
    double limit;
    const kern_device *device;
    const kern_ranks *ranks;
    int threads;
    bool debug;
} fit_problem;

/* A step and how it was made. */
typedef struct {
    train_step *step;
    train_fit fit;
} candidate;

/* All that is decided by is the same on all ranks: how much of it the largest takes. Then they look
 * at the same steps, one after the other. */
static kern_status create(candidate *made, const fit_problem *problem, int64_t micro_batch,
                          double budget) {
    const kern_comm *job = problem->ranks->job;
    train_step_spec spec = {.conf = problem->conf,
                            .micro_batch = micro_batch,
                            .budget = budget,
                            .device = problem->device,
                            .ranks = problem->ranks,
                            .threads = problem->threads,
                            .debug = problem->debug};
    *made = (candidate){.fit = {problem->limit, micro_batch, budget, {0}}};
    kern_status status = kern_comm_meet(job, train_step_create(&made->step, &spec));
    if (status != KERN_OK) goto done;
    made->fit.memory = train_step_plan(made->step);
    int64_t total = (int64_t)made->fit.memory.total;
    TRY(job->agree_i64(job, &total, 1, KERN_MAX));
    made->fit.memory.total = (size_t)total;
done:
    if (status != KERN_OK) {
        train_step_destroy(made->step);
        made->step = NULL;
    }
    return status;
}

static bool fits(const candidate *made, const fit_problem *problem) {
    return (double)made->fit.memory.total <= problem->limit;
}

static void replace(candidate *old, candidate *new) {
    train_step_destroy(old->step);
    *old = *new;
    new->step = NULL;
}

/* Tries one budget. A step that fits is taken if there is none yet or if it
 * executes less, one that does not if it is the smallest so far. */
static kern_status try_budget(candidate *best, const fit_problem *problem, double budget) {
    candidate next = {0};
    kern_status status = create(&next, problem, best->fit.micro_batch, budget);
    if (status != KERN_OK) return status;
    const train_step_memory *a = &best->fit.memory, *b = &next.fit.memory;
    bool fitted = fits(best, problem);
    if (fitted ? fits(&next, problem) && b->executed_flops < a->executed_flops
               : b->total < a->total)
        replace(best, &next);
    train_step_destroy(next.step);
    return KERN_OK;
}

/* The step with everything kept; or, where that does not fit, with the largest of some budgets that
 * does; or the smallest that was found. What a budget does not buy is computed again in the
 * workspace, which grows by that, in jumps: so the budget is found by trying. The smallest step is
 * one of the first few; where even nothing kept is far too much, the others need not be tried,
 * unless there is no smaller micro-batch: the least that is `last` does not depend on the limit. */
static kern_status best_budget(candidate *best, const fit_problem *problem, int64_t micro_batch,
                               bool last) {
    kern_status status = KERN_OK;
    TRY(create(best, problem, micro_batch, HUGE_VAL));
    if (fits(best, problem)) return KERN_OK;
    double kept = (double)(best->fit.memory.carries + best->fit.memory.slots);
    for (int share = 0; share < SMALL_BUDGETS; share++) {
        TRY(try_budget(best, problem, kept * share / BUDGETS));
        if (!last && (double)best->fit.memory.total > FAR_TOO_MUCH * problem->limit) break;
    }
    for (int share = BUDGETS - 1; share >= SMALL_BUDGETS && fits(best, problem); share--) {
        double budget = kept * share / BUDGETS;
        TRY(try_budget(best, problem, budget));
        if (best->fit.budget == budget) break;
    }
done:
    return status;
}

/* The time; where nothing is known of it executed work, which in products of few rows reaches less
 * of the machine. */
static double cost(const candidate *made, const fit_problem *problem) {
    if (made->step && train_can_predict(problem->device->machine))
        return train_predict(made->step).step.seconds;
    double rows =
        (double)(made->fit.micro_batch * infer_chunk(problem->conf, problem->conf->train.context));
    return made->fit.memory.executed_flops * (1 + 32 / rows);
}

static bool better(const candidate *a, const candidate *b, const fit_problem *problem) {
    if (!fits(b, problem)) return true; /* fewer sequences need less */
    return fits(a, problem) && cost(a, problem) < cost(b, problem);
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
static bool enough(const fit_problem *problem, const char *assignment) {
    ttt_conf *changed = NULL;
    candidate made = {0};
    bool yes = false;
    if (conf_copy(&changed, problem->conf) == KERN_OK && conf_set(changed, assignment) == KERN_OK &&
        conf_check(changed) == KERN_OK) {
        fit_problem smaller = *problem;
        smaller.conf = changed;
        int64_t micro_batch = changed->train.micro_batch ? changed->train.micro_batch : 1;
        yes = best_budget(&made, &smaller, micro_batch, false) == KERN_OK && fits(&made, &smaller);
    }
    train_step_destroy(made.step);
    conf_destroy(changed);
    return yes;
}

static void say_if_enough(message *to, const fit_problem *problem, const char *assignment) {
    if (enough(problem, assignment)) say(to, ", or %s", assignment);
}

static void say_smaller_context(message *to, const fit_problem *problem) {
    char assignment[64];
    int64_t chunk = problem->conf->inner.chunk;
    for (int64_t context = problem->conf->train.context / 2; context >= 1; context /= 2) {
        int64_t whole = context >= chunk ? context / chunk * chunk : context;
        snprintf(assignment, sizeof assignment, "train.context=%lld", (long long)whole);
        if (!enough(problem, assignment)) continue;
        say(to, ", or %s", assignment);
        return;
    }
}

/* What no change of train.context alters. */
static double standing(const train_step_memory *m) {
    return (double)(m->parameters + m->product_weights + m->gradient + m->moments);
}

/* `least` is the smallest that the configuration itself allows. */
static kern_status refuse(const train_fit *least, const fit_problem *problem) {
    message to = {.used = 0};
    const conf_train *train = &problem->conf->train;
    double total = (double)least->memory.total;
    char needed[32], limit[32];
    train_bytes_text(needed, total);
    train_bytes_text(limit, problem->limit);
    say(&to, "training needs at least %s, and %s is %s: ", needed,
        train->memory_limit > 0          ? "train.memory_limit"
        : problem->ranks->job->ranks > 1 ? "the least that a rank has free"
                                         : "what is free",
        limit);
    say_kinds(&to, &least->memory);
    say(&to, "; what would be enough: %s %.0f bytes",
        train->memory_limit > 0 ? "train.memory_limit of" : "free memory of", total);
    if (train->micro_batch > 1) say_if_enough(&to, problem, "train.micro_batch=1");
    if (train->precision == CONF_F64) say_if_enough(&to, problem, "train.precision=f32");
    if (train->precision != CONF_BF16) say_if_enough(&to, problem, "train.precision=bf16");
    if (standing(&least->memory) < problem->limit) say_smaller_context(&to, problem);
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

kern_status train_fit_find(train_step **step, train_fit *fit, const ttt_conf *conf,
                           const kern_device *device, double limit, const kern_ranks *ranks,
                           int threads, bool debug) {
    kern_status status = KERN_OK;
    fit_problem problem = {conf, limit, device, ranks, threads, debug};
    candidate best = {0}, next = {0};
    *step = NULL;
    TRY(check_share(conf, ranks));
    TRY(ranks->job->agree_f64(ranks->job, &problem.limit, 1, KERN_MIN));
    int64_t sequences = train_sequences(conf, ranks);
    int64_t micro = train_preferred_micro_batch(conf, sequences, device->machine);
    TRY(best_budget(&best, &problem, micro, conf->train.micro_batch || micro == 1));
    while (!conf->train.micro_batch && micro > 1 &&
           (best.fit.budget != HUGE_VAL || !fits(&best, &problem))) {
        micro = divisor_below(sequences, micro - 1);
        TRY(best_budget(&next, &problem, micro, micro == 1));
        if (better(&next, &best, &problem)) replace(&best, &next);
        train_step_destroy(next.step);
        next.step = NULL;
    }
    *fit = best.fit;
    if (fits(&best, &problem)) {
        *step = best.step;
        best.step = NULL;
    }
done:
    train_step_destroy(best.step);
    train_step_destroy(next.step);
    malloc_trim(0); /* what the steps that were not taken held counts no longer */
    return status;
}

kern_status train_fit_create(train_step **step, train_fit *fit, const ttt_conf *conf, double limit,
                             const kern_ranks *ranks, int threads, bool debug) {
    fit_problem problem = {conf, limit, NULL, ranks, threads, debug};
    *step = NULL;
    kern_status status = kern_device_open(&problem.device, conf->train.device);
    if (status == KERN_OK)
        status = train_fit_find(step, fit, conf, problem.device, limit, ranks, threads, debug);
    if (status != KERN_OK || *step) return status;
    problem.limit = fit->limit;
    return refuse(fit, &problem);
}
