#include "train/disk.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "train/files.h"
#include "train/fit.h"
#include "train/terminal.h"

enum { BLOCK = 4096, LINE_BYTES = 380, EVENT_BYTES = 260, SMALL_FILES = 2 };

static double in_blocks(double bytes) {
    return ceil(bytes / BLOCK) * BLOCK;
}

/* A safetensors file of all parameters, `copies` times, under names with a prefix. */
static double tensors(const infer_parameters *layout, kern_dtype dtype, int copies,
                      const char *prefix) {
    double data = (double)layout->weights * (double)kern_dtype_bytes(dtype), header = 0;
    for (int i = 0; i < layout->count; i++) {
        const infer_parameter *p = &layout->item[i];
        header += snprintf(NULL, 0,
                           "\"%s%s\":{\"dtype\":\"F32\",\"shape\":[%lld,%lld],"
                           "\"data_offsets\":[%.0f,%.0f]},",
                           prefix, p->name, (long long)p->dim[0], (long long)p->dim[1],
                           copies * data, copies * data);
        if (p->rank > 2) header += snprintf(NULL, 0, ",%lld", (long long)p->dim[2]);
    }
    return in_blocks(copies * (data + header));
}

static int64_t divisor(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The most are there when the last is written: the newest of those before it, `window` of them, and
 * of the older ones those whose step is a multiple of run.keep_every. */
static int64_t checkpoints(const ttt_conf *conf) {
    int64_t every = conf->run.save_every, last = conf->run.keep_last, keep = conf->run.keep_every;
    if (!every || every >= conf->train.steps) return 1;
    int64_t before = (conf->train.steps - 1) / every; /* the last is there in any case */
    int64_t window = last > 1 ? last : 1;
    if ((!last && !keep) || window >= before) return before + 1;
    return 1 + window + (keep ? (before - window) / (keep / divisor(keep, every)) : 0);
}

train_disk train_disk_plan(const ttt_conf *conf, const infer_parameters *layout, kern_dtype dtype,
                           int64_t tokenizer) {
    int64_t steps = conf->train.steps, log = conf->run.log_every, eval = conf->run.eval_every;
    double lines = (double)(steps / (log ? log : 1) + (eval ? steps / eval : 0) + 1);
    train_disk disk = {
        .checkpoint = tensors(layout, dtype, 1, "") + tensors(layout, dtype, 2, "m.") +
                      in_blocks((double)tokenizer) + (SMALL_FILES + 1) * BLOCK, /* the directory */
        .checkpoints = checkpoints(conf),
        .logs = in_blocks(lines * LINE_BYTES) + in_blocks(lines * EVENT_BYTES)};
    disk.run = disk.checkpoint * (double)disk.checkpoints + disk.logs;
    return disk;
}

/* Bytes free where `dir` is, or the folder above it that is there; HUGE_VAL if unknown. */
static double free_bytes(const char *dir) {
    struct statvfs about;
    char *path = train_text("%s", dir);
    int failed = statvfs(path, &about);
    for (char *slash; failed && errno == ENOENT && strcmp(path, ".") && strcmp(path, "/");) {
        slash = strrchr(path, '/');
        if (slash)
            slash[slash == path] = 0;
        else
            strcpy(path, ".");
        failed = statvfs(path, &about);
    }
    free(path);
    if (failed || !about.f_blocks) return HUGE_VAL; /* some file systems do not say */
    return (double)about.f_bavail * (double)about.f_frsize;
}

kern_status train_disk_check(const train_disk *disk, const char *dir, int64_t there, bool resumed) {
    char one[32], all[32], left[32];
    double free_now = free_bytes(dir);
    int64_t more = disk->checkpoints > there ? disk->checkpoints - there : 1;
    train_bytes_text(one, disk->checkpoint);
    train_bytes_text(all, (double)more * disk->checkpoint + disk->logs);
    train_bytes_text(left, free_now);
    if (disk->checkpoint > free_now) {
        char *word = resumed ? train_terminal_word(dir) : train_text("%s", "");
        kern_fail(KERN_ERR_FILE,
                  "%s for a checkpoint: one takes %s, and %s are free where %s is; make room%s%s",
                  strerror(ENOSPC), one, left, dir,
                  resumed ? ", then go on: ttt train --resume " : " or choose another run.dir",
                  word);
        free(word);
        return KERN_ERR_FILE;
    }
    if ((double)more * disk->checkpoint + disk->logs > free_now)
        train_terminal_say(
            stderr,
            "warning: the run may not fit on its disk: %lld more checkpoint%s of %s at a time, "
            "%s with its metrics, and %s are free where %s is; %s",
            (long long)more, more == 1 ? "" : "s", one, all, left, dir,
            more == 1 ? "make room"
                      : "a smaller run.keep_last or a larger run.save_every "
                        "needs less");
    return KERN_OK;
}
