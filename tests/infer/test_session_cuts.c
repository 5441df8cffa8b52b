/* A text of any mixers, cut at random places, the pieces read by one session or by two in turn,
 * each of which goes on from the other's file: the numbers of one pass of the model that training
 * differentiates.
 */
#include "tests/infer/session_fixture.h"
#include "tests/sanitized.h"

enum { MOST = 96, PIECES = 20 };

#define GDN " gdn.heads=2 gdn.key_size=3 gdn.value_size=5"
#define MAMBA " mamba.head_size=6 mamba.state=5"
#define KVB " kvb.heads=2 kvb.inner=5 kvb.rank=2"
#define OFF " inner.mode=off inner.suffix=0"
#define CALM " model.init_std=0.2 inner.lr=0.05"

/* Texts shorter than convolution and chunk, chunks of one token and of more than the text, steps
 * whose chunk is unlike the mixer's. */
static const char *const texts[] = {
    "model.pattern=g gdn.chunk=8 gdn.conv=6 train.context=2" GDN OFF,
    "model.pattern=gs gdn.chunk=8 train.context=96" GDN OFF,
    "model.pattern=g gdn.chunk=64 gdn.neg_eigval=true gdn.gate=false inner.chunk=6 "
    "train.context=90" GDN CALM,
    "model.pattern=gf gdn.chunk=1 inner.chunk=16 inner.suffix=3 train.context=96" GDN CALM,
    "model.pattern=m mamba.chunk=8 mamba.conv=5 train.context=3" MAMBA OFF,
    "model.pattern=ms mamba.chunk=8 mamba.groups=4 train.context=96" MAMBA OFF,
    "model.pattern=m mamba.chunk=64 mamba.conv=2 inner.chunk=6 train.context=90" MAMBA CALM,
    "model.pattern=mf mamba.chunk=5 inner.chunk=16 inner.suffix=3 train.context=96" MAMBA CALM,
    "model.pattern=k kvb.chunk=64 train.context=9" KVB OFF,
    "model.pattern=k kvb.chunk=8 train.context=96" KVB OFF,
    "model.pattern=k kvb.chunk=8 inner.chunk=16 train.context=96" KVB
    " kvb.muon=true kvb.rank=0" CALM,
    "model.pattern=k kvb.chunk=6 inner.chunk=6 kvb.output=k train.context=90" KVB CALM,
    "model.pattern=ks kvb.chunk=4 kvb.loss=l2 inner.chunk=16 inner.suffix=3 "
    "train.context=96" KVB CALM,
    "model.pattern=kgm kvb.chunk=1 inner.chunk=4 inner.separate_mlp=false "
    "train.context=64" GDN MAMBA KVB CALM,
};

/* Where a text of `count` tokens is cut: anywhere, often within chunks of eight but not at their
 * beginnings, or where they end. */
static int64_t piece(int way, double random, int64_t at, int64_t count) {
    int64_t most = way == 0 ? 2 * count / PIECES + 2 : way == 1 && at % 8 ? 3 : 33;
    int64_t n = 1 + (int64_t)((random + 1) / 2 * (double)most);
    if (way == 2) n = (n + 7) / 8 * 8 - at % 8;
    return n < count - at ? n : count - at;
}

static void read_pieces(infer_session *const *session, const int32_t *tokens, int64_t count,
                        double *nll, int way, bool through_files) {
    char path[64];
    uint64_t random = 17 + (uint64_t)way;
    state_path(path);
    int now = 0;
    infer_session_reset(session[now]);
    for (int64_t at = 0, n; at < count; at += n) {
        n = piece(way, tiny_random(&random), at, count);
        if (through_files) {
            assert_ok(infer_session_save(session[now], path, "a"));
            assert_ok(infer_session_load(session[!now], path, "a"));
            now = !now;
        }
        assert_ok(infer_session_read(session[now], tokens + at, n, nll + at));
    }
    unlink(path);
}

/* One pass of the model, its weights nudged by an ulp each, up or down by `nudge`; 0: as they are.
 */
static void read_whole(const tiny *m, const int32_t *tokens, bool inner, uint64_t nudge,
                       double *nll) {
    int64_t count = m->layout->elements;
    double *weights = kern_array(count, sizeof *weights);
    memcpy(weights, m->parameters, (size_t)count * sizeof *weights);
    for (int64_t i = 0; i < count && nudge; i++)
        m->parameters[i] = nextafter(weights[i], tiny_random(&nudge) < 0 ? -INFINITY : INFINITY);
    tiny_reading how = {.off = !inner, .rate = m->conf->inner.lr, .nll = nll};
    tiny_read(m, &how, tokens, 1);
    memcpy(m->parameters, weights, (size_t)count * sizeof *weights);
    free(weights);
}

/* Newton-Schulz steps make the smallest part of an update 500 times as large, with the rounding in
 * it, at every chunk. How far the same pass is moved by weights that are rounded otherwise says
 * what that comes to; four times the most of it is allowed. */
static double limit_of(const tiny *m, const int32_t *tokens, bool inner, const double *expected) {
    static double nudged[MOST];
    double moved = 0;
    for (uint64_t nudge = 1; nudge <= 4 && m->conf->kvb.muon; nudge++) {
        read_whole(m, tokens, inner, nudge, nudged);
        moved = fmax(moved, tiny_worst(nudged, expected, m->conf->train.context));
    }
    return fmax(1e-12, 4 * moved);
}

/* With inner steps or without. */
static void check_cuts(tiny *m, const char *text, const int32_t *tokens, bool inner) {
    static double expected[MOST], nll[MOST + 1];
    int64_t T = m->conf->train.context;
    read_whole(m, tokens, inner, 0, expected);
    double limit = limit_of(m, tokens, inner, expected);
    infer_session *session[2];
    for (int s = 0; s < 2; s++) session[s] = begin_session(m, inner, T + 1);
    for (int way = 0; way < (watched() ? 2 : 6); way++) {
        read_pieces(session, tokens, T + 1, nll, way / 2, way % 2);
        tiny_assert_close(nll + 1, expected, T, limit, text);
    }
    for (int s = 0; s < 2; s++) infer_session_destroy(session[s]);
}

static void test_cut_anywhere(void **state) {
    (void)state;
    static int32_t tokens[MOST + 1];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tiny m;
        tiny_begin(&m, texts[i]);
        tiny_tokens(&m, tokens, m.conf->train.context + 1, 5 + i);
        check_cuts(&m, texts[i], tokens, false);
        if (tiny_has_inner(&m)) check_cuts(&m, texts[i], tokens, true);
        tiny_end(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cut_anywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
