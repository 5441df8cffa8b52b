/* Golden numbers: runs each DIR/NAME.safetensors (default: tests/golden) in float64 by sequence,
 * then in float32 by whole batch, through the code that trains, and compares every group of tensors
 * with what other implementations computed. tests/golden/README.md says what the tensors mean. */
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/safetensors.h"
#include "infer/session.h"
#include "tests/device.h"
#include "tests/train/golden_conf.h"
#include "train/step.h"

typedef struct {
    const data_safetensors *file;
    ttt_conf *conf;
    bool f64, chained; /* chained: many steps amplify rounding (e2e-long) */
    int64_t steps, batch, tokens;
    bool failed;
} golden;

/* The larger one; what is not a number is larger than all numbers. */
static double larger(double a, double b) {
    return b > a || isnan(b) ? b : a;
}

static double stored(const data_tensor *tensor, int64_t i) {
    double value;
    memcpy(&value, (const char *)tensor->data + (size_t)i * sizeof value, sizeof value);
    return value;
}

static double computed(const golden *g, const void *values, int64_t i) {
    return g->f64 ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

static double magnitude(const data_tensor *tensor) {
    double largest = 0;
    for (int64_t i = 0; tensor && tensor->dtype == DATA_F64 && i < tensor->elements; i++)
        largest = fmax(largest, fabs(stored(tensor, i)));
    return largest;
}

/* Largest difference over largest magnitude, of `count` elements from `first` on. A tensor that is
 * nothing but rounding beside `group`, as the gradient of wq is where the window is 1, is measured
 * against that. */
static double difference(golden *g, const char *name, const void *values, int64_t first,
                         int64_t count, double group) {
    const data_tensor *tensor = data_safetensors_find(g->file, name);
    if (!tensor || tensor->dtype != DATA_F64 || tensor->elements != count) {
        printf(" (no F64 tensor %s of %lld elements)", name, (long long)count);
        return INFINITY;
    }
    double worst = 0, largest = magnitude(tensor);
    if (largest < 1e-12 * group) largest = group;
    for (int64_t i = 0; i < count; i++)
        worst = larger(worst, fabs(computed(g, values, first + i) - stored(tensor, i)));
    return worst == 0 ? 0 : worst / largest;
}

/* `flat`: of the device, by the layout. */
static double worst_parameter(golden *g, const char *prefix, const train_step_buffers *b,
                              const void *flat) {
    const infer_parameters *layout = b->layout;
    double worst = 0, group = 0;
    void *values = kern_array(layout->elements, kern_dtype_bytes(b->dtype));
    if (kern_download(b->device, values, flat,
                      (size_t)layout->elements * kern_dtype_bytes(b->dtype)) != KERN_OK)
        worst = INFINITY;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < layout->count; i++) {
            const infer_parameter *p = &layout->item[i];
            char name[128];
            snprintf(name, sizeof name, "%s.%s", prefix, p->name);
            if (pass == 0)
                group = fmax(group, magnitude(data_safetensors_find(g->file, name)));
            else
                worst = larger(worst, difference(g, name, values, p->offset, p->elements, group));
        }
    free(values);
    return worst;
}

static void judge(golden *g, const char *group, double error, double limit) {
    bool fine = error <= limit;
    printf(" %s %.1e%s", group, error, fine ? "" : " (!)");
    if (!fine) g->failed = true;
}

/* Are tokens and init.* there, as the configuration wants them? Before anything is allocated. */
static kern_status expect_inputs(const golden *g, const data_tensor **tokens) {
    kern_status status = KERN_OK;
    const data_tensor *tensor;
    infer_parameters *layout = infer_parameters_create(g->conf);
    TRY(data_safetensors_expect(tokens, g->file, "tokens", DATA_I32, 3,
                                (int64_t[]){g->steps, g->batch, g->tokens + 1}));
    for (int i = 0; i < layout->count; i++) {
        const infer_parameter *p = &layout->item[i];
        char name[128];
        snprintf(name, sizeof name, "init.%s", p->name);
        TRY(data_safetensors_expect(&tensor, g->file, name, DATA_F64, p->rank, p->dim));
    }
done:
    infer_parameters_destroy(layout);
    return status;
}

static void load_parameters(const golden *g, const train_step_buffers *b) {
    for (int i = 0; i < b->layout->count; i++) {
        const infer_parameter *p = &b->layout->item[i];
        char name[128];
        snprintf(name, sizeof name, "init.%s", p->name);
        const data_tensor *tensor = data_safetensors_find(g->file, name);
        size_t element = kern_dtype_bytes(b->dtype);
        void *values = kern_array(p->elements, element);
        for (int64_t j = 0; j < p->elements; j++)
            kern_real_put(values, b->dtype, j, stored(tensor, j));
        kern_upload(b->device, (char *)b->parameters + (size_t)p->offset * element, values,
                    (size_t)p->elements * element);
        free(values);
    }
}

/* theta_n of each sequence, by a model that only reads. */
static kern_status compare_fast(golden *g, const train_step_buffers *b, const int32_t *tokens,
                                double *worst) {
    kern_status status = KERN_OK;
    int64_t T = g->tokens;
    infer_model *model = NULL;
    infer_model_spec spec = {
        .conf = g->conf, .batch = 1, .tokens = T, .inner = true, .device = b->device, .threads = 2};
    size_t element = kern_dtype_bytes(b->dtype);
    void *nll = NULL, *loss = NULL, *norm = NULL;
    kern_buffer *buffer = kern_array(b->layout->count, sizeof *buffer);
    void **theta = kern_array(b->layout->count, sizeof *theta), *host = NULL;
    *worst = 0;
    TRY(infer_model_create(&model, &spec));
    TRY(infer_model_allocate(model));
    infer_model_set_parameters(model, b->parameters);
    TRY(kern_alloc(&nll, (size_t)T * element, "losses"));
    TRY(kern_alloc(&loss, (size_t)T * element, "losses"));
    TRY(kern_alloc(&norm, (size_t)T * element, "norms"));
    infer_model_parts parts = infer_model_internals(model);
    TRY(kern_alloc(&host, (size_t)b->layout->elements * element, "fast weights"));
    for (int f = 0; f < parts.fast; f++) {
        TRY(kern_buffer_create(&buffer[f], b->device,
                               (size_t)b->layout->item[parts.fast_parameter[f]].elements * element,
                               "fast weights"));
        theta[f] = buffer[f].data;
    }
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
            const infer_parameter *p = &b->layout->item[parts.fast_parameter[f]];
            snprintf(name, sizeof name, "fast_final.%d.%s", (int)s, p->name);
            TRY(kern_download(b->device, host, theta[f], (size_t)p->elements * element));
            *worst = larger(*worst, difference(g, name, host, 0, p->elements, 0));
        }
    }
done:
    for (int f = 0; f < b->layout->count; f++) kern_buffer_destroy(&buffer[f]);
    free(buffer);
    free(theta);
    kern_free(host);
    kern_free(nll);
    kern_free(loss);
    kern_free(norm);
    infer_model_destroy(model);
    return status;
}

/* The states that the file has of sequence s beside those that a session saved. */
static double worst_state(golden *g, const data_safetensors *saved, int64_t s) {
    char prefix[32];
    double worst = 0;
    snprintf(prefix, sizeof prefix, "state.%d.", (int)s);
    for (int64_t i = 0; i < data_safetensors_count(g->file); i++) {
        const char *name = data_safetensors_tensors(g->file)[i].name;
        if (strncmp(name, prefix, strlen(prefix)) != 0) continue;
        const data_tensor *mine = data_safetensors_find(saved, name + strlen(prefix));
        if (mine)
            worst = larger(worst, difference(g, name, mine->data, 0, mine->elements, 0));
        else
            worst = INFINITY;
    }
    return worst;
}

/* What mixers keep after each sequence, read in pieces. */
static kern_status compare_states(golden *g, const train_step_buffers *b, const int32_t *tokens,
                                  double *worst) {
    kern_status status = KERN_OK;
    char path[64];
    infer_values *values = NULL;
    infer_session *session = NULL;
    data_safetensors *saved = NULL;
    infer_session_spec spec = {
        .conf = g->conf, .limit = g->tokens, .device = b->device, .threads = 2};
    snprintf(path, sizeof path, "/tmp/test_golden.%ld", (long)getpid());
    *worst = 0;
    TRY(infer_values_view(&values, g->conf, b->device, b->parameters));
    TRY(infer_session_create(&session, &spec));
    for (int64_t s = 0; s < g->batch; s++) {
        infer_session_set_values(session, values);
        for (int64_t at = 0, n; at < g->tokens; at += n) {
            n = kern_min(1 + at % 23, g->tokens - at);
            TRY(infer_session_read(session, tokens + s * (g->tokens + 1) + at, n, NULL));
        }
        TRY(infer_session_save(session, path, "golden"));
        TRY(data_safetensors_open(&saved, path));
        *worst = larger(*worst, worst_state(g, saved, s));
        data_safetensors_destroy(saved);
        saved = NULL;
    }
done:
    unlink(path);
    data_safetensors_destroy(saved);
    infer_session_destroy(session);
    infer_values_destroy(values);
    return status;
}

static double relative(golden *g, const char *name, int64_t i, double value) {
    const data_tensor *tensor = data_safetensors_find(g->file, name);
    if (!tensor || tensor->dtype != DATA_F64 || tensor->elements != g->steps) {
        printf(" (no F64 tensor %s of %lld elements)", name, (long long)g->steps);
        return INFINITY;
    }
    return value == stored(tensor, i) ? 0 : fabs(value / stored(tensor, i) - 1);
}

static kern_status compare_steps(golden *g, train_step *step, const int32_t *tokens) {
    kern_status status = KERN_OK;
    train_step_buffers b = train_step_memory_of(step);
    double loss = 0, norm = 0, fast;
    load_parameters(g, &b);
    if (g->f64 && g->conf->inner.mode != CONF_INNER_OFF) {
        TRY(compare_fast(g, &b, tokens, &fast));
        judge(g, "fast_final", fast, 1e-10);
    }
    if (g->conf->model.pattern[0]) {
        double states;
        TRY(compare_states(g, &b, tokens, &states));
        judge(g, "state", states, g->f64 ? 1e-10 : 2e-4);
    }
    for (int64_t s = 0; s < g->steps; s++) {
        train_step_result result;
        TRY(train_step_run(step, &result, tokens + s * g->batch * (g->tokens + 1), s));
        double loss_error = relative(g, "loss", s, result.loss);
        double norm_error = relative(g, "outer_grad_norm", s, result.outer_grad_norm);
        loss = larger(loss, loss_error);
        norm = larger(norm, norm_error);
        if (s) continue;
        int64_t tokens_done = g->batch * g->tokens, chunks = g->batch * b.chunks;
        if (g->f64)
            judge(g, "token_nll", difference(g, "token_nll", b.token_nll, 0, tokens_done, 0),
                  1e-10);
        if (g->f64)
            judge(g, "chunk_loss", difference(g, "chunk_loss", b.chunk_loss, 0, chunks, 0), 1e-10);
        judge(g, "grad", worst_parameter(g, "grad", &b, b.gradient),
              g->f64       ? 1e-10
              : g->chained ? 2e-2
                           : 2e-3);
        judge(g, "loss[0]", loss_error, g->f64 ? 1e-10 : 1e-5);
        if (g->f64) judge(g, "outer_grad_norm[0]", norm_error, 1e-10);
    }
    if (!g->f64) return status;
    judge(g, "loss", loss, 1e-8);
    judge(g, "outer_grad_norm", norm, g->chained ? 1e-6 : 1e-8);
    judge(g, "final", worst_parameter(g, "final", &b, b.parameters), 1e-8);
done:
    return status;
}

static const kern_device *device;

static kern_status run(golden *g) {
    kern_status status = KERN_OK;
    train_step *step = NULL;
    json_error_t error;
    const char *text = data_safetensors_metadata(g->file, "config");
    json_t *json = text ? json_loads(text, 0, &error) : NULL;
    if (!text) return kern_fail(KERN_ERR_DATA, "no 'config' in the file's metadata");
    if (!json) return kern_fail(KERN_ERR_DATA, "'config' is not JSON: %s", error.text);
    TRY(conf_create(&g->conf));
    TRY(golden_conf(g->conf, json, g->f64));
    g->batch = g->conf->train.batch;
    g->tokens = g->conf->train.context;
    g->steps = g->conf->train.steps;
    g->chained = g->tokens / g->conf->inner.chunk >= 32;
    const data_tensor *tokens;
    TRY(expect_inputs(g, &tokens));
    train_step_spec spec = {.conf = g->conf,
                            .micro_batch = g->f64 ? 1 : g->batch,
                            .budget = 1e9,
                            .device = device,
                            .threads = 2};
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

/* Prints a line a file, and says how many failed. */
static int run_directory(const char *directory, int *files) {
    int failed = 0;
    char pattern[4096];
    glob_t found = {0};
    snprintf(pattern, sizeof pattern, "%s/*.safetensors", directory);
    if (glob(pattern, 0, NULL, &found)) printf("%s: no golden files\n", directory);
    for (size_t f = 0; f < found.gl_pathc; f++, ++*files) failed += !run_file(found.gl_pathv[f]);
    globfree(&found);
    return failed;
}

/* test_golden [--device NAME] [DIRECTORY...] */
int main(int argc, char **argv) {
    int files = 0, failed = 0, next = 1;
    omp_set_num_threads(2);
    device = test_device();
    if (argc > 2 && !strcmp(argv[1], "--device")) {
        next = 3;
        if (kern_device_open(&device, argv[2]) != KERN_OK) {
            printf("%s\n", kern_error());
            return 2;
        }
    }
    if (next == argc) failed = run_directory(TESTS_DIR "/golden", &files);
    for (; next < argc; next++) failed += run_directory(argv[next], &files);
    printf("%d passed, %d failed\n", files - failed, failed);
    return failed || !files;
}
