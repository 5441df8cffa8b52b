#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/documents.h"
#include "data/needle.h"
#include "data/utf8.h"

static const char noise[] = "The road is long. The wind is in the trees. The sheep are on the "
                            "hill. We walk, and then we walk back.";

typedef struct {
    int64_t begin, end; /* bytes of the text */
    bool ends_sentence;
} word;

struct data_needle_maker {
    const data_vocabulary *vocabulary;
    data_encoder *encoder;
    data_tokens tokens;
    int64_t begin; /* tokens before the prompt: 0 or 1 */
    char *text;
    int64_t text_bytes, text_capacity;
    word *words;
    int64_t word_count, word_capacity;
    int64_t *sentences; /* the first word of each */
    int64_t sentence_count, sentence_capacity;
    char *built; /* the text of the sample that is being tried */
    int64_t built_bytes, built_capacity;
};

/* What the tasks are called in the texts, and the parts of a sample that do not depend on n. */
typedef struct {
    const char *kind; /* "number" */
    char key[64], value[40], needle[160];
    int64_t first; /* the sentence where the haystack begins */
} draft;

static bool is_space(char c) {
    return (unsigned char)c <= ' ' || c == 0x7F;
}

/* "end." and "end!')" end a sentence. */
static bool ends_sentence(const char *text, int64_t begin, int64_t end) {
    while (end > begin && strchr("\"')]*_", text[end - 1])) end--;
    return end > begin && strchr(".!?", text[end - 1]) != NULL;
}

static void add_word(data_needle_maker *maker, int64_t begin, int64_t end) {
    if (begin == end) return;
    bool first = maker->word_count == 0 || maker->words[maker->word_count - 1].ends_sentence;
    if (first) {
        maker->sentences = kern_grow(maker->sentences, &maker->sentence_capacity,
                                     maker->sentence_count + 1, sizeof *maker->sentences);
        maker->sentences[maker->sentence_count++] = maker->word_count;
    }
    maker->words =
        kern_grow(maker->words, &maker->word_capacity, maker->word_count + 1, sizeof *maker->words);
    maker->words[maker->word_count++] = (word){begin, end, ends_sentence(maker->text, begin, end)};
}

static void replace_foreign_bytes(char *text, int64_t bytes) {
    for (int64_t at = data_utf8_prefix(text, bytes); at < bytes;
         at += data_utf8_prefix(text + at, bytes - at))
        text[at] = '?';
}

static void find_words(data_needle_maker *maker) {
    int64_t begin = 0;
    replace_foreign_bytes(maker->text, maker->text_bytes);
    for (int64_t at = 0; at < maker->text_bytes; at++) {
        if (!is_space(maker->text[at])) continue;
        add_word(maker, begin, at);
        begin = at + 1;
    }
    add_word(maker, begin, maker->text_bytes);
    if (maker->word_count) maker->words[maker->word_count - 1].ends_sentence = true;
}

static kern_status read_text(data_needle_maker *maker, const char *path) {
    enum { PART = 1 << 16 };
    kern_status status = KERN_OK;
    data_documents *documents = NULL;
    char *paths[] = {strdup(path)};
    ASSERT(paths[0]);
    TRY(data_documents_create(&documents, paths, 1, &(data_documents_options){0}));
    for (;;) {
        data_document_part part;
        maker->text =
            kern_grow(maker->text, &maker->text_capacity, maker->text_bytes + PART + 1, 1);
        TRY(data_documents_read(&part, maker->text + maker->text_bytes, documents, PART));
        if (part.file < 0) break;
        maker->text_bytes += part.bytes;
        if (part.ends) maker->text[maker->text_bytes++] = '\n';
    }
    find_words(maker);
    if (maker->word_count == 0)
        TRY(kern_fail(KERN_ERR_DATA, "%s has no words to hide anything in; name a book", path));
done:
    data_documents_destroy(documents);
    free(paths[0]);
    return status;
}

kern_status data_needle_maker_create(data_needle_maker **out, const data_vocabulary *vocabulary,
                                     const char *text_path, bool begin) {
    kern_status status = KERN_OK;
    data_needle_maker *maker = NULL;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&maker, sizeof *maker, "a maker of needles"));
    maker->vocabulary = vocabulary;
    maker->begin = begin;
    TRY(data_encoder_create(&maker->encoder, vocabulary));
    if (text_path) TRY(read_text(maker, text_path));
    *out = maker;
    maker = NULL;
done:
    data_needle_maker_destroy(maker);
    return status;
}

void data_needle_maker_destroy(data_needle_maker *maker) {
    if (!maker) return;
    data_encoder_destroy(maker->encoder);
    free(maker->tokens.ids);
    free(maker->text);
    free(maker->words);
    free(maker->sentences);
    free(maker->built);
    kern_free(maker);
}

static void put(data_needle_maker *maker, const char *text, int64_t bytes) {
    maker->built =
        kern_grow(maker->built, &maker->built_capacity, maker->built_bytes + bytes + 1, 1);
    memcpy(maker->built + maker->built_bytes, text, (size_t)bytes);
    maker->built_bytes += bytes;
    maker->built[maker->built_bytes] = 0;
}

static void put_text(data_needle_maker *maker, const char *text) {
    put(maker, text, (int64_t)strlen(text));
}

/* So many lines, the needle as a line of its own at its depth. */
static void put_noise(data_needle_maker *maker, const draft *d, int64_t lines, int depth) {
    int64_t place = lines * depth / 100;
    for (int64_t i = 0; i <= lines; i++) {
        if (i == place) {
            put_text(maker, d->needle);
            put_text(maker, "\n");
        }
        if (i == lines) break;
        put_text(maker, noise);
        put_text(maker, "\n");
    }
}

static const word *word_at(const data_needle_maker *maker, const draft *d, int64_t i) {
    return &maker->words[(maker->sentences[d->first] + i) % maker->word_count];
}

/* So many words, the needle between two of their sentences (the last may be cut short). */
static void put_words(data_needle_maker *maker, const draft *d, int64_t count, int depth) {
    int64_t sentences = 0, passed = 0;
    for (int64_t i = 0; i < count; i++)
        sentences += i + 1 == count || word_at(maker, d, i)->ends_sentence;
    int64_t place = sentences * depth / 100;
    bool starts = true;
    for (int64_t i = 0; i <= count; i++) {
        if (starts && passed == place) {
            put_text(maker, d->needle);
            put_text(maker, i == count ? "\n" : " ");
        }
        if (i == count) break;
        const word *w = word_at(maker, d, i);
        put(maker, maker->text + w->begin, w->end - w->begin);
        starts = i + 1 == count || w->ends_sentence;
        passed += starts;
        put_text(maker, i + 1 == count && passed != place ? "\n" : " ");
    }
}

/* The whole prompt with a haystack of n words or lines: maker->built. */
static void build(data_needle_maker *maker, const draft *d, int64_t n,
                  const data_needle_spec *spec) {
    char text[256];
    maker->built_bytes = 0;
    snprintf(text, sizeof text,
             "Somewhere in this text it says which %s is kept for whom. Keep it in mind: that is "
             "what will be asked.\n",
             d->kind);
    put_text(maker, text);
    if (spec->task == 1)
        put_noise(maker, d, n, spec->depth);
    else
        put_words(maker, d, n, spec->depth);
    snprintf(text, sizeof text, "Which %s does the text keep for %s?\n", d->kind, d->key);
    put_text(maker, text);
}

static void put_prefix(data_needle_maker *maker, const draft *d) {
    char text[256];
    snprintf(text, sizeof text, "The %s kept for %s is", d->kind, d->key);
    put_text(maker, text);
}

static kern_status count_tokens(int64_t *count, data_needle_maker *maker, const char *text,
                                int64_t bytes) {
    int64_t consumed;
    maker->tokens.count = 0;
    kern_status status =
        data_encode(&maker->tokens, &consumed, maker->encoder, text, bytes, true, false);
    *count = maker->tokens.count;
    return status;
}

/* Tokens of begin, prompt and answer with a haystack of n. */
static kern_status measure(int64_t *length, data_needle_maker *maker, const draft *d, int64_t n,
                           const data_needle_spec *spec) {
    build(maker, d, n, spec);
    put_prefix(maker, d);
    kern_status status = count_tokens(length, maker, maker->built, maker->built_bytes);
    *length += maker->begin + spec->answer_tokens;
    return status;
}

/* The largest n that keeps to the length: found by doubling, then halving. */
static kern_status fit(int64_t *n, data_needle_maker *maker, const draft *d,
                       const data_needle_spec *spec) {
    kern_status status = KERN_OK;
    int64_t length, fits = 0, beyond = 16;
    TRY(measure(&length, maker, d, 0, spec));
    if (length > spec->length)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "a length of %" PRId64
                      " tokens has no room for task %d: needle, question and "
                      "%" PRId64 " tokens of answer are %" PRId64 "; take longer ones, or fewer "
                      "tokens of answer (--answer-tokens)",
                      spec->length, spec->task, spec->answer_tokens, length));
    for (;; beyond *= 2) {
        TRY(measure(&length, maker, d, beyond, spec));
        if (length > spec->length) break;
        fits = beyond;
    }
    while (beyond - fits > 1) {
        int64_t middle = fits + (beyond - fits) / 2;
        TRY(measure(&length, maker, d, middle, spec));
        if (length > spec->length)
            beyond = middle;
        else
            fits = middle;
    }
    *n = fits;
done:
    return status;
}

static void draw(draft *d, const data_needle_maker *maker, const data_needle_spec *spec) {
    uint64_t state = spec->seed;
    const uint64_t of[] = {(uint64_t)spec->task, (uint64_t)spec->length, (uint64_t)spec->index};
    for (int i = 0; i < 3; i++) state = data_needle_random(&state) ^ of[i];
    d->kind = spec->task == 3 ? "code" : "number";
    data_needle_key(d->key, &state);
    uint64_t a = data_needle_random(&state), b = data_needle_random(&state);
    if (spec->task == 3)
        snprintf(d->value, sizeof d->value, "%08x-%04x-4%03x-%04x-%012" PRIx64, (unsigned)(a >> 32),
                 (unsigned)(a >> 16 & 0xFFFF), (unsigned)(a & 0xFFF),
                 (unsigned)(b >> 48 & 0x3FFF) | 0x8000u, b & 0xFFFFFFFFFFFFu);
    else
        snprintf(d->value, sizeof d->value, "%" PRIu64, 1000000 + a % 9000000);
    snprintf(d->needle, sizeof d->needle, "The %s kept for %s is %s.", d->kind, d->key, d->value);
    uint64_t place = data_needle_random(&state);
    d->first = maker->sentence_count ? (int64_t)(place % (uint64_t)maker->sentence_count) : 0;
}

kern_status data_needle_make(data_needle *sample, data_needle_maker *maker,
                             const data_needle_spec *spec) {
    kern_status status = KERN_OK;
    draft d;
    int64_t n;
    *sample = (data_needle){.index = spec->index};
    ASSERT(spec->task >= 1 && spec->task <= DATA_NEEDLE_TASKS);
    ASSERT(spec->depth >= 0 && spec->depth <= 100);
    if (spec->task > 1 && maker->word_count == 0)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "task %d hides its needle in a text; name one: --text BOOK.txt", spec->task));
    draw(&d, maker, spec);
    TRY(fit(&n, maker, &d, spec));
    TRY(measure(&sample->length, maker, &d, n, spec));
    sample->length_w_temp = sample->length;
    build(maker, &d, n, spec);
    sample->input = strdup(maker->built);
    maker->built_bytes = 0;
    put_prefix(maker, &d);
    sample->prefix = strdup(maker->built);
    sample->outputs = kern_array(1, sizeof *sample->outputs);
    ASSERT(sample->input && sample->prefix);
    sample->outputs[sample->output_count++] = strdup(d.value);
    TRY(count_tokens(&sample->position, maker, sample->input,
                     strstr(sample->input, d.needle) + strlen(d.needle) - 1 - strlen(d.value) -
                         sample->input));
done:
    if (status != KERN_OK) data_needle_clear(sample);
    return status;
}
