/* Checkpoints of several ranks: the files of one rank, byte for byte, whatever shape the ranks have
 * that write them, and read by any other; and where a rank fails, all do, and nothing is left. */
#include "scratch.h"

#include "tests/infer/tiny.h"
#include "tests/ranks.h"
#include "train/checkpoint.h"
#include "train/files.h"
#include "train/tensors.h"

enum { BUFFERS = 3, SUFFIX = 1 }; /* parameters and two moments */

typedef struct {
    const tiny *model;
    int tensor; /* ranks on the tensor axis */
    const char *directory;
    int64_t step;
    bool save, fail; /* write; the last rank cannot */
    kern_status status;
    char text[512];
    bool same; /* what was read is what was written */
} run;

/* The buffers of a rank, filled with numbers of the whole or with zeros. */
typedef struct {
    infer_parameters *layout;
    train_shard shard;
    double *flat[BUFFERS], *own[BUFFERS]; /* all numbers; the buffers of a step */
} memory;

static void begin(memory *m, const run *r, const kern_comm *job, bool zeros) {
    const kern_comm part = {.rank = job->rank % r->tensor, .ranks = r->tensor};
    ttt_conf *conf;
    ASSERT(conf_copy(&conf, r->model->conf) == KERN_OK);
    m->layout = infer_parameters_of_rank(conf, &part);
    m->shard =
        train_shard_of(m->layout, SUFFIX, job->rank / r->tensor, job->ranks / r->tensor, false);
    for (int b = 0; b < BUFFERS; b++) {
        conf->train.seed = 7 + (uint64_t)b;
        m->flat[b] = kern_array(m->shard.flat, sizeof(double));
        m->own[b] = kern_array(b ? m->shard.elements : m->shard.flat, sizeof(double));
        infer_parameters_init(m->layout, conf, KERN_F64, kern_device_cpu(), m->flat[b]);
        for (int i = 0; i < m->shard.pieces && !zeros; i++) {
            const train_piece *p = &m->shard.piece[i];
            int64_t first = p->first + m->shard.rank * p->share;
            memcpy(m->own[b] + (b ? p->place : first), m->flat[b] + first,
                   (size_t)p->share * sizeof(double));
        }
    }
    conf_destroy(conf);
}

/* Whether each buffer has the numbers in the own parts. */
static bool has_all(const memory *m) {
    bool same = true;
    for (int b = 0; b < BUFFERS; b++)
        for (int i = 0; i < m->shard.pieces; i++) {
            const train_piece *p = &m->shard.piece[i];
            int64_t first = p->first + m->shard.rank * p->share;
            same &= !memcmp(m->own[b] + (b ? p->place : first), m->flat[b] + first,
                            (size_t)p->share * sizeof(double));
        }
    return same;
}

static void end(memory *m) {
    for (int b = 0; b < BUFFERS; b++) {
        free(m->flat[b]);
        free(m->own[b]);
    }
    infer_parameters_destroy(m->layout);
}

static void use(const kern_comm *job, const kern_device *device, void *context) {
    (void)device;
    run *r = context;
    memory m;
    begin(&m, r, job, !r->save);
    train_step_buffers b = {.device = kern_device_cpu(),
                            .dtype = KERN_F64,
                            .layout = m.layout,
                            .shard = &m.shard,
                            .parameters = m.own[0],
                            .m = m.own[1],
                            .v = m.own[2]};
    train_checkpoint_tensors *t = train_checkpoint_tensors_create(&b);
    train_state state = {.step = r->step};
    char *path = train_text("%s/step-%08lld", r->directory, (long long)r->step);
    if (r->fail && job->rank == job->ranks - 1) t->items[1].name = t->items[0].name;
    r->status = r->save ? train_checkpoint_save(r->directory, &state, &t->parameters, &t->moments,
                                                data_vocabulary_byte(), r->model->conf, job)
                        : train_checkpoint_load(&state, path, &t->parameters, &t->moments, job);
    snprintf(r->text, sizeof r->text, "%s", kern_error());
    r->same = has_all(&m);
    free(path);
    train_checkpoint_tensors_destroy(t);
    end(&m);
}

static void use_all(const run *as, int data) {
    run r[RANKS_MOST];
    int ranks = data * as->tensor;
    for (int i = 0; i < ranks; i++) r[i] = *as;
    ranks_run(ranks, use, r, sizeof *r);
    for (int i = 0; i < ranks; i++) {
        if (r[i].status != (as->fail ? KERN_ERR_USAGE : KERN_OK)) fail_msg("%s", r[i].text);
        assert_string_equal(r[i].text, as->fail ? r[0].text : r[i].text);
        assert_true(r[i].same);
    }
    if (as->fail && !strstr(r[0].text, "not saved: rank 2: ")) fail_msg("%s", r[0].text);
}

static const struct {
    int data, tensor;
} shapes[] = {{1, 1}, {2, 1}, {3, 1}, {4, 1}, {1, 2}, {2, 2}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void compare_files(int64_t step) {
    static const char *const names[] = {"model.safetensors", "optimizer.safetensors"};
    for (int i = 0; i < 2; i++) {
        size_t bytes[2];
        char *text[2];
        for (int64_t j = 0; j < 2; j++) {
            char *path = train_text("%s/step-%08lld/%s", scratch, (long long)(j * step), names[i]);
            assert_ok(train_read_file(&text[j], &bytes[j], path, 1 << 30));
            free(path);
        }
        assert_int_equal(bytes[0], bytes[1]);
        assert_memory_equal(text[0], text[1], bytes[0]);
        free(text[0]);
        free(text[1]);
    }
}

static void any_shape_writes_and_reads_the_same(void **state) {
    (void)state;
    static const char *const models[] = {
        "model.vocab=131 model.mlp=40", "model.tied=false",
        "model.pattern=mgk mamba.head_size=12 mamba.state=3 gdn.heads=2 gdn.key_size=3 "
        "gdn.value_size=2 kvb.heads=2 kvb.chunk=4"};
    for (size_t which = 0; which < sizeof models / sizeof *models; which++) {
        tiny model;
        tiny_begin(&model, models[which]);
        for (int i = 0; i < SHAPES; i++) {
            run r = {.model = &model, .tensor = shapes[i].tensor, .directory = scratch};
            r.step = i;
            r.save = true;
            use_all(&r, shapes[i].data);
            compare_files(i);
            char *path = train_text("%s/step-%08d", scratch, i);
            train_state found;
            assert_ok(train_checkpoint_verify(&found, path));
            free(path);
            r.save = false;
            r.step = 0; /* of one rank */
            use_all(&r, shapes[i].data);
        }
        tiny_end(&model);
    }
}

static void where_one_fails_all_do(void **state) {
    (void)state;
    tiny model;
    char **names;
    int64_t count;
    tiny_begin(&model, "");
    run r = {.model = &model, .tensor = 1, .directory = scratch};
    r.step = 99;
    r.save = r.fail = true;
    use_all(&r, 3);
    assert_ok(train_list(&names, &count, scratch));
    for (int64_t i = 0; i < count; i++) assert_null(strstr(names[i], "99"));
    train_free_names(names, count);
    tiny_end(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {SCRATCH_TEST(any_shape_writes_and_reads_the_same),
                                       SCRATCH_TEST(where_one_fails_all_do)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
