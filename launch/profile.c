#include "launch/profile.h"

#include "launch/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_SHOWN = 30, ROLES = 4 };

static const char *const role_name[ROLES] = {"prefix forward", "prefix backward", "suffix forward",
                                             "suffix backward"};

/* What steps of one role, op and scope took together. */
typedef struct {
    int role;
    const char *op, *scope;
    double seconds, flops, bytes;
    int64_t calls;
} row;

typedef struct {
    row *row;
    int64_t rows, capacity;
    double seconds[ROLES];
} table;

static ad_plan *plan_of(const infer_model *model, int suffix, int which) {
    infer_model_parts parts = infer_model_internals(model);
    return ad_scan_plan_of(suffix ? parts.suffix : parts.prefix, which);
}

void launch_profile_start(const infer_model *model) {
    for (int suffix = 0; suffix < 2; suffix++)
        for (int which = 0; which < AD_SCAN_PLANS; which++)
            if (plan_of(model, suffix, which)) ad_plan_profile(plan_of(model, suffix, which), true);
}

static void add_step(table *to, int role, const ad_plan_step_cost *cost) {
    int64_t at = 0;
    while (at < to->rows && (to->row[at].role != role || strcmp(to->row[at].op, cost->op) ||
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
    to->seconds[role] += cost->seconds;
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
           (long long)r->calls, rate, role_name[r->role], r->op, r->scope);
}

void launch_profile_print(const infer_model *model) {
    table all_rows = {0};
    for (int suffix = 0; suffix < 2; suffix++)
        for (int which = 0; which < AD_SCAN_PLANS; which++) {
            ad_plan *plan = plan_of(model, suffix, which);
            for (int step = 0; plan && step < ad_plan_steps(plan); step++) {
                ad_plan_step_cost cost = ad_plan_step(plan, step);
                add_step(&all_rows, 2 * suffix + (which >= AD_SCAN_VJP), &cost);
            }
            if (plan) ad_plan_profile(plan, false);
        }
    double all = 0;
    for (int role = 0; role < ROLES; role++) all += all_rows.seconds[role];
    qsort(all_rows.row, (size_t)all_rows.rows, sizeof *all_rows.row, by_seconds);
    printf("\n%9s %6s %7s  %-12s %-15s %-14s %s\n", "seconds", "share", "calls", "rate", "plan",
           "op", "scope");
    for (int64_t i = 0; i < all_rows.rows && i < ROWS_SHOWN; i++) print_row(&all_rows.row[i], all);
    printf("%9.4f of %.4f in all, of %lld kinds of steps\n", all, all, (long long)all_rows.rows);
    free(all_rows.row);
}
