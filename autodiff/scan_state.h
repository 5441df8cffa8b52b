/* What scan.c (what is compiled), scan_keep.c (what is kept), scan_memory.c (what it takes) and
 * scan_run.c (the loops) share. Internal. */
#ifndef AUTODIFF_SCAN_STATE_H
#define AUTODIFF_SCAN_STATE_H

#include "autodiff/op.h"
#include "autodiff/scan.h"

/* Body and its vjp have two forms. FORM_FULL makes a next carry, and keys and values for later
 * chunks; FORM_LAST does not: the last chunk has it, and every chunk of a scan that hands nothing
 * on.
 * Segments are another thing: the chunks from one saved carry to the next, `every` of them but in
 * the last segment, which ends with the last chunk. The reverse goes through them from the last to
 * the first, and has to run the body of a segment's chunks again, except in the last segment, whose
 * carries and slots are still there from the forward pass. */
enum { FORM_FULL, FORM_LAST, FORMS };

/* A forward value that the vjp reads from the chunk's slot instead of computing it again. */
typedef struct {
    ad_value value;
    size_t offset, bytes; /* in the slot */
    double flops, before; /* its own; of all that are worth more */
} scan_kept;

/* Outputs of a plan. */
typedef struct {
    ad_plan_output *item;
    int count;
    int64_t capacity;
} scan_outputs;

typedef struct {
    ad_plan *body, *vjp;  /* NULL where no chunk has the form, or there is no backward pass */
    double forward_flops; /* of the products of one chunk */
    scan_kept *kept;      /* what is worth keeping, densest first: */
    int worth, keeps;     /* so many; and so many of these are kept */
    size_t slot_bytes;
    scan_outputs ct_outputs; /* of the vjp plan; their positions, -1 where nothing flows: */
    int *ct_carry, *ct_constant, *ct_slice, *ct_past;
} scan_form;

/* What a scan adds to each row of its spec: the input of the vjp that holds its cotangent (`ct`),
 * memory that the caller bound, and, where B > 1, a dense chunk between that and the plans
 * (`stage`; NULL where there is none). */
typedef struct {
    ad_value ct;        /* of the next carry, in the full form */
    size_t offset;      /* in one saved carry */
    size_t zero_offset; /* among the carries that begin as zero */
    /* The cotangent of a carry is that of the next one and something more: the vjp adds it where
     * that lies, which is where the caller wants the first chunk's. Else every other chunk's is in
     * lambda, at an offset. */
    bool in_place;
    size_t lambda_offset;
    void *lambda;
    /* Where the chunk reads the carry rounded to bf16, the chunk before rounds it in the program
     * that makes it; both AD_NONE where it does not. */
    ad_value rounded, next_rounded;
    size_t rounded_offset; /* among those of one carry */
} scan_carry;

typedef struct {
    const void *memory;
    void *ct_memory, *stage, *ct_stage;
} scan_slice;

typedef struct {
    ad_value ct;
    void *memory, *stage, *ct_stage;
    const void *ct_memory;
} scan_output;

typedef struct {
    ad_value ct;          /* of the fresh rows, in the full form */
    void *rows, *ct_rows; /* of all chunks; of the window that slides back */
    void *stage, *ct_stage;
} scan_history;

struct ad_scan {
    ad_scan_spec spec; /* with its own copies of the arrays */
    scan_form form[FORMS];
    scan_carry *carry;
    scan_slice *slice;
    scan_output *output;
    scan_history *history;
    int forward_nodes;  /* of the graph before its vjp */
    bool reads_carries; /* the vjp does, not only rounded: else a chunk's is not kept for it */
    int64_t every;      /* carries at multiples of every are saved */
    size_t carry_bytes, lambda_bytes, rounded_bytes, slot_bytes;
    size_t zero_bytes; /* of the carries that begin so */
    size_t carry_total, slot_total, history_total, staging_total;
    /* allocated; carries: the saved ones, lambda, zeros, and what nobody wants of those */
    kern_buffer carry_memory, rounded_memory, slot_memory, history_memory, staging_memory;
    const void *const *first_carry; /* bound */
};

/* FORM_FULL where some chunk has it; forms from this one on are compiled. */
int ad_scan_first_form(const ad_scan *scan);
/* What the form's vjp would read if `cut` values were given to it (ad_plan_would_read); the
 * caller's to free. */
bool *ad_scan_vjp_reads(const ad_scan *scan, const scan_form *form, int cuts, const ad_value *cut);

/* Finds what is worth keeping in the form: the products of the forward pass that its vjp reads, and
 * sums over whole tensors. */
void ad_scan_find_kept(ad_scan *scan, scan_form *form);
/* Sets `every` and what each form keeps. Again, for another budget, too. */
void ad_scan_decide(ad_scan *scan, double budget);
double ad_scan_kept_flops(const scan_form *form); /* of one chunk */
/* With a carry saved for every `every`-th chunk: carries in memory (those and a running segment's),
 * and chunks that have a slot. */
int64_t ad_scan_saved(const ad_scan *scan, int64_t every);
/* Where nobody reads the carries of earlier chunks, two places take turns. */
bool ad_scan_alternates(const ad_scan *scan, int64_t every);
/* Places of carries as they are, and rounded (the first one too, which the caller has not). */
int64_t ad_scan_places(const ad_scan *scan, int64_t every);
int64_t ad_scan_rounded_places(const ad_scan *scan, int64_t every);
size_t ad_scan_carry_bytes(const ad_scan *scan, int64_t every);
int64_t ad_scan_slots(const ad_scan *scan, int64_t every);
/* Whether the reverse runs the chunk's body again, for later carries of its segment and for what
 * its slot keeps. */
bool ad_scan_replays(const ad_scan *scan, int64_t chunk);

/* Elements of one row of a chunk's value whose first axis is B * C or C (or B, C). */
int64_t ad_scan_row_elements(const ad_scan *scan, ad_value value, int64_t rows);
int64_t ad_scan_past_capacity(const ad_scan *scan, int history);
/* Of a chunk's value, or of its cotangent. */
size_t ad_scan_value_bytes(const ad_scan *scan, ad_value value, bool cotangent);
/* Places histories and staging from `base` on and returns their bytes; with NULL it only counts. */
size_t ad_scan_carve_history(ad_scan *scan, char *base);
size_t ad_scan_carve_staging(ad_scan *scan, char *base);
double ad_scan_moved(const ad_scan *scan);

#endif
