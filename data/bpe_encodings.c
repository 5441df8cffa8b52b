#include "data/bpe_pattern.h"

#include <string.h>

#define ENGLISH "'s|'t|'re|'ve|'m|'ll|'d"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 ENGLISH "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CASELESS(digits)                                                                           \
    "(?i:" ENGLISH ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                                       \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define CL100K CASELESS("\\p{N}{1,3}")
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K                                                                                      \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+(?i:" ENGLISH ")?"                                  \
    "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*(?i:" ENGLISH ")?"                                 \
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES

static const data_special gpt2[] = {{50256, "<|endoftext|>"}, {0, NULL}};

static const data_special cl100k[] = {
    {100257, "<|endoftext|>"},  {100258, "<|fim_prefix|>"},  {100259, "<|fim_middle|>"},
    {100260, "<|fim_suffix|>"}, {100276, "<|endofprompt|>"}, {0, NULL},
};

static const data_special o200k[] = {
    {199999, "<|endoftext|>"}, {200018, "<|endofprompt|>"}, {0, NULL}};

static const data_special qwen2[] = {
    {151643, "<|endoftext|>"}, {151644, "<|im_start|>"}, {151645, "<|im_end|>"}, {0, NULL}};

static const data_special llama3[] = {
    {128000, "<|begin_of_text|>"},
    {128001, "<|end_of_text|>"},
    {128004, "<|finetune_right_pad_id|>"},
    {128005, "<|step_id|>"},
    {128006, "<|start_header_id|>"},
    {128007, "<|end_header_id|>"},
    {128008, "<|eom_id|>"},
    {128009, "<|eot_id|>"},
    {128010, "<|python_tag|>"},
    {128011, "<|image|>"},
    {0, NULL},
};

static const data_special llama4[] = {
    {200000, "<|begin_of_text|>"},
    {200001, "<|end_of_text|>"},
    {200002, "<|fim_prefix|>"},
    {200003, "<|fim_middle|>"},
    {200004, "<|fim_suffix|>"},
    {200005, "<|header_start|>"},
    {200006, "<|header_end|>"},
    {200007, "<|eom|>"},
    {200008, "<|eot|>"},
    {200009, "<|step|>"},
    {200016, "<|python_start|>"},
    {200017, "<|python_end|>"},
    {200018, "<|finetune_right_pad|>"},
    {200080, "<|image_start|>"},
    {200081, "<|image_end|>"},
    {200090, "<|image|>"},
    {200092, "<|patch|>"},
    {201142, "<|reasoning_thinking_start|>"},
    {201143, "<|reasoning_thinking_end|>"},
    {0, NULL},
};

static const data_bpe_encoding encodings[] = {
    {"gpt2", GPT2, DATA_BPE_WORDS_SPACE, 50256, 50257, "<|endoftext|>", gpt2},
    {"r50k_base", GPT2, DATA_BPE_WORDS_SPACE, 50256, 50257, "<|endoftext|>", gpt2},
    {"p50k_base", GPT2, DATA_BPE_WORDS_SPACE, 50280, 50281, "<|endoftext|>", gpt2},
    {"cl100k_base", CL100K, DATA_BPE_WORDS_LED, 100256, 100277, "<|endoftext|>", cl100k},
    {"o200k_base", O200K, DATA_BPE_WORDS_CAPPED, 199998, 200019, "<|endoftext|>", o200k},
    {"llama3", CL100K, DATA_BPE_WORDS_LED, 128000, 128256, "<|begin_of_text|>", llama3},
    {"qwen2", CASELESS("\\p{N}"), DATA_BPE_WORDS_LED, 151643, 151646, "<|endoftext|>", qwen2},
    {"llama4", O200K, DATA_BPE_WORDS_CAPPED, 200000, 202048, "<|begin_of_text|>", llama4},
};
enum { ENCODINGS = sizeof encodings / sizeof *encodings };

const data_bpe_encoding *data_bpe_encoding_named(const char *name) {
    for (int i = 0; i < ENCODINGS; i++)
        if (!strcmp(encodings[i].name, name)) return &encodings[i];
    return NULL;
}

const data_bpe_encoding *data_bpe_encoding_like(const char *regex, int64_t tokens) {
    for (int i = 0; i < ENCODINGS; i++)
        if ((!regex || !strcmp(encodings[i].regex, regex)) &&
            (!tokens || encodings[i].tokens == tokens))
            return &encodings[i];
    return NULL;
}

const char *data_bpe_encoding_names(void) {
    return "gpt2, r50k_base, p50k_base, cl100k_base, o200k_base, llama3, llama4, qwen2";
}
