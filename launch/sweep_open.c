/* The study that a word means, and its points with matched parameters. */
#include "launch/sweep.h"

#include "infer/mixer.h"
#include "infer/parameters.h"
#include "launch/outputs.h"
#include "train/files.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MULTIPLE = 8, MOST_BYTES = 1 << 20 };
static const double MOST_OFF = 0.005;

static double parameters_of(const ttt_conf *conf) {
    infer_parameters *layout = infer_parameters_create(conf);
    double count = (double)layout->weights;
    infer_parameters_destroy(layout);
    return count;
}

static kern_status set_mlp(ttt_conf *conf, int64_t mlp) {
    char *assignment = train_text("model.mlp=%lld", (long long)mlp);
    kern_status status = conf_set(conf, assignment);
    free(assignment);
    return status;
}

static kern_status refuse_match(const launch_point *point, double target, double count) {
    return kern_fail(KERN_ERR_CONFIG,
                     "match: parameters: point %s would have model.mlp=%lld and %.0f parameters, "
                     "the base has %.0f: %.2f %% off, more than 0.5 %%; choose a base whose "
                     "model.mlp divides better, or leave the point out",
                     point->name, (long long)point->conf->model.mlp, count, target,
                     100 * fabs(count / target - 1));
}

/* The number of parameters is linear in the width. */
static kern_status match(launch_point *point, double target) {
    kern_status status = KERN_OK;
    ttt_conf *conf = point->conf;
    if (parameters_of(conf) == target) return KERN_OK;
    TRY(set_mlp(conf, MULTIPLE));
    double least = parameters_of(conf);
    TRY(set_mlp(conf, 2 * MULTIPLE));
    double each = parameters_of(conf) - least;
    int64_t steps = llround((target - least) / each);
    TRY(set_mlp(conf, MULTIPLE * (1 + (steps > 0 ? steps : 0))));
    double count = parameters_of(conf);
    if (fabs(count / target - 1) > MOST_OFF) TRY(refuse_match(point, target, count));
done:
    return status;
}

static bool sets_mlp(const conf_study *study) {
    for (int64_t i = 0; i < study->axes; i++)
        for (int64_t j = 0; j < study->axis[i].count; j++)
            if (*conf_setting_of(&study->axis[i].alternative[j].settings, "model.mlp")) return true;
    return false;
}

static kern_status find_base(launch_sweep *sweep) {
    kern_status status = KERN_OK;
    ttt_conf *base = NULL;
    if (!sweep->study->match_parameters) return KERN_OK;
    if (sets_mlp(sweep->study))
        return kern_fail(KERN_ERR_CONFIG,
                         "match: parameters solves model.mlp, which is an axis of "
                         "study %s; leave one of them out",
                         sweep->name);
    TRY(conf_study_base(&base, sweep->study));
    sweep->base_parameters = parameters_of(base);
done:
    conf_destroy(base);
    return status;
}

static kern_status make_point(const launch_sweep *sweep, launch_point *point,
                              const conf_point *from) {
    kern_status status = KERN_OK;
    *point = (launch_point){.name = from->name, .left_out = from->left_out, .conf = from->conf};
    point->run = train_text("%s/%s", sweep->dir, from->name);
    point->files = train_text("%s/points/%s", sweep->dir, from->name);
    if (!strcmp(from->name, "points"))
        TRY(kern_fail(KERN_ERR_CONFIG, "study %s: a point cannot be called points", sweep->name));
    if (point->left_out) goto done;
    char *dir = train_text("run.dir=%s", point->run);
    status = conf_set(point->conf, dir);
    free(dir);
    TRY(status);
    TRY(infer_check(point->conf));
    if (sweep->study->match_parameters) TRY(match(point, sweep->base_parameters));
    point->parameters = parameters_of(point->conf);
    if (sweep->study->match_parameters)
        point->parameters_off = point->parameters - sweep->base_parameters;
done:
    return status;
}

static char *last_name(const char *dir) {
    char *path = realpath(dir, NULL);
    const char *slash = path ? strrchr(path, '/') : NULL;
    char *name = train_text("%s", slash ? slash + 1 : dir);
    free(path);
    return name;
}

kern_status launch_sweep_open(launch_sweep *sweep, const char *word) {
    kern_status status = KERN_OK;
    struct stat info;
    char *file = train_text("%s/study.yaml", word);
    if (!stat(word, &info) && S_ISDIR(info.st_mode)) {
        if (access(file, F_OK))
            TRY(kern_fail(KERN_ERR_USAGE, "%s holds no study (no study.yaml); name a study's file",
                          word));
        TRY(conf_study_load(&sweep->study, file));
        sweep->from_dir = true;
        sweep->dir = train_text("%s", word);
        for (size_t end = strlen(word); end > 1 && word[end - 1] == '/'; end--)
            sweep->dir[end - 1] = 0;
        sweep->name = last_name(word);
    } else {
        TRY(conf_study_load(&sweep->study, word));
        const conf_study *study = sweep->study;
        sweep->name = train_text("%s", study->name);
        sweep->dir = study->dir ? train_text("%s", study->dir) : train_text("runs/%s", study->name);
    }
    TRY(find_base(sweep));
    TRY(conf_study_points(&sweep->conf_point, &sweep->count, sweep->study));
    sweep->point = kern_array(sweep->count, sizeof *sweep->point);
    for (int64_t i = 0; i < sweep->count; i++)
        TRY(make_point(sweep, &sweep->point[i], &sweep->conf_point[i]));
done:
    free(file);
    return status;
}

void launch_sweep_close(launch_sweep *sweep) {
    for (int64_t i = 0; i < sweep->count && sweep->point; i++) {
        free(sweep->point[i].run);
        free(sweep->point[i].files);
    }
    free(sweep->point);
    conf_points_destroy(sweep->conf_point, sweep->count);
    conf_study_destroy(sweep->study);
    free(sweep->name);
    free(sweep->dir);
    *sweep = (launch_sweep){.name = NULL};
}

static kern_status check_other(const launch_sweep *sweep, const char *file) {
    kern_status status = KERN_OK;
    char *text = NULL;
    size_t bytes = 0;
    TRY(train_read_file(&text, &bytes, file, MOST_BYTES));
    if (bytes != sweep->study->bytes || memcmp(text, sweep->study->text, bytes) != 0)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "%s holds another study than %s: its study.yaml differs; give this one "
                      "another `dir`, or go on with that one: ttt sweep %s",
                      sweep->dir, sweep->name, sweep->dir));
done:
    free(text);
    return status;
}

kern_status launch_sweep_begin(const launch_sweep *sweep) {
    kern_status status = KERN_OK;
    char *file = train_text("%s/study.yaml", sweep->dir);
    char *points = train_text("%s/points", sweep->dir);
    char **names = NULL;
    int64_t count = 0;
    if (sweep->from_dir) {
        TRY(train_make_directory(points));
    } else if (!access(file, F_OK)) {
        TRY(check_other(sweep, file));
    } else {
        TRY(launch_outputs_check_folder(sweep->dir));
        if (!access(sweep->dir, F_OK)) TRY(train_list(&names, &count, sweep->dir));
        for (int64_t i = 0; i < count; i++)
            if (strcmp(names[i], "points") && strncmp(names[i], "study.yaml", 10))
                TRY(kern_fail(KERN_ERR_USAGE,
                              "%s is not empty (it holds %s) and holds no study; choose another "
                              "`dir`",
                              sweep->dir, names[i]));
        TRY(train_make_directory(points));
        TRY(train_write_file(file, sweep->study->text, sweep->study->bytes));
    }
done:
    train_free_names(names, count);
    free(file);
    free(points);
    return status;
}

bool launch_sweep_picks(const launch_sweep *sweep, int64_t point, const char *only) {
    if (!only) return true;
    if (only[strspn(only, "0123456789")]) return !fnmatch(only, sweep->point[point].name, 0);
    return strtoll(only, NULL, 10) == point + 1;
}

kern_status launch_sweep_check(const launch_sweep *sweep, const char *only) {
    for (int64_t i = 0; i < sweep->count; i++)
        if (!sweep->point[i].left_out && launch_sweep_picks(sweep, i, only)) return KERN_OK;
    return kern_fail(KERN_ERR_USAGE,
                     "no point of study %s is called '%s'; ttt sweep --dry-run lists them",
                     sweep->name, only);
}
