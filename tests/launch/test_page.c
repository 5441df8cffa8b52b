/* What a report is made of: curves thinned, power laws, losses that were saved. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "launch/page.h"
#include "tests/train/scratch.h"

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Few steps are all there; lines without a loss and a torn one are not. */
static void short_curves(void **state) {
    (void)state;
    char path[300];
    launch_curve curve;
    snprintf(path, sizeof path, "%s/short.jsonl", scratch);
    write_file(path, "{\"step\":1,\"loss\":2.5,\"seconds\":1}\n"
                     "{\"step\": 2, \"loss\": 1.25e0}\n"
                     "{\"step\":2,\"validation_loss\":9}\n"
                     "{\"step\":3,\"loss\":null}\n"
                     "{\"step\":4,\"loss\":7");
    launch_curve_read(&curve, path);
    assert_int_equal(curve.count, 2);
    assert_true(curve.step[1] == 2 && curve.loss[0] == 2.5 && curve.loss[1] == 1.25);
    assert_int_equal(curve.last, 3);
    snprintf(path, sizeof path, "%s/none.jsonl", scratch);
    launch_curve_read(&curve, path);
    assert_int_equal(curve.count, 0);
}

/* A single high and a single low step survive, whatever lies around them. */
static void long_curves(void **state) {
    (void)state;
    char path[300];
    launch_curve curve;
    double least = INFINITY, most = 0;
    snprintf(path, sizeof path, "%s/long.jsonl", scratch);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int step = 1; step <= 5000; step++)
        fprintf(file, "{\"step\":%d,\"loss\":%.17g}\n", step,
                step == 1234   ? 50
                : step == 4321 ? 0.5
                               : 3 + 1.0 / step);
    assert_int_equal(fclose(file), 0);
    launch_curve_read(&curve, path);
    assert_true(curve.count <= LAUNCH_CURVE_POINTS && curve.count > LAUNCH_CURVE_POINTS / 2);
    for (int64_t i = 0; i < curve.count; i++) {
        if (i) assert_true(curve.step[i] > curve.step[i - 1]);
        if (curve.loss[i] > most) most = curve.loss[i];
        if (curve.loss[i] < least) least = curve.loss[i];
    }
    assert_true(most == 50 && least == 0.5);
    assert_int_equal(curve.last, 5000);
}

/* y = 7 x^-0.3 exactly; then with one point moved, against the textbook's numbers. */
static void power_laws(void **state) {
    (void)state;
    launch_figure figure = {.kind = "size"};
    launch_series *s = launch_figure_add(&figure, LAUNCH_SERIES_CURVE, 0, strdup("a"));
    for (int i = 0; i < 5; i++) launch_series_add(s, pow(10, i), 7 * pow(pow(10, i), -0.3), NAN, 0);
    launch_power_law fit = launch_power_law_fit(s);
    assert_true(fabs(fit.a - 7) < 1e-12 && fabs(fit.c - 0.3) < 1e-12 && fit.half < 1e-7);
    s->count = 3; /* log y: 0, 0, 3 at log x = 0, 1, 2: slope 1.5, residuals .5, -1, .5 */
    for (int i = 0; i < 3; i++)
        s->point[i] = (launch_point_xy){.x = exp(i), .y = i == 2 ? exp(3) : 1};
    fit = launch_power_law_fit(s);
    assert_true(fabs(fit.c + 1.5) < 1e-12 && fabs(fit.a - exp(-0.5)) < 1e-12);
    assert_true(fabs(fit.half - 12.706 * sqrt(1.5 / 1 / 2)) < 1e-3);
    s->count = 2;
    assert_true(isnan(launch_power_law_fit(s).half) && isfinite(launch_power_law_fit(s).c));
    s->count = 1;
    assert_true(isnan(launch_power_law_fit(s).c));
    launch_figure_clear(&figure);
}

/* Every axis that the paper has is known; none else. */
static void the_paper(void **state) {
    (void)state;
    static const char *const names[] = {"window", "chunk",  "layers", "context", "position",
                                        "size",   "tokens", "needle", "latency", "decoding"};
    launch_figure figure;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_true(launch_paper_figure(&figure, names[i]));
        assert_true(strstr(figure.title, "another scale") && figure.count > 1);
        launch_figure_clear(&figure);
    }
    assert_false(launch_paper_figure(&figure, "inner_rate"));
    assert_false(launch_paper_figure(&figure, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_curves),
        cmocka_unit_test(long_curves),
        cmocka_unit_test(power_laws),
        cmocka_unit_test(the_paper),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
