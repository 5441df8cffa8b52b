/* Golden numbers: runs each DIR/NAME.safetensors (tests/golden and its README.md) in float64 by
 * sequence, then in float32 by whole batch, through the code that trains, and compares all tensors
 * with what others computed. Of a mesh each rank compares what it has; the worst of all counts. */
#include <glob.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/safetensors.h"
#include "infer/session.h"
#include "launch/ranks.h"
#include "tests/ranks.h"
#include "tests/sanitized.h"
#include "tests/train/golden_conf.h"
#include "train/step.h"

typedef struct {
    const data_safetensors *file;
    ttt_conf *conf;
    bool f64, chained; /* chained: many steps amplify rounding (e2e-long) */
    int64_t steps, batch, tokens;
    int64_t first, sequences; /* that the rank reads */
    const kern_ranks *ranks;
    const kern_device *device;
    bool failed;
} golden;

/* Prints on the first rank. */
__attribute__((format(printf, 2, 3))) static void say(const golden *g, const char *format, ...) {
    va_list values;
    va_start(values, format);
    if (g->ranks->job->rank == 0) vprintf(format, values);
    va_end(values);
}

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

static const data_tensor *find(const golden *g, const char *name, int64_t elements) {
    const data_tensor *tensor = data_safetensors_find(g->file, name);
    if (tensor && tensor->dtype == DATA_F64 && tensor->elements == elements) return tensor;
    say(g, " (no F64 tensor %s of %lld elements)", name, (long long)elements);
    return NULL;
}

/* A tensor that is nothing but rounding beside `group`, as the gradient of wq is where the window
 * is 1, is measured against that. */
static double measure(const data_tensor *tensor, double group) {
    double largest = magnitude(tensor);
    return largest < 1e-12 * group ? group : largest;
}

/* Largest difference over largest magnitude, of the sequences that the rank has read, each of
 * `values` elements. */
static double difference_from(const golden *g, const data_tensor *tensor, int64_t first,
                              const void *values, int64_t count) {
    double worst = 0;
    for (int64_t i = 0; tensor && i < count; i++)
        worst = larger(worst, fabs(computed(g, values, i) - stored(tensor, first + i)));
    return !tensor ? INFINITY : worst == 0 ? 0 : worst / measure(tensor, 0);
}

static double difference(const golden *g, const char *name, const void *values, int64_t each) {
    const data_tensor *tensor = find(g, name, g->batch * each);
    return difference_from(g, tensor, g->first * each, values, g->sequences * each);
}

/* Which elements of flat buffers are looked at: the rank's own share of gradients. */
static bool is_own(const train_shard *shard, int64_t element) {
    for (int i = 0; shard && i < shard->pieces; i++) {
        int64_t from = element - shard->piece[i].first - shard->rank * shard->piece[i].share;
        if (from >= 0 && from < shard->piece[i].share) return true;
    }
    return !shard;
}

/* Of the rank's part of a parameter, `values` in its layout, those that are its own by `shard`
 * (NULL: all). *compared: more elements of the whole. */
static double difference_of(const golden *g, const infer_parameter *p, const data_tensor *tensor,
                            const void *values, int64_t offset, const train_shard *shard,
                            double group, int64_t *compared) {
    double worst = 0;
    for (int64_t r = 0; r < infer_parameter_runs(p); r++) {
        infer_run run = infer_parameter_run(p, r);
        for (int64_t i = 0; i < run.count; i++) {
            if (!is_own(shard, p->offset + run.own + i)) continue;
            double value = computed(g, values, offset + run.own + i);
            worst = larger(worst, fabs(value - stored(tensor, run.whole + i)));
            *compared += p->placing == INFER_PARTED || g->ranks->tensor->rank == 0;
        }
    }
    return worst == 0 ? 0 : worst / measure(tensor, group);
}

/* `flat`: of the device, by the layout. The ranks that divide a tensor compare all of it. */
static double worst_parameter(golden *g, const char *prefix, const train_step_buffers *b,
                              const void *flat, const train_shard *shard) {
    const infer_parameters *layout = b->layout;
    const kern_comm *comm = shard ? g->ranks->job : g->ranks->tensor;
    double worst = 0, group = 0;
    int64_t compared = 0;
    void *values = kern_array(layout->elements, kern_dtype_bytes(b->dtype));
    if (kern_download(b->device, values, flat,
                      (size_t)layout->elements * kern_dtype_bytes(b->dtype)) != KERN_OK)
        worst = INFINITY;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < layout->count; i++) {
            const infer_parameter *p = &layout->item[i];
            char name[128];
            snprintf(name, sizeof name, "%s.%s", prefix, p->name);
            const data_tensor *tensor = find(g, name, p->whole[0] * p->whole[1] * p->whole[2]);
            if (!tensor)
                worst = INFINITY;
            else if (pass == 0)
                group = fmax(group, magnitude(tensor));
            else
                worst = larger(
                    worst, difference_of(g, p, tensor, values, p->offset, shard, group, &compared));
        }
    free(values);
    if (comm->agree_i64(comm, &compared, 1, KERN_SUM) != KERN_OK || compared != layout->weights)
        worst = INFINITY;
    return worst;
}

/* `error` becomes the worst of all ranks. */
static void judge(golden *g, const char *group, double error, double limit) {
    if (isnan(error) || g->ranks->job->agree_f64(g->ranks->job, &error, 1, KERN_MAX) != KERN_OK)
        error = INFINITY;
    bool fine = error <= limit;
    say(g, " %s %.1e%s", group, error, fine ? "" : " (!)");
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
        TRY(data_safetensors_expect(&tensor, g->file, name, DATA_F64, p->rank, p->whole));
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
        void *values = kern_array(tensor->elements, element),
             *own = kern_array(p->elements, element);
        for (int64_t j = 0; j < tensor->elements; j++)
            kern_real_put(values, b->dtype, j, stored(tensor, j));
        infer_parameter_pick(p, own, values, element, 0, p->elements);
        kern_upload(b->device, (char *)b->parameters + (size_t)p->offset * element, own,
                    (size_t)p->elements * element);
        free(values);
        free(own);
    }
}

/* theta_n of each sequence, by a model that only reads. */
static kern_status compare_fast(golden *g, const train_step_buffers *b, const int32_t *tokens,
                                double *worst) {
    kern_status status = KERN_OK;
    int64_t T = g->tokens;
    infer_model *model = NULL;
    infer_model_spec spec = {.conf = g->conf,
                             .batch = 1,
                             .tokens = T,
                             .inner = true,
                             .device = b->device,
                             .tensor = g->ranks->tensor,
                             .threads = omp_get_max_threads()};
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
    for (int64_t s = g->first; s < g->first + g->sequences; s++) {
        infer_batch batch = {.tokens = tokens + s * (T + 1),
                             .rate = g->conf->inner.lr * first_warmup(&g->conf->inner),
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
            const data_tensor *tensor = find(g, name, p->whole[0] * p->whole[1] * p->whole[2]);
            int64_t compared = 0;
            double error = tensor ? difference_of(g, p, tensor, host, 0, NULL, 0, &compared)
                                  : (double)INFINITY;
            *worst = larger(*worst, error);
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
        if (!mine) return INFINITY;
        const data_tensor *tensor = find(g, name, mine->elements);
        worst = larger(worst, difference_from(g, tensor, 0, mine->data, mine->elements));
    }
    return worst;
}

/* What mixers keep after each sequence, read in pieces; it is all in one rank's file. */
static kern_status compare_states(golden *g, const train_step_buffers *b, const int32_t *tokens,
                                  double *worst) {
    kern_status status = KERN_OK;
    char path[64];
    infer_values *values = NULL;
    infer_session *session = NULL;
    data_safetensors *saved = NULL;
    const kern_comm *tensor = g->ranks->tensor;
    conf_inner_loop *inner = &g->conf->inner, as_given = *inner;
    infer_session_spec spec = {.conf = g->conf, .limit = g->tokens, .device = b->device};
    spec.inner = inner->mode != CONF_INNER_OFF;
    spec.tensor = tensor;
    spec.threads = omp_get_max_threads();
    snprintf(path, sizeof path, "/tmp/test_golden.%ld.%d", (long)getpid(), g->ranks->job->rank);
    *worst = 0;
    TRY(infer_values_view(&values, g->conf, tensor, b->device, b->parameters));
    inner->lr *= first_warmup(inner);
    TRY(infer_session_create(&session, &spec));
    for (int64_t s = g->first; s < g->first + g->sequences; s++) {
        infer_session_set_values(session, values);
        for (int64_t at = 0, n; at < g->tokens; at += n) {
            n = kern_min(1 + at % 23, g->tokens - at);
            TRY(infer_session_read(session, tokens + s * (g->tokens + 1) + at, n, NULL));
        }
        TRY(infer_session_save(session, path, "golden"));
        if (tensor->rank) continue;
        TRY(data_safetensors_open(&saved, path));
        *worst = larger(*worst, worst_state(g, saved, s));
        data_safetensors_destroy(saved);
        saved = NULL;
    }
done:
    *inner = as_given;
    unlink(path);
    data_safetensors_destroy(saved);
    infer_session_destroy(session);
    infer_values_destroy(values);
    return status;
}

static double relative(golden *g, const char *name, int64_t i, double value) {
    const data_tensor *tensor = find(g, name, g->steps);
    if (!tensor) return INFINITY;
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
        const int32_t *own = tokens + (s * g->batch + g->first) * (g->tokens + 1);
        TRY(train_step_run(step, &result, own, s));
        double loss_error = relative(g, "loss", s, result.loss);
        double norm_error = relative(g, "outer_grad_norm", s, result.outer_grad_norm);
        loss = larger(loss, loss_error);
        norm = larger(norm, norm_error);
        if (s) continue;
        if (g->f64)
            judge(g, "token_nll", difference(g, "token_nll", b.token_nll, g->tokens), 1e-10);
        if (g->f64)
            judge(g, "chunk_loss", difference(g, "chunk_loss", b.chunk_loss, b.chunks), 1e-10);
        judge(g, "grad", worst_parameter(g, "grad", &b, b.gradient, b.shard),
              g->f64       ? 1e-10
              : g->chained ? 2e-2
                           : 2e-3);
        judge(g, "loss[0]", loss_error, g->f64 ? 1e-10 : 1e-5);
        if (g->f64) judge(g, "outer_grad_norm[0]", norm_error, 1e-10);
    }
    if (!g->f64) return status;
    judge(g, "loss", loss, 1e-8);
    judge(g, "outer_grad_norm", norm, g->chained ? 1e-6 : 1e-8);
    judge(g, "final", worst_parameter(g, "final", &b, b.parameters, NULL), 1e-8);
done:
    return status;
}

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
    TRY(infer_check_ranks(g->conf, g->ranks->tensor->ranks));
    g->batch = g->conf->train.batch;
    if (g->batch % g->ranks->data->ranks)
        TRY(kern_fail(KERN_ERR_CONFIG, "%d data ranks cannot divide %d sequences",
                      g->ranks->data->ranks, (int)g->batch));
    g->sequences = g->batch / g->ranks->data->ranks;
    g->first = g->ranks->data->rank * g->sequences;
    g->tokens = g->conf->train.context;
    g->steps = g->conf->train.steps;
    g->chained = g->tokens / g->conf->inner.chunk >= 32;
    const data_tensor *tokens;
    TRY(expect_inputs(g, &tokens));
    train_step_spec spec = {.conf = g->conf,
                            .micro_batch = g->f64 ? 1 : g->sequences,
                            .budget = 1e9,
                            .device = g->device,
                            .ranks = g->ranks,
                            .threads = omp_get_max_threads()};
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

/* What was run, on which ranks. */
typedef struct {
    const kern_ranks *ranks;
    const kern_device *device;
    char *const *directory;
    int directories, passed, failed, undivided;
} session;

/* In both precisions, sanitized in one of them in turn; what ranks cannot divide is left out. */
static void run_file(session *s, const char *path) {
    bool fine = true, divided = true;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    for (int f64 = 1; f64 >= 0 && divided; f64--) {
        if (SANITIZED && (s->passed + s->failed) % 2 != f64) continue;
        data_safetensors *file = NULL;
        kern_status status = data_safetensors_open(&file, path);
        golden g = {.file = file, .f64 = f64 == 1, .ranks = s->ranks, .device = s->device};
        say(&g, "%s %s:", name, f64 ? "f64" : "f32");
        if (status == KERN_OK) status = run(&g);
        if (status != KERN_OK) say(&g, " %s", kern_error());
        divided = status != KERN_ERR_CONFIG || s->ranks->job->ranks == 1;
        bool passed = status == KERN_OK && !g.failed;
        say(&g, " %s\n", passed ? "ok" : divided ? "FAILED" : "(left out)");
        fine = fine && passed;
        data_safetensors_destroy(file);
    }
    ++*(fine ? &s->passed : divided ? &s->failed : &s->undivided);
}

/* Prints a line a file. */
static void run_directory(session *s, const char *directory) {
    char pattern[4096];
    glob_t found = {0};
    snprintf(pattern, sizeof pattern, "%s/*.safetensors", directory);
    if (glob(pattern, 0, NULL, &found)) printf("%s: no golden files\n", directory);
    for (size_t f = 0; f < found.gl_pathc; f++) run_file(s, found.gl_pathv[f]);
    globfree(&found);
}

static void run_all(const kern_ranks *ranks, const kern_device *device, void *context) {
    session *s = context;
    s->ranks = ranks;
    s->device = device;
    for (int d = 0; d < s->directories; d++) run_directory(s, s->directory[d]);
}

static int report(const session *s) {
    printf("%d passed, %d failed, %d cannot be divided\n", s->passed, s->failed, s->undivided);
    return s->failed || !s->passed;
}

/* The ranks of a job, of which this process is one. */
static int run_processes(session *s, const kern_device *device, int tensor) {
    const kern_ranks *ranks;
    kern_status status = launch_ranks_open(&ranks, device, tensor);
    if (status == KERN_OK) {
        run_all(ranks, device, s);
        launch_ranks_close(ranks);
        return report(s);
    }
    printf("%s\n", kern_error());
    return 2;
}

static int run_threads(const session *s, int threads, int tensor) {
    session all[RANKS_MOST];
    for (int r = 0; r < threads; r++) all[r] = *s;
    ranks_run_mesh(threads, tensor, run_all, all, sizeof *all);
    return report(&all[0]);
}

/* test_golden [--device NAME] [--threads RANKS] [--tensor RANKS] [DIRECTORY...]: with ranks that
 * are processes of mpirun, or threads; so many of them share the work on a sequence, and groups of
 * so many the batch. */
int main(int argc, char **argv) {
    char own[] = TESTS_DIR "/golden", *usual[] = {own};
    const kern_device *device = test_device();
    int next = 1, threads = 1, tensor = 1;
    kern_status status = launch_ranks_begin();
    for (; next + 1 < argc && argv[next][0] == '-'; next += 2) {
        const char *option = argv[next], *value = argv[next + 1];
        if (!strcmp(option, "--device") && status == KERN_OK)
            status = kern_device_open(&device, value);
        if (!strcmp(option, "--threads")) threads = atoi(value);
        if (!strcmp(option, "--tensor")) tensor = atoi(value);
    }
    session s = {.directory = next < argc ? argv + next : usual,
                 .directories = next < argc ? argc - next : 1};
    if (status != KERN_OK) {
        printf("%s\n", kern_error());
        return launch_ranks_end(2);
    }
    if (launch_ranks_count() > 1) return launch_ranks_end(run_processes(&s, device, tensor));
    if (threads > 1) return run_threads(&s, threads, tensor);
    omp_set_num_threads(2);
    run_all(kern_ranks_alone(), device, &s);
    return report(&s);
}
