#include "tests/kernels/cuda/ptx_words.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"

_Noreturn void ptx_fail(const ptx_kernel *kernel, const char *text, const char *what) {
    char all[1024];
    snprintf(all, sizeof all, "ptx: %s: %s: %s: %s", kernel ? kernel->from : "",
             kernel ? kernel->name : "", what, text);
    kern_assert_failed(all, __FILE__, __LINE__);
}

char *ptx_copy_of(const char *text, size_t length) {
    char *copy = kern_array((int64_t)length + 1, 1);
    memcpy(copy, text, length);
    return copy;
}

/* ---- names ---- */

static ptx_name **bucket_of(ptx_reader *r, const char *text) {
    uint32_t hash = 2166136261u;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
    return &r->bucket[hash % PTX_BUCKETS];
}

ptx_name *ptx_look(ptx_reader *r, const char *text) {
    for (ptx_name *n = *bucket_of(r, text); n; n = n->next)
        if (!strcmp(n->text, text)) return n;
    return NULL;
}

ptx_name *ptx_declare(ptx_reader *r, const char *text, int slot) {
    ptx_name *n = kern_array(1, sizeof *n + strlen(text) + 1), **bucket = bucket_of(r, text);
    strcpy(n->text, text);
    n->slot = slot;
    n->next = *bucket;
    n->before = r->last;
    *bucket = r->last = n;
    return n;
}

void ptx_forget(ptx_reader *r, const ptx_name *until) {
    while (r->last != until) {
        ptx_name *n = r->last;
        *bucket_of(r, n->text) = n->next;
        r->last = n->before;
        free(n);
    }
}

int ptx_constant_slot(ptx_reader *r, uint64_t value) {
    ptx_kernel *k = r->kernel;
    for (int64_t i = 0; i < k->constants; i++)
        if (k->constant[i].value == value) return k->constant[i].slot;
    k->constant =
        kern_grow(k->constant, &k->constant_capacity, k->constants + 1, sizeof *k->constant);
    k->constant[k->constants++] = (ptx_constant){k->slots, value};
    return k->slots++;
}

/* ---- words ---- */

void ptx_skip(ptx_reader *r) {
    for (;;) {
        while (isspace((unsigned char)*r->at)) r->at++;
        if (r->at[0] == '/' && r->at[1] == '/')
            r->at += strcspn(r->at, "\n");
        else if (r->at[0] == '/' && r->at[1] == '*')
            r->at = strstr(r->at, "*/") + 2;
        else
            return;
    }
}

bool ptx_is_name(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.' || c == ':';
}

const char *ptx_word(ptx_reader *r, char *text) {
    size_t length = 0;
    ptx_skip(r);
    while (ptx_is_name(r->at[length])) length++;
    if (!length && *r->at) length = 1;
    if (length >= PTX_NAME) ptx_fail(r->kernel, r->at, "a name that is too long");
    memcpy(text, r->at, length);
    text[length] = '\0';
    r->at += length;
    return text;
}

bool ptx_take(ptx_reader *r, char c) {
    ptx_skip(r);
    if (*r->at != c) return false;
    r->at++;
    return true;
}

void ptx_want(ptx_reader *r, char c) {
    char line[80];
    snprintf(line, sizeof line, "%.60s", r->at);
    if (!ptx_take(r, c)) ptx_fail(r->kernel, line, "not as expected");
}

int64_t ptx_number(ptx_reader *r) {
    char *end;
    ptx_skip(r);
    int64_t value = strtoll(r->at, &end, 0);
    if (end == r->at) ptx_fail(r->kernel, "a number", "missing");
    r->at = end;
    return value;
}

int ptx_bytes_of(ptx_reader *r, const char *type) {
    static const char *const known[] = {".pred", ".b8",  ".u8",  ".s8",  ".b16",
                                        ".u16",  ".s16", ".b32", ".u32", ".s32",
                                        ".f32",  ".b64", ".u64", ".s64", ".f64"};
    static const int bytes[] = {1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        if (!strcmp(type, known[i])) return bytes[i];
    ptx_fail(r->kernel, type, "a type that is not known");
}
