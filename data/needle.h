/* Needles in haystacks: a sentence that says which value is kept for a key, hidden in a text; a
 * question for that value; and the beginning of the answer, which a model has to continue. The
 * structure and the file format are those of RULER's three single-needle tasks (S-NIAH-1, 2, 3),
 * the words are our own. All functions are local; one thread at a time. */
#ifndef DATA_NEEDLE_H
#define DATA_NEEDLE_H

#include "data/vocabulary.h"

/* One sample; begin with zeros. The prompt is `input` followed by `prefix`. Texts are UTF-8 without
 * zero bytes and belong to the sample. */
typedef struct {
    int64_t index;
    char *input, *prefix;
    char **outputs; /* [output_count]: the references, of which an answer should hold all */
    int64_t output_count;
    int64_t length;        /* tokens of prompt and answer, as its maker counted them */
    int64_t length_w_temp; /* the same with the maker's chat template; equal to length here */
    int64_t position;      /* tokens of the input before the first reference; -1: not known */
} data_needle;

void data_needle_clear(data_needle *sample); /* leaves zeros */

/* The prompt as text; free(). */
char *data_needle_prompt(const data_needle *sample);

/* The share of the references that the answer [bytes] contains, where the letters A to Z count as
 * a to z: 0..1. */
double data_needle_score(const data_needle *sample, const char *answer, int64_t bytes);

/* Where in its input the first reference begins, in percent of the input's bytes; -1 where it does
 * not occur. */
double data_needle_depth(const data_needle *sample);

enum { DATA_NEEDLE_TASKS = 3 };

/* A sample is a function of these, of the text and of the vocabulary alone; the key, the value and
 * where in the text the haystack begins do not depend on the depth. */
typedef struct {
    int task; /* 1: a number of 7 digits in a repeated line of noise; 2: one in the text; 3: a UUID
                 (version 4) in the text */
    int64_t length;        /* tokens of begin-of-document, prompt and answer together, at most */
    int64_t answer_tokens; /* of them for the answer */
    int depth; /* percent of the haystack's sentences (lines of noise) before it: 0..100 */
    int64_t index;
    uint64_t seed;
} data_needle_spec;

typedef struct data_needle_maker data_needle_maker;

/* text_path: the haystack of tasks 2 and 3, a file as ttt pack reads it (gzipped or not, or lines
 * of .jsonl with a field "text"); white space between words becomes one space, and bytes that are
 * not UTF-8 question marks. NULL: task 1 alone. begin: prompts are read behind a begin-of-document
 * token. The vocabulary must outlive the maker. Errors: KERN_ERR_FILE, KERN_ERR_DATA (a text
 * without words), KERN_ERR_MEMORY; *maker is then NULL. */
kern_status data_needle_maker_create(data_needle_maker **maker, const data_vocabulary *vocabulary,
                                     const char *text_path, bool begin);
void data_needle_maker_destroy(data_needle_maker *maker); /* NULL is fine */

/* The sample with the longest haystack, in words (in lines of noise), that keeps to the length. A
 * text that ends begins again. Errors: KERN_ERR_USAGE where the length has no room for needle,
 * question and answer, or the task needs a text; *sample is then empty. */
kern_status data_needle_make(data_needle *sample, data_needle_maker *maker,
                             const data_needle_spec *spec);

/* The i-th of `count` depths: 0..100 in equal steps, rounded; 0 where there is only one. */
int data_needle_depth_of(int64_t i, int64_t count);

/* Random numbers of a sample, and its key, such as "calm-harbour", into text [64]. Inside of
 * data/needle*.c. */
uint64_t data_needle_random(uint64_t *state);
void data_needle_key(char *text, uint64_t *state);

/* RULER's files. */
typedef struct data_needle_reader data_needle_reader;

/* Compressed or not. Errors: those of data_stream_open; *reader is then NULL. */
kern_status data_needle_reader_open(data_needle_reader **reader, const char *path);
void data_needle_reader_close(data_needle_reader *reader); /* NULL is fine */

/* The next sample; *more is false behind the last. Empty lines do not count, fields beyond RULER's
 * are ignored, as is a byte order mark before the first line. Files of 2024 have no answer_prefix
 * (then ""), length_w_model_temp (then length) and token_position_answer (then -1). Errors:
 * KERN_ERR_DATA with path, line number and field where a line is no JSON object with the fields
 * index, input, outputs, length and, where they are there, these three; those of
 * data_stream_read. *sample is then empty. */
kern_status data_needle_read(data_needle *sample, bool *more, data_needle_reader *reader);

/* The sample as such a line, without its newline; free(). NULL: no memory. */
char *data_needle_line(const data_needle *sample);

#endif
