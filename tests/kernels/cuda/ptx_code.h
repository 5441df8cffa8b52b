/* PTX as it is run: a kernel's instructions, whose operands are slots. A slot is a register of 64
 * bits in each of 32 lanes; constants and special registers have slots, too. A register that is
 * narrower may have any bits above: whatever reads it looks at those of its type. */
#ifndef TESTS_KERNELS_CUDA_PTX_CODE_H
#define TESTS_KERNELS_CUDA_PTX_CODE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/kernels/cuda/ptx.h"

enum { PTX_LANES = 32, PTX_MOST_THREADS = 1024, PTX_SLOTS = 16 };
#define PTX_ALL 0xffffffffu

/* Slots of special registers, in this order. */
#define PTX_SPECIAL(X)                                                                             \
    X(TID_X, "%tid.x")                                                                             \
    X(NTID_X, "%ntid.x")                                                                           \
    X(CTAID_X, "%ctaid.x")                                                                         \
    X(CTAID_Y, "%ctaid.y")                                                                         \
    X(CTAID_Z, "%ctaid.z")                                                                         \
    X(LANEID, "%laneid")
#define PTX_NAMED(name, text) PTX_##name,
enum { PTX_SPECIAL(PTX_NAMED) PTX_SPECIALS };
#undef PTX_NAMED

typedef enum {
    PTX_COMPUTE, /* one result, of the lane's own operands */
    PTX_PACK,    /* one register of several, the lowest first */
    PTX_UNPACK,
    PTX_LOAD,
    PTX_STORE,
    PTX_COPY, /* cp.async */
    PTX_COMMIT,
    PTX_WAIT,
    PTX_BRANCH,
    PTX_RETURN,
    PTX_BARRIER, /* this and all below want all lanes of a warp */
    PTX_SYNC,
    PTX_SHUFFLE,
    PTX_BALLOT,
    PTX_MATRIX, /* ldmatrix */
    PTX_MMA
} ptx_kind;

typedef enum { PTX_GENERIC, PTX_GLOBAL, PTX_SHARED, PTX_LOCAL, PTX_PARAM } ptx_space;

/* Addresses begin there in their space, and as generic ones so much further on. No space's
 * addresses are another's. */
#define PTX_SHARED_BASE 0x410u
#define PTX_LOCAL_BASE 0x20000010u
#define PTX_PARAM_BASE 0x30000010u
#define PTX_SHARED_WINDOW 0x7100000040000000u
#define PTX_LOCAL_WINDOW 0x7200000040000000u
#define PTX_PARAM_WINDOW 0x7300000040000000u

/* The result of up to four operands. */
typedef uint64_t ptx_function(uint64_t a, uint64_t b, uint64_t c, uint64_t d);

typedef struct {
    ptx_kind kind;
    ptx_function *compute;
    ptx_space space;
    int bytes; /* of an element of a load, store, PACK or UNPACK; of a copy */
    bool is_signed, transposed;
    int guard; /* a slot; -1: none */
    bool guard_not;
    int results, sources;
    int slot[PTX_SLOTS]; /* results, then sources: of memory the address first */
    int64_t offset;      /* to be added to the address */
    int64_t target;      /* of a branch; how many groups WAIT leaves */
    const char *text;    /* of it */
} ptx_instruction;

typedef struct {
    int slot;
    uint64_t value;
} ptx_constant;

struct ptx_kernel {
    const ptx_kernel *next;
    char *name;
    const char *from;
    ptx_instruction *code;
    int64_t count, capacity;
    ptx_constant *constant;
    int64_t constants, constant_capacity;
    int slots, most_threads;
    size_t argument_bytes, local_bytes;
    size_t shared_bytes; /* without what a launch asks for, which begins there, aligned to 16 */
    int shared_unit;     /* the least number of bytes that it reads or writes of shared memory */
};

/* What an instruction of this name does to a lane: its function and number of operands. False:
 * nothing is known of it (ptx_compute.c). */
bool ptx_look_up(const char *name, ptx_function **compute, int *sources);

/* Ends the program. */
_Noreturn void ptx_fail(const ptx_kernel *kernel, const char *text, const char *what);

#endif
