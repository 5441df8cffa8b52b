/* The runs of a section. */
#include "launch/page.h"

#include "infer/mixer.h"
#include "infer/parameters.h"
#include "launch/sweep.h"
#include "train/checkpoint.h"
#include "train/course.h"
#include "train/files.h"
#include "train/history.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 26 };

static bool exists(const char *dir, const char *name) {
    char *path = train_text("%s/%s", dir, name);
    bool found = !access(path, F_OK);
    free(path);
    return found;
}

static void problem(launch_page_run *run, char *text) {
    free(run->problem);
    run->problem = text;
}

/* RUN/eval/NAME.json; NULL where there is none that can be read. */
static json_t *read_measure(const launch_page_run *run, const char *name) {
    char *path = train_text("%s/eval/%s.json", run->dir, name);
    json_t *object = json_load_file(path, 0, NULL);
    free(path);
    if (object && !json_object_get(object, "result")) {
        json_decref(object);
        object = NULL;
    }
    return object;
}

/* The newest file that ttt eval --save wrote; free(). NULL: none. */
static char *newest_saved(const launch_page_run *run) {
    char *folder = train_text("%s/eval", run->dir), *path = NULL, **names = NULL;
    int64_t count = 0;
    if (train_list(&names, &count, folder) != KERN_OK) count = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(names[i], "step-", 5) || length < 5 || strcmp(names[i] + length - 5, ".json"))
            continue;
        free(path);
        path = train_text("%s/%s", folder, names[i]);
    }
    train_free_names(names, count);
    free(folder);
    return path;
}

static void read_losses(launch_page_run *run) {
    char *path = newest_saved(run);
    if (!path)
        problem(run, train_text("not measured: no `ttt eval %s --save`", run->dir));
    else if (launch_saved_read(&run->saved, path) != KERN_OK)
        problem(run, train_text("%s", kern_error()));
    else
        run->measured = true;
    free(path);
}

static kern_status check_course(void *context, const char *checkpoint) {
    const launch_page_run *run = context;
    train_state state;
    const data_vocabulary *vocabulary = NULL;
    char *config = train_text("%s/config.yaml", run->dir);
    kern_status status = train_checkpoint_vocabulary(&vocabulary, &state, checkpoint);
    data_vocabulary_destroy(vocabulary);
    if (status == KERN_OK) status = train_course_check(&state, run->conf, NULL, config, checkpoint);
    free(config);
    return status;
}

/* Whether the run has a checkpoint that was trained with other options than its configuration says;
 * one that cannot be read at all is the matter of who needs it. */
static bool is_edited(launch_page_run *run) {
    return train_history_use(run->dir, check_course, run) == KERN_ERR_CONFIG;
}

/* What a run's directory has. What is wrong with it is its problem, not an error. */
static void read_run(launch_page_run *run) {
    char *path = train_text("%s/config.yaml", run->dir);
    char *metrics = train_text("%s/metrics.jsonl", run->dir);
    if (infer_load(&run->conf, path, 0, NULL) != KERN_OK) {
        problem(run, train_text("%s", kern_error()));
    } else if (is_edited(run)) {
        problem(run, train_text("%s", kern_error()));
        conf_destroy(run->conf);
        run->conf = NULL;
    } else {
        infer_parameters *layout = infer_parameters_create(run->conf);
        run->parameters = (double)layout->weights;
        infer_parameters_destroy(layout);
        read_losses(run);
        run->needle = read_measure(run, "needle");
        run->latency = read_measure(run, "latency");
        run->decoding = read_measure(run, "decoding");
        launch_curve_read(&run->curve, metrics);
        if (run->curve.last < run->conf->train.steps)
            problem(run, train_text("half-finished: step %lld of %lld", (long long)run->curve.last,
                                    (long long)run->conf->train.steps));
        else if (run->measured && run->saved.step != run->curve.last)
            problem(run, train_text("measured at step %lld, trained to %lld",
                                    (long long)run->saved.step, (long long)run->curve.last));
    }
    free(path);
    free(metrics);
}

static launch_page_run *new_run(launch_page_section *section, const char *name, char *dir) {
    section->run =
        kern_grow(section->run, &section->capacity, section->count + 1, sizeof *section->run);
    launch_page_run *run = &section->run[section->count++];
    *run = (launch_page_run){.name = train_text("%s", name), .dir = dir};
    return run;
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static kern_status add_study(launch_page_section *section, const char *dir) {
    kern_status status = KERN_OK;
    launch_sweep sweep = {0};
    TRY(launch_sweep_open(&sweep, dir));
    section->matched |= sweep.study->match_parameters;
    for (int64_t i = 0; i < sweep.count; i++) {
        const launch_point *point = &sweep.point[i];
        if (point->left_out) continue;
        launch_page_run *run = new_run(section, point->name, train_text("%s", point->run));
        char *error = launch_point_error(point);
        if (exists(point->run, "config.yaml"))
            read_run(run);
        else
            problem(run, train_text("missing: not begun"));
        if (error) problem(run, train_text("failed: %s", error));
        free(error);
    }
done:
    launch_sweep_close(&sweep);
    return status;
}

kern_status launch_page_add(launch_page_section *section, const char *dir) {
    kern_status status = KERN_OK;
    char **names = NULL;
    int64_t count = 0, before = section->count;
    if (exists(dir, "study.yaml")) return add_study(section, dir);
    if (exists(dir, "config.yaml")) {
        read_run(new_run(section, last_part(dir), train_text("%s", dir)));
        return KERN_OK;
    }
    TRY(train_list(&names, &count, dir));
    for (int64_t i = 0; i < count; i++) {
        char *inside = train_text("%s/%s", dir, names[i]);
        bool is_run = exists(inside, "config.yaml") && exists(inside, "checkpoints");
        if (is_run) read_run(new_run(section, names[i], inside));
        if (!is_run) free(inside);
    }
    if (section->count == before)
        TRY(kern_fail(KERN_ERR_USAGE, "%s is neither a study nor a run, and has no runs in it",
                      dir));
done:
    train_free_names(names, count);
    return status;
}

/* All measured runs are of the first one's vocabulary; those measured on other windows are said to
 * be so. */
static kern_status compare_windows(launch_page_section *section) {
    const launch_page_run *first = NULL;
    for (int64_t i = 0; i < section->count; i++) {
        launch_page_run *run = &section->run[i];
        if (!run->measured) continue;
        if (!first) first = run;
        if (strcmp(first->saved.tokenizer, run->saved.tokenizer))
            return kern_fail(KERN_ERR_USAGE,
                             "%s has the vocabulary %s and %s has %s: their losses a token cannot "
                             "be in one figure; make a report of each",
                             first->dir, first->saved.tokenizer, run->dir, run->saved.tokenizer);
        run->measured = !strcmp(first->saved.windows, run->saved.windows);
        if (!run->measured)
            problem(run, train_text("measured on other windows than %s, so it is in no figure of "
                                    "losses",
                                    first->name));
    }
    return KERN_OK;
}

/* The longest windows that all have read. */
static void choose_context(launch_page_section *section) {
    const launch_page_run *first = NULL;
    for (int64_t i = 0; i < section->count && !first; i++)
        if (section->run[i].measured) first = &section->run[i];
    for (int64_t m = 0; first && m < first->saved.count; m++) {
        int64_t context = first->saved.model[m].context;
        bool all = true;
        for (int64_t i = 0; i < section->count; i++)
            all &= !section->run[i].measured || launch_saved_find(&section->run[i].saved, context);
        if (all && context > section->context) section->context = context;
    }
}

kern_status launch_page_settle(launch_page_section *section) {
    static const char *const nothing[] = {NULL};
    kern_status status = compare_windows(section);
    if (status != KERN_OK) return status;
    choose_context(section);
    for (int64_t i = 0; i < section->count; i++) {
        int64_t same = 0;
        if (section->run[i].conf)
            while (same < i &&
                   !(section->run[same].conf && launch_page_alike(section, same, i, nothing)))
                same++;
        section->run[i].group = section->run[i].conf ? same : i;
    }
    return KERN_OK;
}

void launch_page_clear(launch_page_section *section) {
    for (int64_t i = 0; i < section->count; i++) {
        launch_page_run *run = &section->run[i];
        free(run->name);
        free(run->dir);
        free(run->problem);
        conf_destroy(run->conf);
        launch_saved_clear(&run->saved);
        json_decref(run->needle);
        json_decref(run->latency);
        json_decref(run->decoding);
    }
    free(section->run);
    free(section->title);
    *section = (launch_page_section){.title = NULL};
}
