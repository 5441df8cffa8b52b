#include "data/needle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void data_needle_clear(data_needle *sample) {
    for (int64_t i = 0; i < sample->output_count; i++) free(sample->outputs[i]);
    free(sample->outputs);
    free(sample->input);
    free(sample->prefix);
    *sample = (data_needle){.index = 0};
}

char *data_needle_prompt(const data_needle *sample) {
    size_t input = strlen(sample->input), prefix = strlen(sample->prefix);
    char *prompt = kern_array((int64_t)(input + prefix + 1), 1);
    memcpy(prompt, sample->input, input);
    memcpy(prompt + input, sample->prefix, prefix + 1);
    return prompt;
}

/* As the C locale's tolower, whatever the locale. */
static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool contains(const char *text, int64_t bytes, const char *part) {
    int64_t length = (int64_t)strlen(part);
    for (int64_t at = 0; at + length <= bytes; at++) {
        int64_t same = 0;
        while (same < length && lower(text[at + same]) == lower(part[same])) same++;
        if (same == length) return true;
    }
    return false;
}

double data_needle_score(const data_needle *sample, const char *answer, int64_t bytes) {
    int64_t found = 0;
    for (int64_t i = 0; i < sample->output_count; i++)
        found += contains(answer, bytes, sample->outputs[i]);
    return (double)found / (double)sample->output_count;
}

double data_needle_depth(const data_needle *sample) {
    const char *found = strstr(sample->input, sample->outputs[0]);
    return found ? 100 * (double)(found - sample->input) / (double)strlen(sample->input) : -1;
}

int data_needle_depth_of(int64_t i, int64_t count) {
    ASSERT(i >= 0 && i < count);
    return count < 2 ? 0 : (int)rint(100 * (double)i / (double)(count - 1));
}
