/* Tensor-parallel ranks, which are threads, read a text together: losses, scores and how far the
 * fast weights have moved are those of one rank, with weights from a file; and a state that some
 * number of ranks saved is one that any number goes on from. */
#include "tests/infer/session_fixture.h"
#include "tests/ranks.h"

enum { T = 45, CUT = 22 };

#define DIVIDED "model.heads=4 model.dim=16 model.mlp=8 "
#define MIXERS                                                                                     \
    "mamba.head_size=8 mamba.state=3 gdn.heads=4 gdn.key_size=3 gdn.value_size=2 kvb.heads=4 "     \
    "kvb.chunk=2 inner.lr=0.05 model.init_std=0.2 "

/* What one rank reads, and what it finds: the same on all. */
typedef struct {
    const tiny *m;
    const char *weights;     /* file */
    const char *load, *save; /* states, or NULL */
    const int32_t *tokens;
    int64_t from, to;
    bool off;
    double nll[T];
    float logits[32];
    double moved;
    kern_status status;
    char text[512];
} rank_run;

static void write_weights(const tiny *m, const char *path) {
    data_safetensors_writer *file;
    assert_ok(data_safetensors_create(&file, path));
    for (int i = 0; i < m->layout->count; i++) {
        const infer_parameter *p = &m->layout->item[i];
        assert_ok(data_safetensors_declare(file, p->name, DATA_F64, p->rank, p->whole));
    }
    for (int i = 0; i < m->layout->count; i++) {
        const infer_parameter *p = &m->layout->item[i];
        assert_ok(data_safetensors_write(file, p->name, m->parameters + p->offset,
                                         (size_t)p->elements * sizeof(double)));
    }
    assert_ok(data_safetensors_finish(file, NULL, NULL));
    data_safetensors_writer_destroy(file);
}

static kern_status read_text(rank_run *r, infer_session *session) {
    kern_status status = KERN_OK;
    static const int64_t sizes[] = {1, 5, 2, 13, 3};
    if (r->load) TRY(infer_session_load(session, r->load, "these"));
    for (int64_t at = r->from, n, i = 0; at < r->to; at += n, i++) {
        n = kern_min(sizes[i % 5], r->to - at);
        TRY(infer_session_read(session, r->tokens + at, n, r->nll + at));
    }
    if (r->save) TRY(infer_session_save(session, r->save, "these"));
    infer_session_move move[16];
    ASSERT(infer_session_fast(session) <= 16);
    TRY(infer_session_moves(session, move));
    for (int f = 0; f < infer_session_fast(session); f++) r->moved += move[f].moved / move[f].size;
    memcpy(r->logits, infer_session_logits(session),
           (size_t)r->m->conf->model.vocab * sizeof *r->logits);
done:
    return status;
}

static void run_rank(const kern_comm *comm, const kern_device *device, void *context) {
    rank_run *r = context;
    const infer_readers reader = {.plain = r->off, .stepping = !r->off};
    data_safetensors *file;
    infer_values *values;
    infer_session *session;
    infer_session_spec spec = {.conf = r->m->conf,
                               .inner = !r->off,
                               .limit = T,
                               .device = device,
                               .tensor = comm,
                               .threads = 1};
    ASSERT(data_safetensors_open(&file, r->weights) == KERN_OK);
    ASSERT(infer_values_open(&values, r->m->conf, comm, reader, device, file) == KERN_OK);
    ASSERT(infer_session_create(&session, &spec) == KERN_OK);
    infer_session_set_values(session, values);
    r->status = read_text(r, session);
    snprintf(r->text, sizeof r->text, "%s", kern_error());
    infer_session_destroy(session);
    infer_values_destroy(values);
}

/* What `run` says, on so many ranks, which must find the same. */
static rank_run run_all(const rank_run *run, int ranks) {
    rank_run all[RANKS_MOST];
    for (int r = 0; r < ranks; r++) all[r] = *run;
    ranks_run(ranks, run_rank, all, sizeof *all);
    for (int r = 1; r < ranks; r++) {
        assert_int_equal(all[r].status, all[0].status);
        assert_memory_equal(all[r].nll, all[0].nll, sizeof all[r].nll);
        assert_memory_equal(all[r].logits, all[0].logits, sizeof all[r].logits);
        assert_true(all[r].moved == all[0].moved);
    }
    return all[0];
}

static void compare(const rank_run *many, const rank_run *one, const char *what) {
    if (many->status != KERN_OK) fail_msg("%s: %s", what, many->text);
    int64_t first = many->from ? many->from : 1; /* of the first token there is no loss */
    tiny_assert_close(many->nll + first, one->nll + first, T - first, 1e-12, what);
    for (int64_t v = 0; v < one->m->conf->model.vocab; v++)
        assert_true(fabsf(many->logits[v] - one->logits[v]) <= 1e-5F);
    assert_true(fabs(many->moved - one->moved) <= 1e-12);
}

static void ranks_read_as_one(void **state) {
    (void)state;
    static const char *const variants[] = {
        "",
        "model.tied=false model.kv_heads=1 inner.separate_mlp=false",
        "model.attention=full model.vocab=5 model.bos=4",
        "model.attention=hybrid model.full_every=2 inner.chunk=2 model.kv_heads=4",
        "inner.mode=off inner.suffix=0",
        "model.pattern=es",
        MIXERS "model.pattern=gkm",
        MIXERS "model.pattern=kmg mamba.groups=4 kvb.qk_norm=width",
    };
    char weights[64], path[64];
    state_path(path);
    snprintf(weights, sizeof weights, "/tmp/test_session_ranks_%d.safetensors", (int)getpid());
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        tiny m;
        char overrides[512];
        int32_t tokens[T];
        snprintf(overrides, sizeof overrides, DIVIDED "%s", variants[v]);
        tiny_begin(&m, overrides);
        tiny_tokens(&m, tokens, T, 3);
        write_weights(&m, weights);
        const rank_run all = {
            .m = &m, .weights = weights, .tokens = tokens, .to = T, .off = !tiny_has_inner(&m)};
        rank_run one = run_all(&all, 1), begin = all, go_on = all;
        assert_int_equal(one.status, KERN_OK);
        begin.to = go_on.from = CUT;
        begin.save = go_on.load = path;
        for (int ranks = 2; ranks <= 4; ranks *= 2) {
            rank_run many = run_all(&all, ranks);
            compare(&many, &one, variants[v]);
        }
        for (int savers = 1; savers <= 4; savers *= 2) {
            rank_run saved = run_all(&begin, savers);
            if (saved.status != KERN_OK) fail_msg("%s: %s", variants[v], saved.text);
            for (int loaders = 1; loaders <= 4; loaders *= 2) {
                if (savers == loaders) continue;
                rank_run loaded = run_all(&go_on, loaders);
                compare(&loaded, &one, variants[v]);
            }
        }
        tiny_end(&m);
    }
    unlink(path);
    unlink(weights);
}

/* What the rank that writes cannot do, and what one cannot read, all ranks are told. */
static void errors_are_everybodys(void **state) {
    (void)state;
    tiny m;
    int32_t tokens[T];
    char weights[64];
    snprintf(weights, sizeof weights, "/tmp/test_session_ranks_%d.safetensors", (int)getpid());
    tiny_begin(&m, DIVIDED);
    tiny_tokens(&m, tokens, T, 3);
    write_weights(&m, weights);
    rank_run run = {.m = &m, .weights = weights, .tokens = tokens, .to = 9, .save = "/tmp/no/such"};
    rank_run saved = run_all(&run, 2);
    assert_int_equal(saved.status, KERN_ERR_FILE);
    assert_non_null(strstr(saved.text, "rank 0: "));
    assert_non_null(strstr(saved.text, "/tmp/no/such"));
    run.load = weights; /* no state */
    rank_run loaded = run_all(&run, 2);
    assert_int_equal(loaded.status, KERN_ERR_DATA);
    assert_non_null(strstr(loaded.text, "is not the state of a session"));
    tiny_end(&m);
    unlink(weights);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_read_as_one),
        cmocka_unit_test(errors_are_everybodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
