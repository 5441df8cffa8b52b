/* ttt niah on runs whose answers are known: hand-made weights that copy score 1, the same without
 * their copying 0, through the real command, with inner steps on and off. */
#include <jansson.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "data/bpe.h"
#include "tests/launch/induction.h"
#include "tests/sanitized.h"

static char *in_scratch(const char *name) {
    static char paths[16][160];
    static int next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

/* Runs ttt niah in the scratch directory: stdout to out, stderr to err. Its exit code. */
static int niah(const char *words) {
    char *line = train_text("cd '%s' && OMP_WAIT_POLICY=passive '%s' niah %s >out 2>err", scratch,
                            TTT_PROGRAM, words);
    int code = system(line);
    free(line);
    assert_true(WIFEXITED(code));
    return WEXITSTATUS(code);
}

static void assert_niah(const char *words) {
    if (niah(words)) fail_msg("ttt niah %s: %s", words, slurp(NULL, in_scratch("err")));
}

static void assert_contains(const char *file, const char *part) {
    char *text = slurp(NULL, in_scratch(file));
    if (!strstr(text, part)) fail_msg("'%s' is not in %s: %s", part, file, text);
    free(text);
}

static void assert_refused(int code, const char *word, const char *words) {
    assert_int_equal(niah(words), code);
    assert_contains("err", word);
    char *out = slurp(NULL, in_scratch("out"));
    assert_string_equal(out, "");
    free(out);
}

static void write_book(void) {
    FILE *file = fopen(in_scratch("book.txt"), "w");
    assert_non_null(file);
    for (int i = 0; i < 400; i++)
        fprintf(file, "Sentence %d has %d words, or so says sentence %d. Is it so?\n", i,
                i * 37 % 91, i * i % 83);
    assert_int_equal(fclose(file), 0);
}

static void write_full(void) {
    static const char *const full[] = {"model.attention=full", NULL};
    write_book();
    write_induction_run(in_scratch("full"), data_vocabulary_byte(), false, full);
}

static void write_runs(void) {
    static const char *const e2e[] = {"inner.mode=e2e", "inner.suffix=1", "inner.chunk=64",
                                      "model.window=1024", NULL};
    write_full();
    write_induction_run(in_scratch("e2e"), data_vocabulary_byte(), false, e2e);
    write_induction_run(in_scratch("deaf"), data_vocabulary_byte(), true, NULL);
}

/* The JSON object on the last line of out. */
static json_t *result(void) {
    json_error_t error;
    char *text = slurp(NULL, in_scratch("out"));
    size_t end = strlen(text);
    assert_true(end > 0 && text[end - 1] == '\n');
    text[end - 1] = 0;
    char *line = strrchr(text, '\n');
    json_t *object = json_loads(line ? line + 1 : text, 0, &error);
    if (!object) fail_msg("%s: %s", error.text, text);
    free(text);
    return object;
}

/* All results of the i-th model have this mean, over that many samples. */
static void assert_model(const json_t *object, size_t i, const char *name, int inner, double mean,
                         size_t results, int samples) {
    const json_t *model = json_array_get(json_object_get(object, "models"), i), *row;
    assert_string_equal(json_string_value(json_object_get(model, "model")), name);
    assert_int_equal(json_is_true(json_object_get(model, "inner_steps")), inner);
    assert_int_equal(json_integer_value(json_object_get(model, "step")), 1);
    const json_t *list = json_object_get(model, "results");
    assert_int_equal(json_array_size(list), results);
    for (size_t r = 0; r < results; r++) {
        row = json_array_get(list, r);
        assert_int_equal(json_integer_value(json_object_get(row, "samples")), samples);
        double got = json_number_value(json_object_get(row, "mean"));
        if (got != mean)
            fail_msg("%s, task %s, length %lld: %g, expected %g", name,
                     json_string_value(json_object_get(row, "task")),
                     json_integer_value(json_object_get(row, "length")), got, mean);
    }
}

static void assert_scores(const char *words, size_t results, int samples) {
    assert_niah(words);
    json_t *object = result();
    assert_int_equal(json_array_size(json_object_get(object, "models")), 4);
    assert_model(object, 0, "e2e", 1, 1, results, samples);
    assert_model(object, 1, "e2e-off", 0, 1, results, samples);
    assert_model(object, 2, "full", 0, 1, results, samples);
    assert_model(object, 3, "deaf", 0, 0, results, samples);
    json_decref(object);
}

static void test_scores(void **state) {
    (void)state;
    write_runs();
    if (SANITIZED) {
        assert_scores("e2e full deaf --text book.txt --lengths 440 --samples 1 --answer-tokens 60 "
                      "--csv cells.csv --png map.png --json",
                      3, 1);
        return;
    }
    assert_scores("e2e full deaf --text book.txt --lengths 440,520 --samples 5 --depths 5 "
                  "--answer-tokens 60 --csv cells.csv --png map.png --json",
                  6, 5);
    assert_contains("out",
                    "\n3                         520        5   1.0000 \u00b10.0000   1.0000");
    assert_contains("err", "full: 30/30 samples  0 s left\n");
    assert_contains("cells.csv", "model,task,length,depth,samples,accuracy\n"
                                 "e2e,1,440,0,1,1.000000\ne2e,1,440,25,1,1.000000\n");
    assert_contains("cells.csv", "\ndeaf,3,520,100,1,0.000000\n");
    assert_contains("out", "\n\ndepth in percent               samples              e2e");
    /* Five depths of five: one for each task and length. */
    assert_contains("out",
                    "\n21 to 40                             6   1.0000 \u00b10.0000   1.0000");
    assert_contains("out", "\n81 to 100                            6   1.0000 ");
    size_t bytes;
    char *picture = slurp(&bytes, in_scratch("map.png"));
    assert_true(bytes > 5000);
    assert_memory_equal(picture, "\x89PNG\r\n\x1a\n", 8);
    free(picture);
}

/* The same with the tokens of GPT-2, which the checkpoint carries: lengths are in these. */
static void test_tokens(void **state) {
    (void)state;
    data_vocabulary *gpt2;
    const data_bpe_options options = {.pattern = NULL};
    assert_ok(data_bpe_open(&gpt2, TESTS_DIR "/data/tokenizer/gpt2_vocab.bpe.gz", &options));
    write_full();
    write_induction_run(in_scratch("tokens"), gpt2, false, NULL);
    data_vocabulary_destroy(gpt2);
    assert_niah("tokens --text book.txt --lengths 300 --samples 3 --answer-tokens 40 --json");
    json_t *object = result();
    assert_model(object, 0, "tokens", 0, 1, 3, 3);
    json_decref(object);
    assert_niah("tokens --lengths 300 --samples 3 --answer-tokens 40 --write some.jsonl");
    char *some = slurp(NULL, in_scratch("some.jsonl"));
    assert_true(strlen(some) > 3 * 900);
    free(some);
    assert_refused(2, "different vocabularies", "full tokens");
}

/* What --write wrote, --ruler reads; a sample whose answer is not in its text is not found, and the
 * standard error is that of 0, 1, 1, 1, 1. */
static void test_ruler_files(void **state) {
    (void)state;
    write_full();
    assert_niah("full --text book.txt --tasks 2 --lengths 500 --samples 4 --write four.jsonl");
    char *four = slurp(NULL, in_scratch("four.jsonl"));
    assert_non_null(strstr(four, "\"answer_prefix\":\"The number kept for "));
    static const char strange[] = "{\"index\": 9, \"input\": \"Nothing is said.\\n\", \"outputs\": "
                                  "[\"1234567\"], \"length\": "
                                  "30, \"length_w_model_temp\": 30, \"answer_prefix\": \"It is\", "
                                  "\"token_position_answer\": 0, \"more\": 1}\n";
    char *five = train_text("%s%s", four, strange);
    spill(in_scratch("five.jsonl"), five, strlen(five));
    assert_niah(
        "full --ruler five.jsonl --ruler four.jsonl --answer-tokens 20 --csv cells.csv --json");
    json_t *object = result();
    const json_t *rows =
        json_object_get(json_array_get(json_object_get(object, "models"), 0), "results");
    const double mean[] = {0.8, 1}, error[] = {0.2, 0};
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = json_array_get(rows, i);
        assert_string_equal(json_string_value(json_object_get(row, "task")),
                            i ? "four.jsonl" : "five.jsonl");
        assert_true(fabs(json_number_value(json_object_get(row, "mean")) - mean[i]) < 1e-12);
        assert_true(fabs(json_number_value(json_object_get(row, "standard_error")) - error[i]) <
                    1e-12);
    }
    json_decref(object);
    assert_contains("cells.csv", "full,five.jsonl,391,,1,0.000000\n");
    free(five);

    char *at = strstr(strstr(four, "\n") + 1, "\"outputs\"");
    at[1] = 'O';
    spill(in_scratch("bad.jsonl"), four, strlen(four));
    free(four);
    assert_refused(1, "bad.jsonl, line 2: no field \"outputs\"", "full --ruler bad.jsonl");
    spill(in_scratch("empty.jsonl"), "\n", 1);
    assert_refused(1, "empty.jsonl has no samples", "full --ruler empty.jsonl");
    assert_refused(2, "is read several times", "full --ruler - <five.jsonl");
    assert_int_equal(mkfifo(in_scratch("pipe"), 0600), 0);
    assert_refused(2, "pipe: is read several times", "full --ruler pipe");
}

static void test_refused(void **state) {
    (void)state;
    write_full();
    static const char *const foreign[] = {"model.bos=-1", NULL};
    write_induction_run(in_scratch("foreign"), data_vocabulary_byte(), false, foreign);
    assert_refused(2, "neither a run", "nowhere");
    assert_refused(2, "--text", "full --tasks 2");
    assert_refused(2, "--tasks: '1,4'", "full --tasks 1,4");
    assert_refused(2, "--lengths: '5x'", "full --lengths 5x");
    assert_refused(2, "a length of 300 tokens has no room", "full --lengths 300");
    assert_refused(2, "from 1 on", "full --samples 0");
    assert_refused(2, "leave out", "full --ruler x.jsonl --tasks 1");
    assert_refused(1, "gone.txt", "full --text gone.txt");
    assert_refused(2, "one of them without begin", "full foreign");
    assert_refused(1, "no-folder", "full --write no-folder/x.jsonl --lengths 400");
    assert_int_equal(train_write_file(in_scratch("mine"), "a text", 6), KERN_OK);
    assert_refused(2, "would destroy mine", "full --text mine --write mine --force");
    assert_refused(2, "would destroy mine", "full --ruler mine --csv mine --force");
    assert_refused(2, "is there and is not a table", "full --csv mine");
    /* Before anything is asked. */
    static const char *const places[] = {"--csv no-folder/x", "--png no-folder/x", "--csv ."};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *words = train_text("full --lengths 400 --samples 1 %s", places[i]);
        assert_refused(1, i < 2 ? "no-folder/x: cannot be written" : "is a folder", words);
        free(words);
        char *err = slurp(NULL, in_scratch("err"));
        assert_null(strstr(err, "samples"));
        free(err);
    }
}

/* Ctrl-C while samples are asked: what is known is printed, nothing is written, the code is 130. */
static void test_interrupt(void **state) {
    (void)state;
    write_full();
    pid_t child = fork();
    if (child == 0) {
        alarm(300); /* no test that fails waits for ever */
        if (chdir(scratch) || !freopen("out", "w", stdout) || !freopen("err", "w", stderr))
            _exit(99);
        execl(TTT_PROGRAM, "ttt", "niah", "full", "--lengths", "440", "--samples", "100000",
              "--csv", "cells.csv", (char *)NULL);
        _exit(99);
    }
    assert_true(child > 0);
    for (int tries = 0;; tries++) { /* samples are asked once the first one shows */
        assert_true(tries < 3000);
        usleep(100000);
        char *err = slurp(NULL, in_scratch("err"));
        bool asked = strstr(err, " samples") != NULL;
        free(err);
        if (asked) break;
    }
    assert_int_equal(kill(child, SIGINT), 0);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 130);
    assert_contains("err", "full was stopped after ");
    assert_contains("out", " 440   100000   1.0000");
    assert_int_equal(access(in_scratch("cells.csv"), F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_scores),  SCRATCH_TEST(test_tokens),    SCRATCH_TEST(test_ruler_files),
        SCRATCH_TEST(test_refused), SCRATCH_TEST(test_interrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
