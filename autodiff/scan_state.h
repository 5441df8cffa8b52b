/* What scan.c (what is compiled), scan_keep.c (what is kept) and scan_run.c (the loops) share.
 * Internal. */
#ifndef AUTODIFF_SCAN_STATE_H
#define AUTODIFF_SCAN_STATE_H

#include "autodiff/op.h"
#include "autodiff/scan.h"

/* Chunks that make a next carry and keys and values for later ones; and the last chunk. */
enum { FORM_FULL, FORM_LAST, FORMS };

/* A forward value that the vjp reads from the chunk's slot instead of computing it again. */
typedef struct {
    ad_value value;
    size_t offset, bytes; /* in the slot */
    double flops;
} scan_kept;

/* Outputs of a plan. */
typedef struct {
    ad_plan_output *item;
    int count;
} scan_outputs;

typedef struct {
    ad_plan *body, *vjp;  /* NULL where no chunk has the form, or there is no backward pass */
    double forward_flops; /* of the products of one chunk */
    scan_kept *kept;      /* densest first: all candidates, after ad_scan_decide the kept ones */
    int keeps;
    size_t slot_bytes;
    scan_outputs ct_outputs; /* of the vjp plan; their positions, -1 where nothing flows: */
    int *ct_carry, *ct_constant, *ct_slice, *ct_past;
} scan_form;

struct ad_scan {
    ad_scan_spec spec; /* with its own copies of the arrays */
    scan_form form[FORMS];
    ad_value *ct_next, *ct_fresh,
        *ct_output;       /* inputs of the vjp; the first two of the full form's */
    int forward_nodes;    /* of the graph before its vjp */
    int64_t every, saved; /* carries at multiples of every are saved; how many, with a segment's */
    size_t carry_bytes, slot_bytes, carry_total, slot_total, history_total, staging_total;
    /* allocated */
    char *carries, *slot, *history, *staging;
    size_t *carry_offset; /* [carries] in one saved carry */
    void **history_rows, **history_ct, **fresh_stage, **ct_fresh_stage; /* [histories] */
    int32_t *past_rows;                                                 /* [histories] */
    void **slice_stage, **ct_slice_stage, **output_stage, **ct_output_stage, **ct_lambda;
    /* bound */
    const void **slice_memory, **output_ct;
    void **slice_ct, **output_memory;
    const void *const *first_carry;
};

size_t ad_scan_align(size_t bytes);
/* FORM_FULL where some chunk has it; forms from this one on are compiled. */
int ad_scan_first_form(const ad_scan *scan);
kern_status ad_scan_compile_plan(ad_plan **plan, const ad_scan *scan, const scan_outputs *outputs,
                                 int cuts, const ad_value *cut, int lazy);

/* Fills the form's candidates for being kept: the products of the forward pass that its vjp reads.
 */
kern_status ad_scan_find_kept(ad_scan *scan, scan_form *form);
/* Sets `every` and what each form keeps. */
void ad_scan_decide(ad_scan *scan, double budget);
double ad_scan_kept_flops(const scan_form *form); /* of one chunk */
/* With a carry saved for every `every`-th chunk: carries in memory (those and a running segment's),
 * and chunks that have a slot. */
int64_t ad_scan_saved(const ad_scan *scan, int64_t every);
int64_t ad_scan_slots(const ad_scan *scan, int64_t every);
/* Whether the reverse runs the chunk's body again, for later carries of its segment and for what
 * its slot keeps. */
bool ad_scan_replays(const ad_scan *scan, int64_t chunk);

/* Elements of one row of a chunk's value whose first axis is B * C or C (or B, C). */
int64_t ad_scan_row_elements(const ad_scan *scan, ad_value value, int64_t rows);
int64_t ad_scan_past_capacity(const ad_scan *scan, int history);
/* Places histories and staging from `base` on and returns their bytes; with NULL it only counts. */
size_t ad_scan_carve_history(ad_scan *scan, char *base);
size_t ad_scan_carve_staging(ad_scan *scan, char *base);

#endif
