/* Values out of a file are those of the flat buffer that was written, in every type that a reader
 * computes with; and reading with them gives the same bits as the model that training uses. */
#include "tests/infer/tiny.h"

#include <stdio.h>
#include <unistd.h>

#include "infer/session.h"
#include "kernels/round.h"

static char path[64];

static uint16_t rounded(float x) {
    uint16_t to;
    kern_round(&to, &x, 1); /* tests/kernels/test_round.c */
    return to;
}

/* ---- files ---- */

typedef struct {
    tiny m;
    char *flat;            /* in the configuration's type */
    kern_buffer on_device; /* the same */
    kern_dtype real;
} world;

static void begin(world *w, const char *precision, const char *overrides) {
    void *memory;
    char text[256];
    tiny_begin(&w->m, overrides);
    snprintf(text, sizeof text, "train.precision=%s", precision);
    tiny_set(w->m.conf, text);
    w->real = strcmp(precision, "f64") ? KERN_F32 : KERN_F64;
    size_t bytes = (size_t)w->m.layout->elements * kern_dtype_bytes(w->real);
    assert_ok(kern_alloc_zero(&memory, bytes, "weights"));
    w->flat = memory;
    for (int64_t i = 0; i < w->m.layout->elements; i++)
        if (w->real == KERN_F64)
            ((double *)memory)[i] = w->m.parameters[i];
        else
            ((float *)memory)[i] = (float)w->m.parameters[i];
    w->on_device = test_on_device(memory, bytes);
}

static const void *on_device(const world *w) {
    return w->on_device.data;
}

static void end(world *w) {
    kern_buffer_destroy(&w->on_device);
    kern_free(w->flat);
    tiny_end(&w->m);
}

static char *flat_at(const world *w, const infer_parameter *p) {
    return w->flat + (size_t)p->offset * kern_dtype_bytes(w->real);
}

/* Writes the parameters, without the one of index `but`. */
static data_safetensors *written(const world *w, int but) {
    data_safetensors_writer *writer;
    data_safetensors *file;
    assert_ok(data_safetensors_create(&writer, path));
    for (int i = 0; i < w->m.layout->count; i++) {
        const infer_parameter *p = &w->m.layout->item[i];
        if (i != but)
            assert_ok(
                data_safetensors_declare(writer, p->name, data_dtype_of(w->real), p->rank, p->dim));
    }
    for (int i = 0; i < w->m.layout->count; i++) {
        const infer_parameter *p = &w->m.layout->item[i];
        if (i != but)
            assert_ok(data_safetensors_write(writer, p->name, flat_at(w, p),
                                             (size_t)p->elements * kern_dtype_bytes(w->real)));
    }
    assert_ok(data_safetensors_finish(writer, NULL, NULL));
    data_safetensors_writer_destroy(writer);
    assert_ok(data_safetensors_open(&file, path));
    return file;
}

static infer_values *opened(const world *w, infer_readers readers) {
    infer_values *values;
    assert_ok(infer_values_open(&values, w->m.conf, NULL, readers, test_device(), written(w, -1)));
    return values;
}

/* ---- what is held ---- */

static const infer_readers both = {true, true}, plain = {true, false}, stepping = {false, true};

/* Each parameter from the file as it is in the view, in the types that `readers` use. */
static void check_values(const world *w, infer_readers readers) {
    infer_values *values = opened(w, readers), *view;
    bool rounds = w->m.conf->train.precision == CONF_BF16;
    assert_ok(infer_values_view(&view, w->m.conf, NULL, test_device(), on_device(w)));
    for (int repeat = 0; repeat < 2; repeat++)
        for (int i = 0; i < w->m.layout->count; i++) {
            const infer_parameter *p = &w->m.layout->item[i];
            bool embedding = !strcmp(p->name, "embed.weight");
            bool product = p->rank == 2 && (!p->fast || readers.plain) &&
                           (!embedding || w->m.conf->model.tied);
            bool exact = p->rank == 1 || embedding || (p->fast && readers.stepping) || !rounds;
            size_t bytes = (size_t)p->elements * kern_dtype_bytes(w->real);
            char *looked = malloc(bytes);
            assert_non_null(looked);
            if (exact) {
                assert_ok(infer_values_fetch(values, looked, i));
                assert_memory_equal(looked, flat_at(w, p), bytes);
            }
            if (product && rounds) {
                size_t half = (size_t)p->elements * sizeof(uint16_t);
                uint16_t *held = malloc(half), *viewed = malloc(half);
                test_from_device(held, infer_values_at(values, i, KERN_BF16), half);
                test_from_device(viewed, infer_values_at(view, i, KERN_BF16), half);
                assert_memory_equal(held, viewed, half);
                for (int64_t j = 0; j < p->elements; j++)
                    assert_int_equal(held[j], rounded(((const float *)flat_at(w, p))[j]));
                free(held);
                free(viewed);
            }
            free(looked);
            infer_values_release(values, i); /* and what is released can be looked at again */
        }
    infer_values_destroy(view);
    infer_values_destroy(values);
}

static const char *const precisions[] = {"f64", "f32", "bf16"};
static const char *const variants[] = {"", "model.tied=false", "inner.separate_mlp=false",
                                       "inner.fast_blocks=1,2 inner.suffix=3"};

static void test_values(void **state) {
    (void)state;
    for (size_t p = 0; p < 3; p++)
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
            world w;
            begin(&w, precisions[p], variants[v]);
            check_values(&w, both);
            check_values(&w, plain);
            check_values(&w, stepping);
            end(&w);
        }
    world w; /* parameters of several ranges */
    begin(&w, "f32",
          "model.pattern=mgk model.dim=32 mamba.head_size=8 mamba.state=2 gdn.heads=2 "
          "gdn.key_size=4 gdn.value_size=4 kvb.chunk=4");
    check_values(&w, both);
    end(&w);
}

/* Matrices of products take two bytes an element, and the embedding and the beginnings of fast
 * weights nothing. */
static void test_bytes(void **state) {
    (void)state;
    world w;
    begin(&w, "bf16", "model.tied=false model.dim=32 model.mlp=32");
    double matrices = 0, fast = 0, norms = 0;
    for (int i = 0; i < w.m.layout->count; i++) {
        const infer_parameter *p = &w.m.layout->item[i];
        double elements = (double)((p->elements + 31) / 32 * 32);
        if (p->rank == 1)
            norms += elements;
        else if (p->fast)
            fast += elements;
        else if (strcmp(p->name, "embed.weight") != 0)
            matrices += elements;
    }
    double most = 64.0 * w.m.layout->count; /* for what is shorter than a line of the cache */
    const double expected[] = {2 * (matrices + fast) + 4 * norms, 2 * matrices + 4 * norms};
    for (int steps = 0; steps < 2; steps++) {
        double bytes = (double)infer_values_bytes(w.m.layout, w.m.conf, steps ? stepping : plain,
                                                  kern_device_cpu());
        assert_true(bytes <= expected[steps] && bytes > expected[steps] - most);
    }
    end(&w);
}

/* ---- reading ---- */

enum { T = 16, TOKENS = 71 };

/* Losses of the session as it reads, and how far it moved. */
static void read_with(const world *w, const infer_values *values, bool inner, double *nll,
                      infer_session_move *move) {
    int32_t tokens[TOKENS];
    infer_session *session;
    infer_session_spec spec = {
        .conf = w->m.conf, .inner = inner, .limit = TOKENS, .device = test_device(), .threads = 1};
    omp_set_num_threads(1);
    tiny_tokens(&w->m, tokens, TOKENS, 3);
    assert_ok(infer_session_create(&session, &spec));
    infer_session_set_values(session, values);
    assert_ok(infer_session_read(session, tokens, 40, NULL));
    infer_session_reset(session);
    assert_ok(infer_session_read(session, tokens, TOKENS, nll));
    assert_ok(infer_session_moves(session, move));
    infer_session_destroy(session);
}

/* The losses of a batch of two, of the model that gets its weights in either way. */
static void forward(const world *w, const infer_values *values, bool inner, int64_t batch,
                    char *nll) {
    int32_t tokens[2 * (T + 1)];
    char loss[512], norm[512];
    infer_model *model;
    infer_model_spec spec = {.conf = w->m.conf,
                             .batch = batch,
                             .tokens = T,
                             .inner = inner,
                             .device = test_device(),
                             .threads = 1,
                             .values = values};
    tiny_tokens(&w->m, tokens, 2 * (T + 1), 3);
    assert_ok(infer_model_create(&model, &spec));
    assert_int_equal(infer_model_plan(model).product_weights != 0,
                     !values && w->m.conf->train.precision == CONF_BF16);
    assert_ok(infer_model_allocate(model));
    if (!values) infer_model_set_parameters(model, on_device(w));
    infer_batch run = {.tokens = tokens,
                       .rate = inner ? w->m.conf->inner.lr : 0,
                       .token_nll = nll,
                       .chunk_loss = loss,
                       .gradient_norm = norm};
    assert_ok(infer_model_forward(model, &run));
    assert_ok(kern_finish(test_device()->stream));
    infer_model_destroy(model);
}

static void test_reading(void **state) {
    (void)state;
    for (size_t p = 0; p < 3; p++)
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++)
            for (int inner = 0; inner < 2; inner++) {
                world w;
                double expected[TOKENS], nll[TOKENS];
                double flat[2 * T] = {0}, shared[2 * T] = {0};
                infer_session_move from[16], to[16];
                begin(&w, precisions[p], variants[v]);
                infer_values *view, *values = opened(&w, inner ? stepping : plain);
                assert_ok(infer_values_view(&view, w.m.conf, NULL, test_device(), on_device(&w)));
                memset(from, 0, sizeof from);
                memset(to, 0, sizeof to);
                read_with(&w, view, inner, expected, from);
                read_with(&w, values, inner, nll, to);
                assert_memory_equal(nll + 1, expected + 1, sizeof nll - sizeof *nll);
                assert_memory_equal(from, to, sizeof from);
                assert_true(!inner || to[0].moved > 0);
                for (int64_t batch = 1; batch <= 2; batch++) {
                    forward(&w, NULL, inner, batch, (char *)flat);
                    forward(&w, values, inner, batch, (char *)shared);
                    assert_memory_equal(flat, shared, sizeof flat);
                }
                infer_values_destroy(view);
                infer_values_destroy(values);
                end(&w);
            }
}

/* ---- refusals ---- */

static void refused(const world *w, data_safetensors *file, const char *named) {
    infer_values *values = (infer_values *)(void *)path;
    assert_int_equal(infer_values_open(&values, w->m.conf, NULL, both, test_device(), file),
                     KERN_ERR_DATA);
    assert_null(values);
    assert_non_null(strstr(kern_error(), named));
}

/* The file with a header that is one blank longer, so that nothing is aligned. */
static data_safetensors *misaligned(const world *w) {
    static unsigned char bytes[1 << 17];
    data_safetensors *file;
    uint64_t header;
    data_safetensors_destroy(written(w, -1));
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    size_t count = fread(bytes, 1, sizeof bytes, stream);
    fclose(stream);
    assert_true(count < sizeof bytes);
    memcpy(&header, bytes, sizeof header);
    uint64_t longer = header + 1;
    stream = fopen(path, "wb");
    assert_non_null(stream);
    fwrite(&longer, 1, sizeof longer, stream);
    fwrite(bytes + 8, 1, (size_t)header, stream);
    fputc(' ', stream);
    fwrite(bytes + 8 + header, 1, count - 8 - (size_t)header, stream);
    assert_int_equal(fclose(stream), 0);
    assert_ok(data_safetensors_open(&file, path));
    return file;
}

/* The file, shortened in place while it is mapped: reading it would end the process. */
static data_safetensors *shortened(const world *w) {
    data_safetensors *file = written(w, -1);
    assert_int_equal(truncate(path, 0), 0);
    return file;
}

static void test_refusals(void **state) {
    (void)state;
    world w, other;
    begin(&w, "bf16", "");
    begin(&other, "bf16", "model.mlp=11");
    refused(&w, written(&w, w.m.layout->count - 1), "final_norm.weight");
    refused(&w, written(&other, -1), "[12, 11]");
    refused(&w, misaligned(&w), "multiple of its element size");
    refused(&w, shortened(&w), "has 0 bytes");
    end(&w);
    end(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_refusals),
    };
    snprintf(path, sizeof path, "/tmp/test_values_%d.safetensors", (int)getpid());
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
