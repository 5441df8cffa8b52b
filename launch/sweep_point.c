/* A point of a study, as its files have it. */
#include "launch/sweep.h"

#include "infer/mixer.h"
#include "launch/eval_saved.h"
#include "launch/report.h"
#include "train/course.h"
#include "train/files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const launch_point_state_name[LAUNCH_POINT_STATES] = {"left out", "waits",  "begun",
                                                                  "runs",     "failed", "finished"};

enum { TAIL = 8192, MOST_BYTES = 1 << 26 };

/* The file of the point with that ending, whole; NULL where there is none. free(). */
static char *read_file(const launch_point *point, const char *ending) {
    char *path = train_text("%s.%s", point->files, ending), *text = NULL;
    size_t bytes = 0;
    if (access(path, F_OK) || train_read_file(&text, &bytes, path, MOST_BYTES) != KERN_OK)
        text = NULL;
    free(path);
    return text;
}

static kern_status write_file(const launch_point *point, const char *ending, const char *text) {
    char *path = train_text("%s.%s", point->files, ending);
    kern_status status = text ? train_write_file(path, text, strlen(text)) : train_remove(path);
    free(path);
    return status;
}

char *launch_point_error(const launch_point *point) {
    char *text = read_file(point, "failed");
    if (text) text[strcspn(text, "\n")] = 0;
    return text;
}

kern_status launch_point_fail(const launch_point *point, const char *error) {
    char *line = error ? train_text("%s\n", error) : NULL;
    kern_status status = write_file(point, "failed", line);
    free(line);
    return status;
}

/* The options of an evaluation as they are given: "--windows 24 --context 256,512"; free(). */
static char *options_of(const conf_evaluation *evaluation) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    ASSERT(to);
    for (int64_t i = 0; i < evaluation->options.count; i++) {
        const conf_setting *s = &evaluation->options.item[i];
        if (!strcmp(s->value, "false")) continue;
        fprintf(to, "--%s\n", s->key);
        if (strcmp(s->value, "true")) fprintf(to, "%s\n", s->value);
    }
    ASSERT(!fclose(to));
    return text;
}

bool launch_point_trained(const launch_point *point) {
    char *path =
        train_text("%s/checkpoints/step-%08lld", point->run, (long long)point->conf->train.steps);
    bool there = !access(path, F_OK);
    free(path);
    return there;
}

static bool same_file(const char *a, const char *b) {
    struct stat of_a, of_b;
    return !stat(a, &of_a) && !stat(b, &of_b) && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

/* By the name in the study's directory, for the run itself may not be there yet. */
bool launch_point_judges(const launch_point *point, const conf_evaluation *evaluation) {
    bool judges = false;
    for (int64_t i = 0; i < evaluation->options.count; i++) {
        const conf_setting *option = &evaluation->options.item[i];
        if (strcmp(option->key, "judge")) continue;
        char *of_judge = train_text("%s", option->value), *of_run = train_text("%s", point->run);
        char *name = train_text("%s", basename(of_judge));
        judges = !strcmp(name, point->name) && same_file(dirname(of_judge), dirname(of_run));
        free(of_judge);
        free(of_run);
        free(name);
    }
    return judges;
}

/* What a measure of the point's trained weights was taken with; free(). */
static char *stamp_of(const launch_point *point, const conf_evaluation *evaluation) {
    char *options = options_of(evaluation);
    char *stamp = train_text("step %lld\n%s", (long long)point->conf->train.steps, options);
    free(options);
    return stamp;
}

/* It was measured at its last step, and with the options that the study has now. */
static bool is_measured(const launch_point *point, const conf_evaluation *evaluation) {
    char *with = read_file(point, conf_measure_name[evaluation->measure]);
    char *wanted = stamp_of(point, evaluation);
    bool same = with && !strcmp(with, wanted);
    free(with);
    free(wanted);
    return same;
}

int launch_point_next(const launch_point *point, const conf_study *study) {
    if (!launch_point_trained(point)) return 0;
    for (int64_t i = 0; i < study->evaluations; i++)
        if (!is_measured(point, &study->evaluation[i])) return 1 + (int)i;
    return -1;
}

int64_t launch_point_step(const launch_point *point) {
    char *path = train_text("%s/metrics.jsonl", point->run), tail[TAIL + 1];
    int64_t step = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (file < 0) return 0;
    off_t end = lseek(file, 0, SEEK_END);
    ssize_t got = pread(file, tail, TAIL, end > TAIL ? end - TAIL : 0);
    close(file);
    tail[got > 0 ? got : 0] = 0;
    for (char *at = tail; (at = strstr(at, "{\"step\":")); at += 8)
        if (strchr(at, '\n')) step = strtoll(at + 8, NULL, 10);
    return step;
}

double launch_point_work(const launch_point *point) {
    return point->left_out ? 0 : train_model_flops(point->conf) * (double)point->conf->train.steps;
}

kern_status launch_point_claim(int *lock, const launch_point *point) {
    kern_status status = KERN_OK;
    char *path = train_text("%s.lock", point->files);
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*lock < 0) TRY(kern_fail(KERN_ERR_FILE, "cannot open %s: %s", path, strerror(errno)));
    if (flock(*lock, LOCK_EX | LOCK_NB)) {
        int reason = errno;
        close(*lock);
        *lock = -1;
        if (reason != EWOULDBLOCK)
            TRY(kern_fail(KERN_ERR_FILE, "cannot lock %s: %s", path, strerror(reason)));
    }
done:
    free(path);
    return status;
}

/* Whether a process holds the lock. Looking makes no file. */
static bool is_claimed(const launch_point *point) {
    char *path = train_text("%s.lock", point->files);
    int file = open(path, O_RDWR | O_CLOEXEC);
    bool claimed = file >= 0 && flock(file, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
    if (file >= 0) close(file);
    free(path);
    return claimed;
}

launch_point_state launch_point_look(const launch_point *point, const conf_study *study) {
    if (point->left_out) return LAUNCH_POINT_LEFT_OUT;
    if (is_claimed(point)) return LAUNCH_POINT_RUNS;
    if (launch_point_next(point, study) < 0) return LAUNCH_POINT_FINISHED;
    char *error = launch_point_error(point);
    free(error);
    if (error) return LAUNCH_POINT_FAILED;
    return access(point->run, F_OK) ? LAUNCH_POINT_WAITS : LAUNCH_POINT_BEGUN;
}

/* ---- commands ---- */

typedef struct {
    char **word;
    int64_t count, capacity;
} words;

static void add(words *to, char *word) {
    to->word = kern_grow(to->word, &to->capacity, to->count + 2, sizeof *to->word);
    to->word[to->count++] = word;
    to->word[to->count] = NULL;
}

/* Pieces of a text with `between` between them. */
static void add_pieces(words *to, const char *text, const char *between) {
    char *rest = train_text("%s", text ? text : ""), *next = rest, *piece;
    while ((piece = strsep(&next, between)))
        if (*piece) add(to, train_text("%s", piece));
    free(rest);
}

void launch_words_free(char **list) {
    for (char **word = list; word && *word; word++) free(*word);
    free(list);
}

static kern_status set(ttt_conf *conf, char *assignment) {
    kern_status status = conf_set(conf, assignment);
    free(assignment);
    return status;
}

/* That the run in the point's directory is this point's: an edited study does not go on with what
 * an earlier one began. */
static kern_status check_course(const launch_point *point, const char *config) {
    kern_status status = KERN_OK;
    ttt_conf *run = NULL, *now = NULL;
    TRY(infer_load(&run, config, 0, NULL));
    TRY(conf_copy(&now, point->conf));
    TRY(set(now, train_text("run.dir=%s", run->run.dir)));
    if (!now->train.micro_batch)
        TRY(set(now, train_text("train.micro_batch=%lld", (long long)run->train.micro_batch)));
    status = train_course_keep(run, now);
    if (status != KERN_OK)
        TRY(kern_fail(KERN_ERR_CONFIG,
                      "%s holds a run that the study's point is not: %s (move it away to train the "
                      "point anew)",
                      point->run, kern_error()));
done:
    conf_destroy(run);
    conf_destroy(now);
    return status;
}

static kern_status training(words *to, const launch_point *point, int threads, double memory,
                            const char *program, const char *launcher) {
    kern_status status = KERN_OK;
    char *config = train_text("%s/config.yaml", point->run);
    char *given = train_text("%s.yaml", point->files);
    add_pieces(to, launcher, " ");
    add(to, train_text("%s", program));
    add(to, train_text("train"));
    if (!access(config, F_OK)) {
        TRY(check_course(point, config));
        add(to, train_text("--resume"));
        add(to, train_text("%s", point->run));
        add(to, train_text("train.steps=%lld", (long long)point->conf->train.steps));
    } else {
        TRY(conf_write(point->conf, given));
        add(to, train_text("%s", given));
    }
    if (!point->conf->train.threads && threads) add(to, train_text("train.threads=%d", threads));
    if (!(point->conf->train.memory_limit > 0) && memory > 0)
        add(to, train_text("train.memory_limit=%.0f", memory));
done:
    free(config);
    free(given);
    return status;
}

static void measuring(words *to, const launch_point *point, const conf_evaluation *evaluation,
                      const char *program) {
    char *options = options_of(evaluation);
    add(to, train_text("%s", program));
    switch (evaluation->measure) {
    case CONF_MEASURE_LOSS:
        add_pieces(to, "eval\n--save", "\n");
        add(to, train_text("%s", point->run));
        break;
    case CONF_MEASURE_NEEDLE:
        add_pieces(to, "niah\n--json", "\n");
        add(to, train_text("%s", point->run));
        break;
    case CONF_MEASURE_LATENCY:
        add_pieces(to, "bench\ninfer\n--json", "\n");
        add(to, train_text("%s/config.yaml", point->run));
        break;
    case CONF_MEASURE_DECODING:
        add_pieces(to, "eval\n--json", "\n");
        add(to, train_text("%s", point->run));
        break;
    case CONF_MEASURES: ASSERT(false && "a measure without a command");
    }
    add_pieces(to, options, "\n");
    free(options);
}

kern_status launch_point_command(char ***made, const launch_point *point, const conf_study *study,
                                 int stage, int threads, double memory, const char *launcher) {
    words to = {0};
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    ASSERT(length > 0);
    program[length] = 0;
    *made = NULL;
    kern_status status = KERN_OK;
    if (stage == 0)
        status = training(&to, point, threads, memory, program, launcher);
    else
        measuring(&to, point, &study->evaluation[stage - 1], program);
    if (status == KERN_OK)
        *made = to.word;
    else
        launch_words_free(to.word);
    return status;
}

/* ---- results ---- */

/* The object on the last line; NULL where there is none. */
static json_t *last_object(const char *text) {
    const char *line = text;
    for (const char *at = text; at && (at = strchr(at, '\n')) && at[1];) line = ++at;
    return line ? json_loads(line, 0, NULL) : NULL;
}

/* What the command printed on its last line, an object, becomes RUN/eval/MEASURE.json. */
static kern_status keep_result(const launch_point *point, const conf_evaluation *evaluation,
                               char *const *words_of) {
    kern_status status = KERN_OK;
    const char *name = conf_measure_name[evaluation->measure];
    char *out = read_file(point, "out"), *command;
    int count = 0;
    while (words_of[count]) count++;
    command = launch_command_text(count - 1, words_of + 1);
    json_t *result = last_object(out);
    if (!result)
        TRY(kern_fail(KERN_ERR_DATA, "%s printed no result on its last line: %s.out", command,
                      point->files));
    TRY(launch_saved_measure(point->run, name, command, point->conf->train.steps, result));
done:
    json_decref(result);
    free(out);
    free(command);
    return status;
}

kern_status launch_point_done(const launch_point *point, const conf_study *study, int stage,
                              char *const *words_of) {
    kern_status status = KERN_OK;
    char *stamp = NULL;
    if (stage == 0) {
        if (!launch_point_trained(point))
            TRY(kern_fail(KERN_ERR_DATA, "training ended without a checkpoint of step %lld",
                          (long long)point->conf->train.steps));
        return KERN_OK;
    }
    const conf_evaluation *evaluation = &study->evaluation[stage - 1];
    if (evaluation->measure != CONF_MEASURE_LOSS) TRY(keep_result(point, evaluation, words_of));
    stamp = stamp_of(point, evaluation);
    TRY(write_file(point, conf_measure_name[evaluation->measure], stamp));
done:
    free(stamp);
    return status;
}
