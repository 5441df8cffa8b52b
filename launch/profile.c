#include "launch/profile.h"

#include "launch/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_SHOWN = 30 };

/* What steps of one role, op and scope took together. */
typedef struct {
    const char *role, *op, *scope;
    double seconds, flops, bytes;
    int64_t calls;
} row;

typedef struct {
    row *row;
    int64_t rows, capacity;
    double seconds;
} table;

static void add_plan(launch_profile *profile, const char *role, ad_plan *plan) {
    if (!plan) return;
    ASSERT(profile->count < LAUNCH_PROFILE_PLANS);
    profile->role[profile->count] = role;
    profile->plan[profile->count++] = plan;
    ad_plan_profile(plan, true);
}

void launch_profile_model(launch_profile *profile, const infer_model *model) {
    static const char *const role[2][2] = {{"prefix forward", "prefix backward"},
                                           {"suffix forward", "suffix backward"}};
    infer_model_parts parts = infer_model_internals(model);
    profile->count = 0;
    for (int suffix = 0; suffix < 2; suffix++)
        for (int which = 0; which < AD_SCAN_PLANS; which++)
            add_plan(profile, role[suffix][which >= AD_SCAN_VJP],
                     ad_scan_plan_of(suffix ? parts.suffix : parts.prefix, which));
}

void launch_profile_token(launch_profile *profile, const infer_session *session) {
    profile->count = 0;
    add_plan(profile, "prefix", infer_session_token_plan(session, false));
    add_plan(profile, "suffix", infer_session_token_plan(session, true));
}

static void add_step(table *to, const char *role, const ad_plan_step_cost *cost) {
    int64_t at = 0;
    while (at < to->rows && (strcmp(to->row[at].role, role) || strcmp(to->row[at].op, cost->op) ||
                             strcmp(to->row[at].scope, cost->scope)))
        at++;
    if (at == to->rows) {
        to->row = kern_grow(to->row, &to->capacity, at + 1, sizeof *to->row);
        to->row[to->rows++] = (row){.role = role, .op = cost->op, .scope = cost->scope};
    }
    row *r = &to->row[at];
    r->seconds += cost->seconds;
    r->flops += cost->flops * (double)cost->runs;
    r->bytes += cost->bytes * (double)cost->runs;
    r->calls += cost->runs;
    to->seconds += cost->seconds;
}

static int by_seconds(const void *a, const void *b) {
    double x = ((const row *)a)->seconds, y = ((const row *)b)->seconds;
    return (x < y) - (x > y);
}

static void print_row(const row *r, double all) {
    char rate[32] = "";
    if (r->flops > 0)
        launch_scaled(rate, r->flops / r->seconds, "FLOP/s");
    else if (r->bytes > 0)
        launch_scaled(rate, r->bytes / r->seconds, "B/s");
    printf("%9.4f %5.1f%% %7lld  %-12s %-15s %-14s %s\n", r->seconds, 100 * r->seconds / all,
           (long long)r->calls, rate, r->role, r->op, r->scope);
}

void launch_profile_print(launch_profile *profile) {
    table all = {0};
    for (int i = 0; i < profile->count; i++) {
        for (int step = 0; step < ad_plan_steps(profile->plan[i]); step++) {
            ad_plan_step_cost cost = ad_plan_step(profile->plan[i], step, INT64_MAX);
            add_step(&all, profile->role[i], &cost);
        }
        ad_plan_profile(profile->plan[i], false);
    }
    qsort(all.row, (size_t)all.rows, sizeof *all.row, by_seconds);
    printf("\n%9s %6s %7s  %-12s %-15s %-14s %s\n", "seconds", "share", "calls", "rate", "plan",
           "op", "scope");
    for (int64_t i = 0; i < all.rows && i < ROWS_SHOWN; i++) print_row(&all.row[i], all.seconds);
    printf("%9.4f of %.4f in all, of %lld kinds of steps\n", all.seconds, all.seconds,
           (long long)all.rows);
    free(all.row);
}
