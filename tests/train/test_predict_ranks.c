/* What ranks are said to send each other in a step is what they do: counted by comms that go
 * between, for ranks on either axis and on both, in f64 and with products in bf16. */
#include "tests/infer/tiny.h"
#include "tests/ranks.h"
#include "train/predict_ranks.h"
#include "train/step.h"

enum { T = 32, BATCH = 4, TOKENS = BATCH * (T + 1) };

/* A comm that counts what goes through it, in the way of train/predict_ranks.h. */
typedef struct {
    const kern_comm *through;
    double calls, bytes;
} counter;

static void count(const kern_comm *comm, double bytes) {
    counter *c = comm->context;
    c->calls++;
    c->bytes += bytes;
}

static void reduce(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                   int64_t elements, kern_dtype dtype, kern_reduction how) {
    const kern_comm *through = ((counter *)comm->context)->through;
    count(comm, (double)elements * (double)kern_dtype_bytes(dtype));
    through->reduce(through, stream, to, from, elements, dtype, how);
}

static void reduce_scatter(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                           int64_t elements, kern_dtype dtype, kern_reduction how) {
    const kern_comm *through = ((counter *)comm->context)->through;
    count(comm, (double)elements * (double)kern_dtype_bytes(dtype) * comm->ranks);
    through->reduce_scatter(through, stream, to, from, elements, dtype, how);
}

static void all_gather(const kern_comm *comm, kern_stream *stream, void *to, const void *from,
                       size_t bytes) {
    const kern_comm *through = ((counter *)comm->context)->through;
    count(comm, (double)bytes * comm->ranks);
    through->all_gather(through, stream, to, from, bytes);
}

/* One rank's step of a mesh; what it sent on each axis. */
typedef struct {
    const tiny *model;
    double calls[2], bytes[2];
    train_sent said[TRAIN_SENDS];
} sending;

static kern_comm counting(const kern_comm *through, counter *c) {
    kern_comm comm = *through;
    *c = (counter){.through = through};
    comm.reduce = reduce;
    comm.reduce_scatter = reduce_scatter;
    comm.all_gather = all_gather;
    comm.context = c;
    return comm;
}

/* What agreements need of the context is not there: they go the direct way. */
static kern_status agree_i64(const kern_comm *comm, int64_t *value, int64_t items,
                             kern_reduction how) {
    const kern_comm *through = ((counter *)comm->context)->through;
    return through->agree_i64(through, value, items, how);
}

static kern_status agree_f64(const kern_comm *comm, double *value, int64_t items,
                             kern_reduction how) {
    const kern_comm *through = ((counter *)comm->context)->through;
    return through->agree_f64(through, value, items, how);
}

static kern_status tell(const kern_comm *comm, void *at, size_t bytes, int root) {
    const kern_comm *through = ((counter *)comm->context)->through;
    return through->tell(through, at, bytes, root);
}

static void take_step(const kern_ranks *ranks, const kern_device *device, void *context) {
    sending *own = context;
    counter counted[2];
    kern_comm data = counting(ranks->data, &counted[0]);
    kern_comm tensor = counting(ranks->tensor, &counted[1]);
    kern_comm *const both[] = {&data, &tensor};
    for (int i = 0; i < 2; i++) {
        both[i]->agree_i64 = agree_i64;
        both[i]->agree_f64 = agree_f64;
        both[i]->tell = tell;
    }
    const kern_ranks mesh = {.job = ranks->job, .data = &data, .tensor = &tensor};
    train_step *step;
    train_step_result result;
    int32_t tokens[TOKENS];
    train_step_spec spec = {.conf = own->model->conf,
                            .micro_batch = 1,
                            .budget = 1e9,
                            .device = device,
                            .ranks = &mesh,
                            .threads = 1};
    ASSERT(train_step_create(&step, &spec) == KERN_OK);
    ASSERT(train_step_allocate(step) == KERN_OK);
    train_step_start(step);
    tiny_tokens(own->model, tokens, TOKENS, 3);
    ASSERT(kern_finish(device->stream) == KERN_OK);
    for (int i = 0; i < 2; i++) counted[i].calls = counted[i].bytes = 0;
    ASSERT(train_step_run(step, &result, tokens, 0) == KERN_OK);
    ASSERT(kern_finish(device->stream) == KERN_OK);
    for (int i = 0; i < 2; i++) {
        own->calls[i] = counted[i].calls;
        own->bytes[i] = counted[i].bytes;
    }
    train_predict_ranks(own->said, step, 1e9);
    train_step_destroy(step);
}

static void what_is_sent_is_what_is_said(void **state) {
    (void)state;
    if (test_device() != kern_device_cpu()) skip(); /* calls that are replayed are not counted */
    static const struct {
        int ranks, tensor;
        const char *words;
    } tried[] = {
        {2, 1, "train.precision=f64"},
        {2, 2, "train.precision=f64"},
        {4, 2, "train.precision=f64"},
        {2, 1, "train.precision=f64 ranks.shard=none"},
        {4, 1, "train.precision=bf16 model.mlp=150 model.blocks=4 inner.suffix=1"},
        {4, 2, "train.precision=bf16"},
        {4, 2,
         "train.precision=bf16 model.pattern=mgk mamba.head_size=12 mamba.state=3 gdn.heads=2 "
         "gdn.key_size=3 gdn.value_size=2 kvb.heads=2 kvb.chunk=4 kvb.qk_norm=width"},
    };
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        tiny model;
        sending own[RANKS_MOST];
        tiny_begin(&model, tried[i].words);
        for (int r = 0; r < tried[i].ranks; r++) own[r] = (sending){.model = &model};
        ranks_run_mesh(tried[i].ranks, tried[i].tensor, take_step, own, sizeof *own);
        for (int r = 0; r < tried[i].ranks; r++) {
            const train_sent *said = own[r].said;
            for (int axis = 0; axis < 2; axis++) {
                const train_sent *a = &said[axis ? TRAIN_SEND_TENSOR : TRAIN_SEND_GRADIENT];
                const train_sent *b = &said[axis ? TRAIN_SEND_SHARED : TRAIN_SEND_WEIGHTS];
                int of = axis ? tried[i].tensor : tried[i].ranks / tried[i].tensor;
                if (of == 1) continue;
                if (a->calls + b->calls != own[r].calls[axis] ||
                    a->bytes + b->bytes != own[r].bytes[axis])
                    fail_msg("%s, axis %d: %.0f calls of %.0f bytes are said, %.0f of %.0f made",
                             tried[i].words, axis, a->calls + b->calls, a->bytes + b->bytes,
                             own[r].calls[axis], own[r].bytes[axis]);
            }
        }
        tiny_end(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sent_is_what_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
