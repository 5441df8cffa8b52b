/* The parameters of a model: names, shapes, how they begin, and places in one flat buffer. Names
 * are those of checkpoints (docs/model.md). Weights are [in, out]. What a parameter is, its role,
 * stands beside the code that computes with it: infer/attention.c, infer/mlp.c, infer/block.c,
 * infer/head.c, and a mixer's file. All local. */
#ifndef INFER_PARAMETERS_H
#define INFER_PARAMETERS_H

#include "configs/conf.h"
#include "kernels/comm.h"

typedef struct infer_parameter infer_parameter;

/* The next element's initial value, drawn from *random (infer_random_normal and so on). */
typedef double (*infer_draw)(const infer_parameter *parameter, const ttt_conf *conf,
                             uint64_t *random);
double infer_draw_normal(const infer_parameter *p, const ttt_conf *conf, uint64_t *random);
double infer_draw_one(const infer_parameter *p, const ttt_conf *conf, uint64_t *random);
double infer_draw_zero(const infer_parameter *p, const ttt_conf *conf, uint64_t *random);

double infer_random_uniform(uint64_t *random); /* from (0, 1] */
double infer_random_normal(uint64_t *random);

typedef struct {
    const char *name; /* "attn.wq": of the parameter, in a block behind "blocks.{l}." */
    infer_draw begin; /* infer_draw_normal: with model.init_std */
    bool product;     /* an operand of products: rounded where those are in bf16; else in `real` */
    bool no_decay;    /* left alone by weight decay */
} infer_role;

/* How a parameter or a state lies across the ranks of a tensor-parallel group: its axis `axis` is a
 * row of ranges, of each of which a rank has an equal part, or all. No ranges: every rank has all
 * of it. Files hold it whole. */
enum { INFER_RANGES = 6 };
typedef struct {
    int axis, ranges;
    struct {
        int64_t count;
        int64_t parts;    /* that no rank's part cuts through, as heads; 0: every rank has all */
        const char *what; /* the option that says how many parts there are */
    } range[INFER_RANGES];
    bool uneven; /* a rank has as much as it needs for all to have everything, the last less */
} infer_split;

/* What ranks have of a parameter or a state, and of its gradient: both the same on all; each its
 * part; or the same values, which each uses with its part of other numbers, so that the gradient is
 * the sum of theirs. The last two vary over the ranks (autodiff/graph.h). */
typedef enum { INFER_SAME, INFER_PARTED, INFER_SUMMED, INFER_PLACINGS } infer_placing;

/* Which of the ranges a parameter has. With several ranks one whose split has ranges of both kinds
 * is two in a layout, of one name and role, the second of which has those that every rank has. */
typedef enum { INFER_ALL_RANGES, INFER_CUT_RANGES, INFER_WHOLE_RANGES } infer_held;

typedef struct {
    int64_t first, count;
} infer_span;

enum { INFER_AXES = 3 };

struct infer_parameter {
    char name[64];
    const infer_role *role;
    const char *kind; /* "embedding", "mlp", "fast_mlp", or the mixer's name */
    int block;        /* -1: of the model */
    int rank;
    int64_t dim[INFER_AXES];   /* of the rank's part, 1 from `rank` on */
    int64_t whole[INFER_AXES]; /* as in files */
    int64_t elements, offset;  /* offset: elements from the start of the buffer, a multiple of 16 */
    bool fast;                 /* theta: changed by the inner loop */
    infer_placing placing;     /* with several ranks */
    infer_split split;
    infer_held held;
    infer_span span[INFER_RANGES]; /* what of axis split.axis the rank has, in order; where that is
                                      less than dim, zeros follow */
    int spans;
};

enum { INFER_ROW = 1024 }; /* the buffer's size is a multiple: it can be seen as a matrix */

typedef struct {
    int rank, ranks; /* of the tensor-parallel group */
    int count;
    int64_t capacity;
    infer_parameter *item;
    int64_t elements; /* of the whole buffer, gaps included; a multiple of INFER_ROW */
    int64_t decaying; /* of them the first, which weight decay is for; likewise */
    /* Likewise: what is the same on all ranks, counted once in a norm; of that, what is summed. */
    infer_span same, summed;
    int64_t weights;    /* the number of parameters, of all ranks */
    int blocks, *first; /* [blocks + 1] index of a block's first parameter; the end of the last's */
    const char *kind;   /* of those that are being added */
} infer_parameters;

/* The parameters of a checked configuration, whole; and a rank's part of them, for a comm of ranks
 * that infer_check_ranks allows (only its numbers are looked at; NULL: one rank). */
infer_parameters *infer_parameters_create(const ttt_conf *conf);
infer_parameters *infer_parameters_of_rank(const ttt_conf *conf, const kern_comm *tensor);
void infer_parameters_destroy(infer_parameters *parameters);

/* Whether so many tensor-parallel ranks can share the model: KERN_ERR_CONFIG naming what they
 * cannot divide, and how many can. */
kern_status infer_check_ranks(const ttt_conf *conf, int ranks);

/* For what has parameters, while they are being created: adds one, the same on all ranks unless its
 * placing is set to INFER_SUMMED, and returns it until the next is added. The second cuts an axis
 * of it evenly, between parts that option `what` tells the number of; the third adds a range that
 * is cut so, or (0 parts) whole on every rank. */
infer_parameter *infer_add(infer_parameters *to, const infer_role *role, int block, int rank,
                           const int64_t *dim);
#define INFER_ADD(to, role, block, ...)                                                            \
    infer_add(to, role, block, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),          \
              (int64_t[]){__VA_ARGS__})
infer_parameter *infer_cut(infer_parameter *parameter, int axis, int64_t parts, const char *what);
void infer_add_range(infer_parameter *parameter, int axis, int64_t count, int64_t parts,
                     const char *what);
/* The same for a split, of a state. */
void infer_split_add(infer_split *split, int axis, int64_t count, int64_t parts, const char *what);

/* The parameter with this role in this block (-1: of the model), or NULL if the model has none; the
 * first where there are two. */
const infer_parameter *infer_parameter_of(const infer_parameters *parameters,
                                          const infer_role *role, int block);

/* The parts of axis split->axis that a rank has of the ranges that are held, in order; how many,
 * 0 without ranges. */
int infer_spans(infer_span span[INFER_RANGES], const infer_split *split, infer_held held, int rank,
                int ranks);

/* Elements that lie together, in order, in the tensor of a file and in the rank's part of it: run
 * i of so many. */
typedef struct {
    int64_t whole, own, count;
} infer_run;
int64_t infer_parameter_runs(const infer_parameter *parameter);
infer_run infer_parameter_run(const infer_parameter *parameter, int64_t i);

/* Elements first .. first + count - 1 of the rank's part, of so many bytes, out of the whole. */
void infer_parameter_pick(const infer_parameter *parameter, void *to, const void *whole,
                          size_t bytes, int64_t first, int64_t count);

/* Fills a flat buffer of a device (f32, or f64) as the roles say, gaps with 0. A function of the
 * seed and the parameter's name alone: ranks have parts of what one rank has. */
void infer_parameters_init(const infer_parameters *parameters, const ttt_conf *conf,
                           kern_dtype dtype, const kern_device *device, void *buffer);

#endif
