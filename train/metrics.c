#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/files.h"

struct train_metrics {
    int descriptor;
    char *path;
    char *unwritten; /* a line, NULL: the last one is in the file */
    bool renumbered;
};

/* Files of a run of millions of steps stay far below this; more is a mistaken path. */
static const size_t LIMIT_BYTES = (size_t)4 << 30;

/* The step of the line [line, end), or -1 if it is not such an object. */
static int64_t line_step(const char *line, const char *end) {
    json_t *object = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
    json_t *step = json_object_get(object, "step");
    int64_t value = json_is_integer(step) ? json_integer_value(step) : -1;
    json_decref(object);
    return value;
}

/* Early programs counted steps from 0, so their files begin with a step 0; a later one never has
 * it. What is to be added to the steps of [text, end): */
static int64_t shift_of(const char *text, const char *end) {
    for (const char *stop; (stop = memchr(text, '\n', (size_t)(end - text))); text = stop + 1)
        if (line_step(text, stop) == 0) return 1;
    return 0;
}

/* The line with `shift` added to its step; its members keep their order and their digits. */
static char *renumbered(const char *line, size_t length, int64_t shift) {
    json_t *object = json_loadb(line, length, 0, NULL), *step = json_object_get(object, "step");
    json_integer_set(step, json_integer_value(step) + shift);
    char *text = json_dumps(object, JSON_REAL_PRECISION(17));
    json_decref(object);
    ASSERT(text);
    char *copy = train_text("%s\n", text);
    free(text);
    return copy;
}

/* A text that grows. */
typedef struct {
    char *text;
    int64_t count, capacity;
} lines;

static void append(lines *to, const char *line, size_t length) {
    to->text = kern_grow(to->text, &to->capacity, to->count + (int64_t)length + 1, 1);
    memcpy(to->text + to->count, line, length);
    to->count += (int64_t)length;
}

/* The lines of steps up to `done`, with the numbers that they have now. */
static kern_status keep_lines(lines *kept, const char *text, size_t count, int64_t done,
                              const char *path) {
    const char *end = text + count;
    int64_t number = 1, shift = shift_of(text, end);
    for (const char *line = text, *stop; line < end; line = stop + 1, number++) {
        stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) break; /* torn: the newline is the last byte of a line's write */
        int64_t step = line_step(line, stop);
        size_t length = (size_t)(stop + 1 - line);
        if (step < 0 && stop + 1 < end)
            return kern_fail(KERN_ERR_DATA,
                             "%s:%lld: not an object with a \"step\"; remove the line or move the "
                             "file away, then resume",
                             path, (long long)number);
        if (step < 0 || step + shift > done) continue;
        char *other = shift ? renumbered(line, length, shift) : NULL;
        append(kept, other ? other : line, other ? strlen(other) : length);
        free(other);
    }
    return KERN_OK;
}

/* Makes the file end with the step `done`; *early: it had been numbered from 0. */
static kern_status drop_lines(bool *early, const char *path, int64_t done) {
    kern_status status = KERN_OK;
    char *text = NULL;
    size_t count = 0;
    struct stat info;
    lines kept = {0};
    *early = false;
    if (stat(path, &info) && errno == ENOENT) goto done;
    TRY(train_read_file(&text, &count, path, LIMIT_BYTES));
    *early = shift_of(text, text + count) != 0;
    TRY(keep_lines(&kept, text, count, done, path));
    if ((size_t)kept.count == count && !*early) goto done;
    TRY(train_write_file(path, kept.text ? kept.text : "", (size_t)kept.count));
done:
    free(kept.text);
    free(text);
    return status;
}

static bool line_has(const char *line, const char *end, int64_t step, const char *name) {
    json_t *object = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
    json_t *number = json_object_get(object, "step");
    bool has = json_is_integer(number) && json_integer_value(number) == step &&
               json_object_get(object, name);
    json_decref(object);
    return has;
}

kern_status train_metrics_find(bool *found, const char *path, int64_t step, const char *name) {
    char *text;
    size_t count;
    struct stat info;
    *found = false;
    if (stat(path, &info) && errno == ENOENT) return KERN_OK;
    kern_status status = train_read_file(&text, &count, path, LIMIT_BYTES);
    if (status != KERN_OK) return status;
    step -= shift_of(text, text + count);
    for (char *line = text, *stop; (stop = strchr(line, '\n')) && !*found; line = stop + 1)
        *found = line_has(line, stop, step, name);
    free(text);
    return KERN_OK;
}

kern_status train_metrics_open(train_metrics **metrics, const char *path, int64_t done) {
    bool early;
    *metrics = NULL;
    kern_status status = drop_lines(&early, path, done);
    if (status != KERN_OK) return status;
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor < 0)
        return kern_fail(KERN_ERR_FILE, "cannot open %s: %s", path, strerror(errno));
    int64_t capacity = 0;
    *metrics = kern_grow(NULL, &capacity, 1, sizeof **metrics);
    **metrics = (train_metrics){
        .descriptor = descriptor, .path = train_text("%s", path), .renumbered = early};
    return KERN_OK;
}

bool train_metrics_renumbered(const train_metrics *metrics) {
    return metrics->renumbered;
}

void train_metrics_close(train_metrics *metrics) {
    if (!metrics) return;
    close(metrics->descriptor);
    free(metrics->path);
    free(metrics->unwritten);
    free(metrics);
}

static json_t *number(const train_value *value) {
    if (!isfinite(value->value)) return json_null();
    return value->whole ? json_integer((json_int_t)value->value) : json_real(value->value);
}

/* Takes the line. */
static kern_status write_line(train_metrics *metrics, char *line) {
    kern_status status = KERN_OK;
    struct stat info;
    free(metrics->unwritten);
    metrics->unwritten = line;
    if (fstat(metrics->descriptor, &info))
        return kern_fail(KERN_ERR_FILE, "cannot write %s: %s", metrics->path, strerror(errno));
    status = train_write_all(metrics->descriptor, line, strlen(line), metrics->path);
    if (status == KERN_OK) {
        free(line);
        metrics->unwritten = NULL;
    } else if (ftruncate(metrics->descriptor, info.st_size)) {
        /* The failure is reported either way, and a torn last line is understood when resuming. */
        return status;
    }
    return status;
}

kern_status train_metrics_leave(const train_metrics *metrics, const char *path) {
    if (!metrics->unwritten) return KERN_OK;
    return train_write_file(path, metrics->unwritten, strlen(metrics->unwritten));
}

kern_status train_metrics_catch_up(train_metrics *metrics, const char *path, int64_t done) {
    struct stat info;
    char *line;
    size_t count;
    bool found;
    if (stat(path, &info) && errno == ENOENT) return KERN_OK;
    kern_status status = train_metrics_find(&found, metrics->path, done, "loss");
    if (status != KERN_OK || found) return status;
    status = train_read_file(&line, &count, path, LIMIT_BYTES);
    return status == KERN_OK ? write_line(metrics, line) : status;
}

kern_status train_metrics_write(train_metrics *metrics, int64_t step, int64_t count,
                                const train_value *values) {
    char *text = NULL;
    json_t *object = json_object();
    bool built = object && !json_object_set_new(object, "step", json_integer(step));
    for (int64_t i = 0; built && i < count; i++)
        built = !json_object_set_new(object, values[i].name, number(&values[i]));
    if (built) text = json_dumps(object, JSON_REAL_PRECISION(17));
    json_decref(object);
    if (!text)
        return kern_fail(KERN_ERR_MEMORY, "cannot build the line of step %lld for %s",
                         (long long)step, metrics->path);
    char *line = train_text("%s\n", text);
    free(text);
    return write_line(metrics, line);
}

kern_status train_metrics_sync(train_metrics *metrics) {
    if (fsync(metrics->descriptor))
        return kern_fail(KERN_ERR_FILE, "cannot sync %s to the disk: %s", metrics->path,
                         strerror(errno));
    return KERN_OK;
}
