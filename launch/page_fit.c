#include "launch/page.h"

#include <math.h>

/* Student's t for 95 %, two-sided, of 1, 2, ... degrees of freedom; beyond the last 1.96 and a
 * little. */
static double student(int64_t freedom) {
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
                               2.306,  2.262, 2.228, 2.201, 2.179, 2.160, 2.145};
    int64_t known = sizeof t / sizeof *t;
    return freedom <= known ? t[freedom - 1] : 1.96 + 2.4 / (double)freedom;
}

launch_power_law launch_power_law_fit(const launch_series *series) {
    double n = (double)series->count, x = 0, y = 0, xx = 0, xy = 0, left = 0;
    launch_power_law fit = {NAN, NAN, NAN, series->count};
    for (int64_t i = 0; i < series->count; i++) {
        x += log(series->point[i].x) / n;
        y += log(series->point[i].y) / n;
    }
    for (int64_t i = 0; i < series->count; i++) {
        double dx = log(series->point[i].x) - x;
        xx += dx * dx;
        xy += dx * (log(series->point[i].y) - y);
    }
    if (series->count < 2 || !(xx > 0)) return fit;
    fit.c = -xy / xx;
    fit.a = exp(y + fit.c * x);
    for (int64_t i = 0; i < series->count; i++) {
        double off = log(series->point[i].y) - log(fit.a) + fit.c * log(series->point[i].x);
        left += off * off;
    }
    if (series->count > 2) fit.half = student(series->count - 2) * sqrt(left / (n - 2) / xx);
    return fit;
}
