/* The sampler against a plain model of what a sample is, and its order as a function. */
#include "data/opened.h"
#include "data/order.h"
#include "data/source.h"
#include "tests/data/shards.h"

/* Two shards; documents 0, 1, 2 in the first, 3, 4 in the second. */
static const int64_t lengths[] = {31, 5, 11, 21, 40};
enum { T = 10, DOCUMENTS = 5 };

static int make_shards(void **state) {
    if (make_folder(state)) return -1;
    make_shard(in_folder("s0.h5"), data_vocabulary_byte(), 0, (int64_t[]){31, 5, 11, 0});
    make_shard(in_folder("s1.h5"), data_vocabulary_byte(), 3, (int64_t[]){21, 40, 0});
    return 0;
}

static data_source *open_source(int64_t length, bool across) {
    data_source *source;
    assert_ok(data_source_open(&source, in_folder("s?.h5"), length, across));
    return source;
}

static int32_t expected_token(int64_t document, int64_t i) {
    return i ? token_of(document, i) : 256;
}

static void test_order_is_a_bijection(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 16, 17, 1000, 4097};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            unsigned char *seen = calloc(1, (size_t)sizes[k]);
            for (int64_t i = 0; i < sizes[k]; i++) {
                int64_t place = data_order(i, sizes[k], 42, epoch);
                assert_in_range(place, 0, sizes[k] - 1);
                assert_int_equal(seen[place]++, 0);
            }
            free(seen);
        }
}

/* Places behave like a random permutation's: few stay, neighbours go far, seeds and epochs differ.
 */
static void test_order_mixes(void **state) {
    (void)state;
    enum { N = 10000 };
    int64_t fixed = 0, same_seed = 0, same_epoch = 0, rising = 0;
    double product = 0;
    for (int64_t i = 0; i < N; i++) {
        int64_t place = data_order(i, N, 1, 0);
        fixed += place == i;
        same_seed += place == data_order(i, N, 2, 0);
        same_epoch += place == data_order(i, N, 1, 1);
        if (i) rising += place > data_order(i - 1, N, 1, 0);
        product += ((double)i / N - 0.5) * ((double)place / N - 0.5);
    }
    assert_true(fixed < 12 && same_seed < 12 && same_epoch < 12); /* 1 is expected */
    assert_in_range(rising, 4850, 5150);                          /* 5000 +- 29 */
    assert_true(product * 12 / N < 0.05 && product * 12 / N > -0.05);
    /* What runs that are there go on with. */
    assert_int_equal(data_order(5, N, 7, 0), 8502);
    assert_int_equal(data_order(5, N, 7, 3), 5520);
    assert_int_equal(data_order(N - 1, N, UINT64_MAX, 1), 8192);
}

/* The order must never change: runs would not resume. Values computed once by another program. */
static void test_order_is_pinned(void **state) {
    (void)state;
    static const int64_t pinned[5] = {219, 490, 439, 567, 881};
    for (int64_t i = 0; i < 5; i++) assert_int_equal(data_order(i, 1000, 7, 3), pinned[i]);
}

/* Reads one epoch and counts how often each (document, first token) begins a sample. */
static void count_samples(int64_t counts[DOCUMENTS][64], data_source *source) {
    int32_t tokens[T + 1];
    for (int64_t index = 0; index < data_source_samples(source); index++) {
        assert_ok(data_source_read(tokens, source, 5, index));
        int found = 0;
        for (int64_t d = 0; d < DOCUMENTS; d++)
            for (int64_t begin = 0; begin + T + 1 <= lengths[d]; begin++) {
                bool same = true;
                for (int64_t i = 0; i <= T; i++)
                    same = same && tokens[i] == expected_token(d, begin + i);
                counts[d][begin] += same;
                found += same;
            }
        assert_int_equal(found, 1);
    }
}

static void test_samples_inside_documents(void **state) {
    (void)state;
    data_source *source = open_source(T, false);
    /* 31 tokens predict 30: three samples; 5: none; 11: one; 21: two; 40: three and a tail. */
    assert_int_equal(data_source_samples(source), 3 + 0 + 1 + 2 + 3);
    int64_t counts[DOCUMENTS][64] = {{0}};
    count_samples(counts, source);
    for (int64_t d = 0; d < DOCUMENTS; d++)
        for (int64_t begin = 0; begin < 64; begin++)
            assert_int_equal(counts[d][begin], begin % T == 0 && begin + T + 1 <= lengths[d]);
    data_source_destroy(source);
}

static void test_samples_across_documents(void **state) {
    (void)state;
    data_source *source = open_source(T, true);
    assert_int_equal(data_source_samples(source), (47 - 1) / T + (61 - 1) / T);
    int32_t tokens[T + 1];
    bool seen[10] = {false};
    for (int64_t index = 0; index < 10; index++) {
        assert_ok(data_source_read(tokens, source, 9, index));
        for (int64_t sample = 0; sample < 10; sample++) {
            bool second = sample >= 4, same = true;
            for (int64_t i = 0; i <= T; i++) {
                int64_t d = second ? 3 : 0, at = (sample - (second ? 4 : 0)) * T + i;
                while (at >= lengths[d]) at -= lengths[d++];
                same = same && tokens[i] == expected_token(d, at);
            }
            if (same) {
                assert_false(seen[sample]);
                seen[sample] = true;
            }
        }
    }
    for (int64_t sample = 0; sample < 10; sample++) assert_true(seen[sample]);
    data_source_destroy(source);
}

/* A sample depends on (seed, index) alone: not on what was read before, nor by which reader. */
static void test_samples_do_not_depend_on_history(void **state) {
    (void)state;
    data_source *one = open_source(T, false), *two = open_source(T, false);
    int64_t samples = data_source_samples(one), differ = 0;
    int32_t forward[32][T + 1], tokens[T + 1];
    assert_true(3 * samples <= 32);
    for (int64_t i = 0; i < 3 * samples; i++) assert_ok(data_source_read(forward[i], one, 5, i));
    for (int64_t i = 3 * samples; i-- > 0;) {
        assert_ok(data_source_read(tokens, two, 5, i));
        assert_memory_equal(tokens, forward[i], sizeof tokens);
        if (i >= samples) differ += memcmp(forward[i], forward[i % samples], sizeof tokens) != 0;
    }
    assert_true(differ > 2); /* epochs have orders of their own */
    data_source_destroy(one);
    data_source_destroy(two);
}

static void test_windows_of_an_evaluation(void **state) {
    (void)state;
    data_source *source = open_source(T, false);
    data_window *windows;
    int64_t count;
    static const data_window all[] = {{0, 0},  {0, 10}, {0, 20}, {2, 0}, {3, 0},
                                      {3, 10}, {4, 0},  {4, 10}, {4, 20}};
    assert_ok(data_source_windows(&windows, &count, source, 0));
    assert_int_equal(count, 9);
    assert_memory_equal(windows, all, sizeof all);
    kern_free(windows);
    /* Two of document 4: from 0, and the last that 40 tokens hold: 40 - 11 = 29. */
    static const data_window two[] = {{0, 0}, {0, 20}, {2, 0}, {3, 0}, {3, 10}, {4, 0}, {4, 29}};
    assert_ok(data_source_windows(&windows, &count, source, 2));
    assert_int_equal(count, 7);
    assert_memory_equal(windows, two, sizeof two);
    int32_t tokens[T + 1];
    assert_ok(
        data_source_read_document(tokens, source, windows[6].document, windows[6].begin, T + 1));
    for (int64_t i = 0; i <= T; i++) assert_int_equal(tokens[i], expected_token(4, 29 + i));
    kern_free(windows);
    static const data_window one[] = {{0, 10}, {2, 0}, {3, 5}, {4, 14}};
    assert_ok(data_source_windows(&windows, &count, source, 1));
    assert_int_equal(count, 4);
    assert_memory_equal(windows, one, sizeof one);
    kern_free(windows);
    data_source_destroy(source);
    /* Four of 39 predicted tokens: 32 places in three steps, which do not divide them. */
    static const data_window four[] = {{4, 0}, {4, 10}, {4, 21}, {4, 32}};
    source = open_source(7, false);
    assert_ok(data_source_windows(&windows, &count, source, 4));
    assert_memory_equal(windows + count - 4, four, sizeof four);
    kern_free(windows);
    data_source_destroy(source);
}

static void test_documents(void **state) {
    (void)state;
    data_source *source = open_source(T, false);
    assert_int_equal(data_source_documents(source), DOCUMENTS);
    for (int64_t d = 0; d < DOCUMENTS; d++) {
        char name[32];
        snprintf(name, sizeof name, "book %d", (int)d);
        data_document document = data_source_document(source, d);
        assert_string_equal(document.name, name);
        assert_string_equal(document.split, "train");
        assert_int_equal(document.tokens, lengths[d]);
        assert_string_equal(strrchr(document.path, '/'), d < 3 ? "/s0.h5" : "/s1.h5");
        int32_t tokens[64];
        assert_ok(data_source_read_document(tokens, source, d, 1, lengths[d] - 1));
        assert_int_equal(tokens[lengths[d] - 2], expected_token(d, lengths[d] - 1));
    }
    assert_int_equal(data_source_vocabulary(source), 257);
    assert_int_equal(data_source_bos(source), 256);
    data_source_destroy(source);
}

static void test_names_shards_in_many_ways(void **state) {
    (void)state;
    data_source *glob = open_source(T, false), *list, *turned, *part;
    char names[600];
    snprintf(names, sizeof names, " %s , %s", in_folder("s0.h5"), in_folder("s1.h5"));
    assert_ok(data_source_open(&list, names, T, false));
    assert_int_equal(data_source_fingerprint(glob), data_source_fingerprint(list));
    snprintf(names, sizeof names, "%s,%s", in_folder("s1.h5"), in_folder("s0.h5"));
    assert_ok(data_source_open(&turned, names, T, false));
    assert_ok(data_source_open(&part, in_folder("s0.h5"), T, false));
    assert_int_not_equal(data_source_fingerprint(glob), data_source_fingerprint(turned));
    assert_int_not_equal(data_source_fingerprint(glob), data_source_fingerprint(part));
    /* A comma, a backslash and outer spaces of a path, each behind a backslash. */
    data_source *odd;
    char link[300];
    snprintf(link, sizeof link, "%s", in_folder("a,b\\c "));
    assert_int_equal(symlink("s1.h5", link), 0);
    snprintf(names, sizeof names, "%s , %s ", in_folder("s0.h5"), in_folder("a\\,b\\\\c\\ "));
    assert_ok(data_source_open(&odd, names, T, false));
    assert_int_equal(data_source_fingerprint(glob), data_source_fingerprint(odd));
    data_source_destroy(odd);
    snprintf(names, sizeof names, "%s,%s", in_folder("s0.h5"), in_folder("a\\,b\\c\\ "));
    assert_ok(data_source_open(&odd, names, T, false)); /* other backslashes are themselves */
    data_source_destroy(odd);
    assert_failure(data_source_open(&odd, link, T, false), KERN_ERR_USAGE,
                   "write a comma within a name as \\,", NULL);
    assert_int_equal(unlink(link), 0);
    data_source_destroy(glob);
    data_source_destroy(list);
    data_source_destroy(turned);
    data_source_destroy(part);
}

static void test_refuses(void **state) {
    (void)state;
    data_source *source;
    char names[600];
    assert_failure(data_source_open(&source, in_folder("s?.h5"), 40, false), KERN_ERR_DATA,
                   "40+1 tokens", "book 4", "s1.h5", "40", NULL);
    assert_null(source);
    assert_ok(data_source_open(&source, in_folder("s?.h5"), 39, false));
    data_source_destroy(source);
    assert_failure(data_source_open(&source, in_folder("s?.h5"), 61, true), KERN_ERR_DATA, "61+1",
                   NULL);
    assert_failure(data_source_open(&source, in_folder("x*.h5"), T, false), KERN_ERR_USAGE, "x*.h5",
                   NULL);
    assert_failure(data_source_open(&source, in_folder("x.h5"), T, false), KERN_ERR_FILE, "x.h5",
                   NULL);
    assert_failure(data_source_open(&source, " , ", T, false), KERN_ERR_USAGE, "no shard", NULL);
    assert_failure(data_source_open(&source, in_folder("s0.h5"), 0, false), KERN_ERR_USAGE, NULL);
    snprintf(names, sizeof names, "%s,%s", in_folder("s0.h5"), in_folder("s?.h5"));
    assert_failure(data_source_open(&source, names, T, false), KERN_ERR_USAGE, "twice", NULL);
    data_vocabulary other = *data_vocabulary_byte();
    other.hash = "01234567";
    make_shard(in_folder("other.h5"), &other, 0, (int64_t[]){31, 0});
    snprintf(names, sizeof names, "%s,%s", in_folder("s0.h5"), in_folder("other.h5"));
    assert_failure(data_source_open(&source, names, T, false), KERN_ERR_DATA, "s0.h5", "other.h5",
                   "01234567", NULL);
    other = *data_vocabulary_byte();
    other.bos = 0;
    make_shard(in_folder("other.h5"), &other, 0, (int64_t[]){31, 0});
    assert_failure(data_source_open(&source, names, T, false), KERN_ERR_DATA, "other.h5", NULL);
}

/* More shards than may be open at a time, read by threads in any order. */
static void test_few_of_many_are_open(void **state) {
    (void)state;
    enum { SHARDS = 21, READS = 400, MAY_BE_OPEN = 24 };
    struct rlimit before, small;
    data_source *source;
    int64_t wrong = 0;
    int most_open = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < SHARDS; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s/many-%02d.h5", folder, i);
        make_shard(name, data_vocabulary_byte(), i, (int64_t[]){T + 1, 0});
    }
    small = (struct rlimit){.rlim_cur = MAY_BE_OPEN, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    assert_int_equal(data_opened_most(), MAY_BE_OPEN / 4);
    assert_ok(data_source_open(&source, in_folder("many-*.h5"), T, false));
    assert_int_equal(data_source_documents(source), SHARDS);
#pragma omp parallel for num_threads(4) schedule(dynamic) reduction(+ : wrong) \
    reduction(max : most_open)
    for (int64_t i = 0; i < READS; i++) {
        int32_t tokens[T];
        int64_t document = i * 8 % SHARDS;
        bool read = data_source_read_document(tokens, source, document, 1, T) == KERN_OK;
        for (int64_t t = 0; read && t < T; t++) read = tokens[t] == expected_token(document, t + 1);
        wrong += !read;
        int open_now = data_opened_count();
        most_open = open_now > most_open ? open_now : most_open;
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(most_open, data_opened_most());
    data_source_destroy(source);
    assert_int_equal(data_opened_count(), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* A shard that was closed and is there no more, or another: not read as if it were the same. */
static void test_replaced_shard(void **state) {
    (void)state;
    struct rlimit before, small;
    data_source *source;
    int32_t tokens[T];
    char path[128], aside[160];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    small = (struct rlimit){.rlim_cur = 20, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    assert_ok(data_source_open(&source, in_folder("many-*.h5"), T, false));
    for (int64_t d = 1; d < 20; d++) assert_ok(data_source_read_document(tokens, source, d, 0, T));
    snprintf(path, sizeof path, "%s/many-00.h5", folder);
    snprintf(aside, sizeof aside, "%s.aside", path);
    assert_int_equal(rename(path, aside), 0);
    assert_failure(data_source_read_document(tokens, source, 0, 0, T), KERN_ERR_FILE,
                   "many-00.h5: cannot be opened: No such file", NULL);
    make_shard(path, data_vocabulary_byte(), 77, (int64_t[]){T + 1, 0});
    assert_failure(data_source_read_document(tokens, source, 0, 0, T), KERN_ERR_DATA,
                   "many-00.h5: was replaced while in use", NULL);
    assert_int_equal(rename(aside, path), 0);
    assert_ok(data_source_read_document(tokens, source, 0, 0, T));
    assert_int_equal(tokens[1], expected_token(0, 1));
    data_source_destroy(source);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_a_bijection),
        cmocka_unit_test(test_order_mixes),
        cmocka_unit_test(test_order_is_pinned),
        cmocka_unit_test(test_samples_inside_documents),
        cmocka_unit_test(test_samples_across_documents),
        cmocka_unit_test(test_samples_do_not_depend_on_history),
        cmocka_unit_test(test_windows_of_an_evaluation),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_names_shards_in_many_ways),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_few_of_many_are_open),
        cmocka_unit_test(test_replaced_shard),
    };
    return cmocka_run_group_tests(tests, make_shards, remove_folder);
}
