/* The words of a text of PTX, and what its names stand for (ptx_parse.c). */
#ifndef TESTS_KERNELS_CUDA_PTX_WORDS_H
#define TESTS_KERNELS_CUDA_PTX_WORDS_H

#include "tests/kernels/cuda/ptx_code.h"

enum { PTX_NAME = 128, PTX_BUCKETS = 4096, PTX_DEPTH = 64 };

/* A register or a constant, or a label. */
typedef struct ptx_name {
    struct ptx_name *next, *before; /* in its bucket; that was made before it */
    int slot;                       /* -1: a label */
    int64_t place;                  /* of a label */
    char text[];
} ptx_name;

/* A branch, before all labels are known. */
typedef struct {
    int64_t instruction;
    char *name;
} ptx_jump;

/* Shared memory that all kernels of the text see. */
typedef struct {
    char *name;
    uint64_t address;
    bool last; /* instead: what a launch asks for */
} ptx_variable;

/* A text under way. */
typedef struct {
    const char *at, *from;
    ptx_name *bucket[PTX_BUCKETS], *last;
    ptx_name *outer[PTX_DEPTH]; /* the last name when a brace was opened */
    int depth;
    ptx_kernel *kernel;
    ptx_jump *jump;
    ptx_variable *variable;
    int64_t jumps, jump_capacity, variables, variable_capacity;
    size_t shared_bytes;
} ptx_reader;

char *ptx_copy_of(const char *text, size_t length);

/* Names of the kernel that is read. Those that were made after `until` are forgotten, all if it is
 * NULL. */
ptx_name *ptx_look(ptx_reader *reader, const char *text);
ptx_name *ptx_declare(ptx_reader *reader, const char *text, int slot);
void ptx_forget(ptx_reader *reader, const ptx_name *until);

/* The slot of a value: one for each. */
int ptx_constant_slot(ptx_reader *reader, uint64_t value);

/* What stands next, behind blanks and comments. A word: a name, with its points, of less than
 * PTX_NAME characters, or one other character. take: this character, if it stands there. want: it
 * is a fault if it does not. */
void ptx_skip(ptx_reader *reader);
bool ptx_is_name(char c);
const char *ptx_word(ptx_reader *reader, char *text);
bool ptx_take(ptx_reader *reader, char c);
void ptx_want(ptx_reader *reader, char c);
int64_t ptx_number(ptx_reader *reader);

/* 4 of ".u32". */
int ptx_bytes_of(ptx_reader *reader, const char *type);

#endif
