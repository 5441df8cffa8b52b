/* What a budget of memory buys of a scan, by formula: which products are kept first, and how many
 * carries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "autodiff/composites.h"
#include "autodiff/scan.h"

enum { ROWS = 16, IN = 8, SUMMED = 12, SINGLE = 6, OUTER = 10 };

/* h w: [rows, width], w a new constant */
static ad_value product(ad_graph *g, ad_value h, ad_value *constant, int *constants, int width) {
    ad_value w = ad_input(g, AD_TYPE(KERN_F64, IN, width), "w.%d", *constants);
    constant[(*constants)++] = w;
    return ad_matmul(g, h, w, false, false);
}

static ad_value total(ad_graph *g, ad_value sum, ad_value a) {
    a = ad_row_sum(
        g, ad_reshape(g, ad_sigmoid(g, a), AD_TYPE(KERN_F64, 1, ad_elements(ad_type_at(g, a)))));
    return ad_is_none(sum) ? a : ad_add(g, sum, a);
}

typedef struct {
    double budget, bytes, repeated;
} offer;

/* What budgets buy of a body with products of several kinds and a carry that halves. */
static void expect_offers(int64_t chunks, int count, const offer *expected) {
    ad_graph *g = ad_graph_create();
    ad_value h = ad_input(g, AD_TYPE(KERN_F64, ROWS, IN), "h"), constant[8];
    ad_value column = ad_input(g, AD_TYPE(KERN_F64, ROWS, 1), "column");
    ad_value row = ad_input(g, AD_TYPE(KERN_F64, 1, OUTER), "row");
    ad_value carried = ad_input(g, AD_TYPE(KERN_F64, 1, 8), "carried");
    int constants = 0;
    ad_type flat = AD_TYPE(KERN_F64, ROWS * SUMMED);
    ad_value one = ad_reshape(g, product(g, h, constant, &constants, SUMMED), flat);
    ad_value two = ad_reshape(g, product(g, h, constant, &constants, SUMMED), flat);
    ad_value three = product(g, h, constant, &constants, SINGLE);
    ad_value four = product(g, h, constant, &constants, SINGLE);
    ad_value loss = total(g, total(g, AD_NONE, ad_add(g, one, two)), three);
    loss = total(g, total(g, loss, ad_add(g, three, four)), carried);
    loss = total(g, loss, ad_matmul(g, column, row, false, false));
    constant[constants++] = row;
    ad_scan_carry carry = {.in = carried, .out = ad_scale(g, carried, 0.5)};
    ad_scan_slice slice[] = {{h, true, true}, {column, true, true}};
    ad_scan_output output = {.value = loss};
    ad_scan_spec spec = {.graph = g,
                         .batch = 1,
                         .chunk = ROWS,
                         .chunks = chunks,
                         .carries = 1,
                         .constants = constants,
                         .slices = 2,
                         .outputs = 1,
                         .carry = &carry,
                         .constant = constant,
                         .slice = slice,
                         .output = &output,
                         .loss = loss,
                         .loss_scale = 1,
                         .backward = true,
                         .threads = 2};
    ad_scan *scan;
    if (ad_scan_create(&scan, &spec) != KERN_OK) fail_msg("%s", kern_error());
    for (int i = 0; i < count; i++) {
        ad_scan_offer got = ad_scan_offered(scan, expected[i].budget);
        if (got.bytes != expected[i].bytes || got.repeated != expected[i].repeated)
            fail_msg("a budget of %g buys %g bytes and leaves %g FLOPs, not %g and %g",
                     expected[i].budget, got.bytes, got.repeated, expected[i].bytes,
                     expected[i].repeated);
    }
    ad_scan_destroy(scan);
    ad_graph_destroy(g);
}

/* Two products that only their sum uses are one value, and the densest; two that add up while one
 * of them is used elsewhere are two; a column times a row is made again sooner than fetched. Each
 * is kept as soon as the budget has room for it. Where not all carries fit, segments are replayed.
 */
static void test_densest_products_are_kept_first(void **state) {
    (void)state;
    const double dense = 2 * 2.0 * ROWS * IN * SUMMED, thin = 2.0 * ROWS * IN * SINGLE;
    const double large = ROWS * SUMMED * 8, small = ROWS * SINGLE * 8, all = dense + 2 * thin;
    const double saved = 64; /* bytes of a carry */
    const offer one_chunk[] = {{0, 0, all},
                               {large - 1, 0, all},
                               {large, large, 2 * thin},
                               {large + small - 1, large, 2 * thin},
                               {large + small, large + small, thin},
                               {large + 2 * small, large + 2 * small, 0},
                               {1e9, large + 2 * small, 0}};
    const offer five_chunks[] = {
        {0, 3 * saved, (5 + 2) * all},
        {4 * saved - 1, 3 * saved, (5 + 2) * all},
        {4 * saved, 4 * saved, 5 * all},
        {3 * saved + 3 * large, 3 * saved + 3 * large, 10 * thin + 3 * all},
        {4 * saved + 5 * large, 4 * saved + 5 * large, 5 * 2 * thin}};
    expect_offers(1, sizeof one_chunk / sizeof *one_chunk, one_chunk);
    expect_offers(5, sizeof five_chunks / sizeof *five_chunks, five_chunks);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_densest_products_are_kept_first)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
