/* Choices: filters against a plain implementation that sorts everything, frequencies against
 * probabilities, text streams against what they must never show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"
#include "infer/sample.h"
#include "infer/stream.h"

enum { TOKENS = 57, DRAWS = 40000 };

#define assert_ok(call) assert_int_equal((call), KERN_OK)

static double random_from(uint64_t *state) { /* from [0, 1) */
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

static void some_scores(float *score, uint64_t seed) {
    for (int i = 0; i < TOKENS; i++) score[i] = (float)(6 * random_from(&seed) - 3);
    score[7] = score[30]; /* equal ones */
}

/* Which tokens may be chosen and how probable they are, the slow way. */
static void expected(double *probability, const float *score, const infer_sampling *how) {
    int order[TOKENS];
    double p[TOKENS], sum = 0, all = 0;
    for (int i = 0; i < TOKENS; i++) {
        p[i] = exp((double)score[i] / how->temperature);
        order[i] = i;
    }
    for (int i = 0; i < TOKENS; i++)
        for (int j = i + 1; j < TOKENS; j++)
            if (p[order[j]] > p[order[i]] || (p[order[j]] == p[order[i]] && order[j] < order[i])) {
                int swap = order[i];
                order[i] = order[j];
                order[j] = swap;
            }
    int count = how->top_k && how->top_k < TOKENS ? (int)how->top_k : TOKENS, kept = 0;
    for (int i = 0; i < count; i++) sum += p[order[i]];
    for (double part = 0; kept < count;) {
        part += p[order[kept++]];
        if (part >= how->top_p * sum) break;
    }
    while (kept > 1 && p[order[kept - 1]] < how->min_p * p[order[0]]) kept--;
    for (int i = 0; i < TOKENS; i++) probability[i] = 0;
    for (int i = 0; i < kept; i++) all += p[order[i]];
    for (int i = 0; i < kept; i++) probability[order[i]] = p[order[i]] / all;
}

static void test_filters(void **state) {
    (void)state;
    static const infer_sampling ways[] = {
        {.repetition_penalty = 1, .temperature = 1, .top_p = 1},
        {.repetition_penalty = 1, .temperature = 0.5, .top_p = 1},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 1, .top_k = 5},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 1, .top_k = 1},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 1, .top_k = 1000},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 0.5},
        {.repetition_penalty = 1, .temperature = 2, .top_p = 0.9, .top_k = 20},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 1, .min_p = 0.2},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 0.8, .min_p = 0.1, .top_k = 30},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 1e-9},
    };
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        float score[TOKENS];
        double probability[TOKENS];
        int seen[TOKENS] = {0};
        infer_sampler *sampler;
        some_scores(score, 5 + w);
        expected(probability, score, &ways[w]);
        assert_ok(infer_sampler_create(&sampler, &ways[w], TOKENS));
        for (int i = 0; i < DRAWS; i++) seen[infer_sampler_choose(sampler, score)]++;
        for (int i = 0; i < TOKENS; i++) {
            double mean = probability[i] * DRAWS;
            double deviation = sqrt(mean * (1 - probability[i]));
            if (probability[i] == 0) assert_int_equal(seen[i], 0);
            if (fabs(seen[i] - mean) > 5 * deviation + 1)
                fail_msg("way %d, token %d: %d times instead of %.1f +- %.1f", (int)w, i, seen[i],
                         mean, deviation);
        }
        infer_sampler_destroy(sampler);
    }
}

static void test_greedy_and_penalty(void **state) {
    (void)state;
    float score[TOKENS] = {0};
    infer_sampler *sampler;
    infer_sampling how = {.repetition_penalty = 2, .repetition_window = 2, .top_p = 1};
    assert_ok(infer_sampler_create(&sampler, &how, TOKENS));
    score[3] = 5;
    score[9] = 5;
    score[4] = 3;
    for (int i = 10; i < TOKENS; i++) score[i] = -1;
    assert_int_equal(infer_sampler_choose(sampler, score), 3); /* the lower of equals */
    infer_sampler_seen(sampler, 3);
    assert_int_equal(infer_sampler_choose(sampler, score), 9);
    infer_sampler_seen(sampler, 9);
    assert_int_equal(infer_sampler_choose(sampler, score), 4); /* 3 against two times 2.5 */
    infer_sampler_seen(sampler, 4);                            /* 3 is out of the window */
    assert_int_equal(infer_sampler_choose(sampler, score), 3);
    infer_sampler_seen(sampler, 3);
    infer_sampler_seen(sampler, 3); /* twice in the window: half of 5 all the same */
    score[9] = 2;
    score[4] = 2;
    assert_int_equal(infer_sampler_choose(sampler, score), 3);
    infer_sampler_destroy(sampler);
}

/* Of tokens that are equally probable the lower ones are left, as many as the filter says. */
static void test_equal_scores(void **state) {
    (void)state;
    static const struct {
        infer_sampling how;
        int left;
    } ways[] = {{{.repetition_penalty = 1, .temperature = 1, .top_p = 1, .top_k = 3}, 3},
                {{.repetition_penalty = 1, .temperature = 1, .top_p = 0.3}, 18}, /* 17.1 */
                {{.repetition_penalty = 1, .temperature = 1, .top_p = 0.5, .top_k = 10}, 5}};
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        float score[TOKENS] = {0};
        int seen[TOKENS] = {0};
        infer_sampler *sampler;
        assert_ok(infer_sampler_create(&sampler, &ways[w].how, TOKENS));
        for (int i = 0; i < 1000; i++) seen[infer_sampler_choose(sampler, score)]++;
        for (int i = 0; i < TOKENS; i++) assert_int_equal(seen[i] > 0, i < ways[w].left);
        infer_sampler_destroy(sampler);
    }
}

/* No token is chosen of scores that are no numbers, in any way of choosing. */
static void test_broken_scores(void **state) {
    (void)state;
    static const infer_sampling ways[] = {
        {.repetition_penalty = 1, .top_p = 1},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 1},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 0.95},
        {.repetition_penalty = 1, .temperature = 1, .top_p = 1, .top_k = 3},
    };
    static const float broken[] = {NAN, INFINITY, -INFINITY};
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
        for (size_t b = 0; b < sizeof broken / sizeof *broken; b++)
            for (int at = 0; at < TOKENS; at += TOKENS - 1) {
                float score[TOKENS] = {0};
                infer_sampler *sampler;
                assert_ok(infer_sampler_create(&sampler, &ways[w], TOKENS));
                score[at] = broken[b];
                assert_int_equal(infer_sampler_choose(sampler, score), -1);
                for (int i = 0; i < TOKENS; i++) score[i] = broken[b];
                assert_int_equal(infer_sampler_choose(sampler, score), -1);
                infer_sampler_destroy(sampler);
            }
}

static void test_bad_numbers(void **state) {
    (void)state;
    static const infer_sampling bad[] = {
        {.repetition_penalty = 1, .temperature = -1, .top_p = 1},
        {.repetition_penalty = 1, .top_p = 0},
        {.repetition_penalty = 1, .top_p = 1.5},
        {.repetition_penalty = 1, .top_p = 1, .min_p = 2},
        {.repetition_penalty = 0, .top_p = 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        infer_sampler *sampler;
        assert_int_equal(infer_sampler_create(&sampler, &bad[i], TOKENS), KERN_ERR_USAGE);
        assert_null(sampler);
    }
}

/* What a stream shows of these bytes in pieces of `piece`. */
static bool shown(char *to, const char *bytes, size_t count, size_t piece, const char *const *stop,
                  int stops) {
    infer_stream *stream = infer_stream_create(stop, stops);
    const char *text;
    int64_t length;
    size_t end = 0;
    for (size_t at = 0; at <= count; at += piece) {
        size_t n = count - at < piece ? count - at : piece;
        infer_stream_push(stream, bytes + at, (int64_t)n, at + piece > count, &text, &length);
        assert_int_equal(data_utf8_prefix(length ? text : "", length), length);
        if (length) memcpy(to + end, text, (size_t)length);
        end += (size_t)length;
    }
    to[end] = 0;
    bool stopped = infer_stream_stopped(stream);
    infer_stream_destroy(stream);
    return stopped;
}

static void test_streams(void **state) {
    (void)state;
    static const char *const stops[] = {"END", "\n\n", "\xe2\x82\xac"};
    static const struct {
        const char *bytes, *text;
        bool stopped;
    } rows[] = {
        {"plain", "plain", false},
        {"an EN that is no END of it", "an EN that is no ", true},
        {"ENENDEND", "EN", true},
        {"a\nb\n\nc", "a\nb", true},
        {"price: 5 \xe2\x82\xac!", "price: 5 ", true},
        {"\xe2\x82\xad \xc3\xa9", "\xe2\x82\xad \xc3\xa9", false},
        {"cut \xc3", "cut \xef\xbf\xbd", false},
        {"bad \xff\xc3(\xe2\x82", "bad \xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd", false},
        {"E", "E", false},
        {"", "", false},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t piece = 1; piece < 9; piece++) {
            char text[128];
            bool stopped = shown(text, rows[r].bytes, strlen(rows[r].bytes), piece, stops, 3);
            assert_string_equal(text, rows[r].text);
            assert_int_equal(stopped, rows[r].stopped);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters),      cmocka_unit_test(test_greedy_and_penalty),
        cmocka_unit_test(test_equal_scores), cmocka_unit_test(test_broken_scores),
        cmocka_unit_test(test_bad_numbers),  cmocka_unit_test(test_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
