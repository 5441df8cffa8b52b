/* Golden numbers: runs each DIR/NAME.safetensors (default: tests/golden) in float64, then float32,
 * through the code that trains, and compares every group of tensors with what the method's original
 * implementation computed. tests/golden/README.md says what the tensors mean. */
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/safetensors.h"
#include "train/step.h"

typedef struct {
    const data_safetensors *file;
    ttt_conf *conf;
    bool f64, chained; /* chained: many steps amplify rounding (e2e-long) */
    int64_t steps, batch, tokens;
    bool failed;
} golden;

static kern_status setf(ttt_conf *conf, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static kern_status setf(ttt_conf *conf, const char *key, const char *format, ...) {
    char text[256];
    int used = snprintf(text, sizeof text, "%s=", key);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, sizeof text - (size_t)used, format, arguments);
    va_end(arguments);
    return conf_set(conf, text);
}

static double real_of(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static const char *bool_of(const json_t *object, const char *key) {
    return json_is_false(json_object_get(object, key)) ? "false" : "true";
}

static kern_status set_loops(ttt_conf *conf, const json_t *json) {
    kern_status status = KERN_OK;
    const json_t *outer = json_object_get(json, "outer"), *inner = json_object_get(json, "inner");
    static const char *const names[][2] = {
        {"train.steps", "steps"},   {"train.warmup_steps", "warmup_steps"},
        {"train.lr", "lr"},         {"train.total_steps", "total_steps"},
        {"train.end_lr", "end_lr"}, {"train.beta1", "beta1"},
        {"train.beta2", "beta2"},   {"train.eps", "eps"},
        {"train.clip", "clip"},     {"train.weight_decay", "weight_decay"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        TRY(setf(conf, names[i][0], "%.17g", real_of(outer, names[i][1])));
    TRY(setf(conf, "inner.mode", inner && !json_is_null(inner) ? "e2e" : "off"));
    TRY(setf(conf, "inner.chunk", "%.0f", real_of(json, "chunk")));
    TRY(setf(conf, "inner.suffix", "%.0f", real_of(json, "suffix")));
    if (!inner || json_is_null(inner)) return status;
    TRY(setf(conf, "inner.separate_mlp", "%s", bool_of(json, "separate_fast_mlp")));
    TRY(setf(conf, "inner.lr", "%.17g", real_of(inner, "lr")));
    TRY(setf(conf, "inner.clip", "%.17g", real_of(inner, "clip")));
    TRY(setf(conf, "inner.warmup_steps", "%.0f", real_of(inner, "warmup_steps")));
    TRY(setf(conf, "inner.warmup_from", "%.17g", real_of(inner, "warmup_from")));
done:
    return status;
}

static kern_status set_conf(ttt_conf *conf, const json_t *json, bool f64) {
    kern_status status = KERN_OK;
    const char *kind = json_string_value(json_object_get(json, "kind"));
    static const char *const names[][2] = {
        {"model.vocab", "vocab"},       {"model.dim", "dim"},
        {"model.heads", "heads"},       {"model.mlp", "mlp"},
        {"model.blocks", "blocks"},     {"model.window", "window"},
        {"model.bos", "bos"},           {"model.rope_theta", "rope_theta"},
        {"model.norm_eps", "norm_eps"}, {"train.context", "tokens"},
        {"train.batch", "batch"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        TRY(setf(conf, names[i][0], "%.17g", real_of(json, names[i][1])));
    static const char *const flags[][2] = {{"model.tied", "tied"},
                                           {"model.qk_norm", "qk_norm"},
                                           {"model.pre_norm", "pre_norm"},
                                           {"model.post_norm", "post_norm"}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        TRY(setf(conf, flags[i][0], "%s", bool_of(json, flags[i][1])));
    TRY(setf(conf, "model.attention", kind && !strcmp(kind, "full attention") ? "full" : "window"));
    TRY(setf(conf, "train.precision", f64 ? "f64" : "f32"));
    TRY(set_loops(conf, json));
    TRY(conf_check(conf));
done:
    return status;
}

static double stored(const data_tensor *tensor, int64_t i) {
    double value;
    memcpy(&value, (const char *)tensor->data + (size_t)i * sizeof value, sizeof value);
    return value;
}

static double computed(const golden *g, const void *values, int64_t i) {
    return g->f64 ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

/* Largest difference over largest magnitude. order: stored index of computed element i, or NULL. */
static double difference(golden *g, const char *name, const void *values, int64_t first,
                         int64_t (*order)(const golden *, int64_t)) {
    const data_tensor *tensor = data_safetensors_find(g->file, name);
    if (!tensor || tensor->dtype != DATA_F64) {
        printf("  no f64 tensor %s\n", name);
        g->failed = true;
        return INFINITY;
    }
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < tensor->elements; i++) {
        double expected = stored(tensor, order ? order(g, i) : i);
        double error = fabs(computed(g, values, first + i) - expected);
        worst = error > worst || isnan(error) ? error : worst;
        largest = fmax(largest, fabs(expected));
    }
    return worst == 0 ? 0 : worst / largest;
}

static double worst_parameter(golden *g, const char *prefix, const infer_parameters *layout,
                              const void *values) {
    double worst = 0;
    for (int i = 0; i < layout->count; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", prefix, layout->item[i].name);
        double error = difference(g, name, values, layout->item[i].offset, NULL);
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

static void judge(golden *g, const char *group, double error, double limit) {
    bool fine = error <= limit;
    printf(" %s %.1e%s", group, error, fine ? "" : " (!)");
    if (!fine) g->failed = true;
}

static kern_status load_parameters(golden *g, const train_step_buffers *b) {
    for (int i = 0; i < b->layout->count; i++) {
        const infer_parameter *p = &b->layout->item[i];
        char name[128];
        snprintf(name, sizeof name, "init.%s", p->name);
        const data_tensor *tensor;
        kern_status status =
            data_safetensors_expect(&tensor, g->file, name, DATA_F64, p->rank, p->dim);
        if (status != KERN_OK) return status;
        for (int64_t j = 0; j < p->elements; j++) {
            if (g->f64)
                ((double *)b->parameters)[p->offset + j] = stored(tensor, j);
            else
                ((float *)b->parameters)[p->offset + j] = (float)stored(tensor, j);
        }
    }
    return KERN_OK;
}

/* theta_n of each sequence, by a model that only reads. */
static kern_status compare_fast(golden *g, const train_step_buffers *b, const int32_t *tokens,
                                double *worst) {
    kern_status status = KERN_OK;
    int64_t T = g->tokens;
    infer_model *model = NULL;
    infer_model_spec spec = {.conf = g->conf, .batch = 1, .tokens = T, .inner = true, .threads = 2};
    size_t element = kern_dtype_bytes(b->dtype);
    void *nll = NULL, *loss = NULL, *norm = NULL, *theta[16] = {0};
    *worst = 0;
    TRY(infer_model_create(&model, &spec));
    TRY(infer_model_allocate(model));
    infer_model_set_parameters(model, b->parameters);
    TRY(kern_alloc(&nll, (size_t)T * element, "losses"));
    TRY(kern_alloc(&loss, (size_t)T * element, "losses"));
    TRY(kern_alloc(&norm, (size_t)T * element, "norms"));
    infer_model_parts parts = infer_model_internals(model);
    ASSERT(parts.fast <= 16);
    for (int f = 0; f < parts.fast; f++)
        TRY(kern_alloc(&theta[f],
                       (size_t)b->layout->item[parts.fast_parameter[f]].elements * element,
                       "fast weights"));
    for (int64_t s = 0; s < g->batch; s++) {
        const conf_inner_loop *inner = &g->conf->inner;
        double m = inner->warmup_steps
                       ? inner->warmup_from + (1 - inner->warmup_from) / (double)inner->warmup_steps
                       : 1;
        infer_batch batch = {.tokens = tokens + s * (T + 1),
                             .rate = inner->lr * m,
                             .token_nll = nll,
                             .chunk_loss = loss,
                             .gradient_norm = norm,
                             .fast = theta};
        TRY(infer_model_forward(model, &batch));
        for (int f = 0; f < parts.fast; f++) {
            char name[128];
            snprintf(name, sizeof name, "fast_final.%d.%s", (int)s,
                     b->layout->item[parts.fast_parameter[f]].name);
            *worst = fmax(*worst, difference(g, name, theta[f], 0, NULL));
        }
    }
done:
    for (int f = 0; f < 16; f++) kern_free(theta[f]);
    kern_free(nll);
    kern_free(loss);
    kern_free(norm);
    infer_model_destroy(model);
    return status;
}

static double relative(golden *g, const char *name, int64_t i, double value) {
    const data_tensor *tensor = data_safetensors_find(g->file, name);
    return tensor && tensor->elements > i ? fabs(value / stored(tensor, i) - 1) : INFINITY;
}

static kern_status compare_steps(golden *g, train_step *step, const int32_t *tokens) {
    kern_status status = KERN_OK;
    train_step_buffers b = train_step_memory_of(step);
    double loss = 0, norm = 0, fast;
    TRY(load_parameters(g, &b));
    if (g->f64 && g->conf->inner.mode != CONF_INNER_OFF) {
        TRY(compare_fast(g, &b, tokens, &fast));
        judge(g, "fast_final", fast, 1e-10);
    }
    for (int64_t s = 0; s < g->steps; s++) {
        train_step_result result;
        TRY(train_step_run(step, &result, tokens + s * g->batch * (g->tokens + 1), s));
        double loss_error = relative(g, "loss", s, result.loss);
        double norm_error = relative(g, "outer_grad_norm", s, result.outer_grad_norm);
        loss = fmax(loss, loss_error);
        norm = fmax(norm, norm_error);
        if (s) continue;
        if (g->f64) judge(g, "token_nll", difference(g, "token_nll", b.token_nll, 0, NULL), 1e-10);
        if (g->f64)
            judge(g, "chunk_loss", difference(g, "chunk_loss", b.chunk_loss, 0, NULL), 1e-10);
        judge(g, "grad", worst_parameter(g, "grad", b.layout, b.gradient),
              g->f64       ? 1e-10
              : g->chained ? 2e-2
                           : 2e-3);
        judge(g, "loss[0]", loss_error, g->f64 ? 1e-10 : 1e-5);
        if (g->f64) judge(g, "outer_grad_norm[0]", norm_error, 1e-10);
    }
    if (!g->f64) return status;
    judge(g, "loss", loss, 1e-8);
    judge(g, "outer_grad_norm", norm, g->chained ? 1e-6 : 1e-8);
    judge(g, "final", worst_parameter(g, "final", b.layout, b.parameters), 1e-8);
done:
    return status;
}

static kern_status run(golden *g) {
    kern_status status = KERN_OK;
    train_step *step = NULL;
    json_error_t error;
    const char *text = data_safetensors_metadata(g->file, "config");
    json_t *json = text ? json_loads(text, 0, &error) : NULL;
    if (!json)
        return kern_fail(KERN_ERR_DATA, "%s: no configuration in its metadata",
                         data_safetensors_path(g->file));
    TRY(conf_create(&g->conf));
    TRY(set_conf(g->conf, json, g->f64));
    g->batch = g->conf->train.batch;
    g->tokens = g->conf->train.context;
    g->steps = g->conf->train.steps;
    g->chained = g->tokens / g->conf->inner.chunk >= 32;
    const data_tensor *tokens;
    TRY(data_safetensors_expect(&tokens, g->file, "tokens", DATA_I32, 3,
                                (int64_t[]){g->steps, g->batch, g->tokens + 1}));
    train_step_spec spec = {.conf = g->conf, .micro_batch = 1, .budget = 1e9, .threads = 2};
    TRY(train_step_create(&step, &spec));
    TRY(train_step_allocate(step));
    TRY(compare_steps(g, step, tokens->data));
done:
    train_step_destroy(step);
    conf_destroy(g->conf);
    g->conf = NULL;
    json_decref(json);
    return status;
}

static bool run_file(const char *path) {
    bool fine = true;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    for (int f64 = 1; f64 >= 0; f64--) {
        data_safetensors *file = NULL;
        golden g = {.f64 = f64 == 1};
        kern_status status = data_safetensors_open(&file, path);
        printf("%s %s:", name, f64 ? "f64" : "f32");
        g.file = file;
        if (status == KERN_OK) status = run(&g);
        if (status != KERN_OK) printf(" %s", kern_error());
        printf(" %s\n", status == KERN_OK && !g.failed ? "ok" : "FAILED");
        fine = fine && status == KERN_OK && !g.failed;
        data_safetensors_destroy(file);
    }
    return fine;
}

int main(int argc, char **argv) {
    int files = 0, failed = 0;
    for (int i = argc > 1 ? 1 : 0; i < argc || (argc == 1 && i == 0); i++) {
        const char *directory = i ? argv[i] : TESTS_DIR "/golden";
        char pattern[4096];
        glob_t found = {0};
        snprintf(pattern, sizeof pattern, "%s/*.safetensors", directory);
        if (glob(pattern, 0, NULL, &found)) printf("%s: no golden files\n", directory);
        for (size_t f = 0; f < found.gl_pathc; f++, files++) failed += !run_file(found.gl_pathv[f]);
        globfree(&found);
    }
    printf("%d passed, %d failed\n", files - failed, failed);
    return failed || !files;
}
