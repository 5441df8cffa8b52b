/* A study run to its end: points side by side, each stage of one a process. */
#include "launch/sweep.h"

#include "train/files.h"
#include "train/signals.h"
#include "train/terminal.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef enum { SKIPPED, OPEN, ELSEWHERE, RUNNING, FAILED, FINISHED } job_state;

/* A point while the study runs. */
typedef struct {
    const launch_point *point;
    job_state state;
    bool failed_before; /* when the study began: to be tried again */
    int lock, stage;
    pid_t child;
    char **words;
    int64_t step, first_step; /* done, and when this process took it up */
} job;

typedef struct {
    const launch_sweep *sweep;
    const launch_sweep_choices *chosen;
    job *job; /* [sweep->count] */
    int64_t slots;
    int threads;   /* of a job; 0: the configurations say */
    double memory; /* of a job; 0: not bounded here */
    double began, shown, looked;
    bool stopping;
} running;

static int64_t count_of(const running *r, int state) {
    int64_t count = 0;
    for (int64_t i = 0; i < r->sweep->count; i++) count += (int)r->job[i].state == state;
    return count;
}

/* ---- cores and memory ---- */

static kern_status cores(int64_t *count) {
    ttt_conf *conf = NULL;
    kern_status status = conf_create(&conf);
    if (status == KERN_OK) *count = train_threads(conf);
    conf_destroy(conf);
    return status;
}

/* As many jobs as there are cores for, or as --jobs says. */
static kern_status share_cores(running *r) {
    kern_status status = KERN_OK;
    int64_t have = 1, most = 0;
    for (int64_t i = 0; i < r->sweep->count; i++)
        if (r->job[i].state == OPEN) most = kern_max(most, r->job[i].point->conf->train.threads);
    TRY(cores(&have));
    r->slots = r->chosen->jobs ? r->chosen->jobs : most ? kern_max(have / most, 1) : 1;
    if (r->chosen->jobs > 1 && r->slots * kern_max(most, 1) > have)
        TRY(kern_fail(KERN_ERR_USAGE,
                      "--jobs %lld with %lld thread%s each is more than the %lld core%s here; at "
                      "most --jobs %lld",
                      (long long)r->slots, (long long)kern_max(most, 1), most > 1 ? "s" : "",
                      (long long)have, have == 1 ? "" : "s",
                      (long long)kern_max(have / kern_max(most, 1), 1)));
    r->threads = r->slots > 1 ? (int)kern_max(have / r->slots, 1) : 0;
done:
    return status;
}

/* Fewer jobs where the least that a point needs is more than its share. */
static kern_status share_memory(running *r) {
    kern_status status = KERN_OK;
    double have = train_free_memory();
    if (r->slots < 2 || !(have > 0)) return KERN_OK;
    for (int64_t i = 0; i < r->sweep->count && r->slots > 1; i++) {
        if (r->job[i].state != OPEN) continue;
        double need = r->job[i].point->conf->train.memory_limit;
        if (!(need > 0))
            TRY(launch_sweep_memory(&need, r->job[i].point->conf, have / (double)r->slots));
        if (need * (double)r->slots <= have) continue;
        r->slots = (int64_t)fmax(floor(have / need), 1);
        char text[32], all[32];
        train_bytes_text(text, need);
        train_bytes_text(all, have);
        fprintf(stderr, "%lld at a time: %s needs %s of the %s that are free\n",
                (long long)r->slots, r->job[i].point->name, text, all);
    }
    r->memory = r->slots > 1 ? have / (double)r->slots : 0;
done:
    return status;
}

/* ---- jobs ---- */

static void release(job *j, job_state state) {
    if (j->lock >= 0) close(j->lock);
    launch_words_free(j->words);
    j->lock = -1;
    j->words = NULL;
    j->state = state;
}

/* Remembers why, and goes on with the others. */
static kern_status fail(job *j, const char *error) {
    kern_status status = KERN_OK;
    char *said = train_text("%s", error);
    train_terminal_say(stderr, "%s failed: %s", j->point->name, said);
    status = launch_point_fail(j->point, said);
    free(said);
    release(j, FAILED);
    return status;
}

/* Another point of this study that must be trained before a stage begins, for it judges it; NULL:
 * none. One that is not to be trained now is not waited for. */
static const job *awaits(const running *r, const job *j, int stage) {
    if (stage < 1) return NULL;
    for (int64_t i = 0; i < r->sweep->count; i++) {
        const job *other = &r->job[i];
        if (other != j && other->state != SKIPPED && !launch_point_trained(other->point) &&
            launch_point_judges(other->point, &r->sweep->study->evaluation[stage - 1]))
            return other;
    }
    return NULL;
}

/* The next stage of a point that is claimed; one that must wait is released. What makes its command
 * impossible fails the point. */
static kern_status start(running *r, job *j) {
    const conf_study *study = r->sweep->study;
    j->stage = launch_point_next(j->point, study);
    if (j->stage < 0) {
        release(j, FINISHED);
        return KERN_OK;
    }
    const job *awaited = awaits(r, j, j->stage);
    if (awaited && awaited->state != FAILED) {
        release(j, OPEN);
        return KERN_OK;
    }
    launch_words_free(j->words);
    j->words = NULL;
    kern_status status = launch_point_command(&j->words, j->point, study, j->stage, r->threads,
                                              r->memory, r->chosen->launcher);
    if (status == KERN_ERR_CONFIG) return fail(j, kern_error());
    if (status != KERN_OK) return status;
    status = launch_child_start(&j->child, j->words, j->point, j->lock);
    if (status == KERN_OK) j->state = RUNNING;
    return status;
}

/* Takes up a point unless another process has it. One that failed since this study began, under
 * another process, is not tried again. */
static kern_status take(running *r, job *j) {
    kern_status status = KERN_OK;
    TRY(launch_point_claim(&j->lock, j->point));
    j->state = j->lock < 0 ? ELSEWHERE : OPEN;
    if (j->lock < 0) return KERN_OK;
    char *error = launch_point_error(j->point);
    if (error && !j->failed_before) {
        release(j, FAILED);
    } else {
        TRY(launch_point_fail(j->point, NULL));
        j->step = j->first_step = launch_point_step(j->point);
        status = start(r, j);
    }
    free(error);
done:
    return status;
}

static kern_status reap(running *r, job *j) {
    kern_status status = KERN_OK;
    char *error;
    if (!launch_child_ended(j->child, &error, j->point)) return KERN_OK;
    if (r->stopping) {
        release(j, OPEN);
    } else if (error) {
        char *stage =
            j->stage
                ? train_text("%s: ",
                             conf_measure_name[r->sweep->study->evaluation[j->stage - 1].measure])
                : train_text("%s", "");
        char *whole = train_text("%s%s", stage, error);
        status = fail(j, whole);
        free(stage);
        free(whole);
    } else {
        status = launch_point_done(j->point, r->sweep->study, j->stage, j->words);
        if (status == KERN_ERR_DATA)
            status = fail(j, kern_error());
        else if (status == KERN_OK)
            status = start(r, j);
        if (j->state == FINISHED) fprintf(stderr, "%s is finished\n", j->point->name);
    }
    free(error);
    return status;
}

/* Fills free slots. Points of other processes are looked at again once a second. */
static kern_status fill(running *r) {
    kern_status status = KERN_OK;
    double now = kern_seconds();
    bool again = now - r->looked >= 1;
    if (again) r->looked = now;
    for (int64_t i = 0; i < r->sweep->count; i++) {
        job *j = &r->job[i];
        if (count_of(r, RUNNING) >= r->slots) break;
        const job *awaited = awaits(r, j, launch_point_next(j->point, r->sweep->study));
        if (j->state == OPEN && awaited && awaited->state != FAILED) continue;
        if (j->state == OPEN || (again && j->state == ELSEWHERE)) TRY(take(r, j));
    }
done:
    return status;
}

/* ---- progress ---- */

/* Work that is left and that was done since it was taken up, FLOP. */
static void weigh(running *r, double *left, double *done) {
    *left = *done = 0;
    for (int64_t i = 0; i < r->sweep->count; i++) {
        job *j = &r->job[i];
        if (j->state == SKIPPED || j->state == FAILED) continue;
        double steps = (double)j->point->conf->train.steps;
        double each = launch_point_work(j->point) / steps;
        if (j->state == RUNNING || j->state == ELSEWHERE) j->step = launch_point_step(j->point);
        if (j->state == FINISHED) j->step = (int64_t)steps;
        *left += each * (steps - (double)j->step);
        if (j->state != ELSEWHERE) *done += each * (double)(j->step - j->first_step);
    }
}

static void show(running *r, bool last) {
    bool terminal = isatty(STDERR_FILENO);
    double now = kern_seconds(), left, done;
    if (!last && now - r->shown < (terminal ? 1 : 30)) return;
    r->shown = now;
    weigh(r, &left, &done);
    double taken = now - r->began;
    char time[32], *text;
    int64_t all = r->sweep->count - count_of(r, SKIPPED);
    text = train_text("%s: %lld of %lld points finished, %lld running, %lld failed, %s left",
                      r->sweep->name, (long long)count_of(r, FINISHED), (long long)all,
                      (long long)count_of(r, RUNNING) + count_of(r, ELSEWHERE),
                      (long long)count_of(r, FAILED),
                      launch_duration(time, done > 0 ? taken * left / done : HUGE_VAL));
    if (terminal)
        fprintf(stderr, "\r%s\033[K", train_terminal_cut(text, train_terminal_room(stderr)));
    else
        fprintf(stderr, "%s\n", text);
    if (terminal && last) fprintf(stderr, "\n");
    free(text);
}

/* ---- the whole ---- */

static void stop(running *r) {
    if (r->stopping) return;
    r->stopping = true;
    for (int64_t i = 0; i < r->sweep->count; i++)
        if (r->job[i].state == RUNNING) kill(r->job[i].child, SIGINT);
}

static kern_status run_all(running *r) {
    kern_status status = KERN_OK;
    const struct timespec pause = {.tv_nsec = 20000000};
    for (;;) {
        if (train_signals_received()) stop(r);
        for (int64_t i = 0; i < r->sweep->count; i++)
            if (r->job[i].state == RUNNING) TRY(reap(r, &r->job[i]));
        if (!r->stopping) TRY(fill(r));
        if (!count_of(r, RUNNING) && (r->stopping || !(count_of(r, OPEN) + count_of(r, ELSEWHERE))))
            break;
        show(r, false);
        nanosleep(&pause, NULL);
    }
    show(r, true);
done:
    return status;
}

static kern_status conclude(const running *r) {
    const launch_sweep *sweep = r->sweep;
    int64_t failed = count_of(r, FAILED);
    if (r->stopping)
        return kern_fail(KERN_ERR_INTERRUPTED,
                         "stopped; finished points are kept, the others go on from their last "
                         "checkpoints with: ttt sweep %s",
                         sweep->dir);
    if (!failed) return KERN_OK;
    char *names = train_text("%s", "");
    for (int64_t i = 0; i < sweep->count; i++)
        if (r->job[i].state == FAILED) {
            char *more = train_text("%s%s%s", names, *names ? ", " : "", sweep->point[i].name);
            free(names);
            names = more;
        }
    kern_fail(KERN_ERR_DATA,
              "%lld point%s failed: %s; why: ttt sweep status %s; again: ttt sweep %s",
              (long long)failed, failed == 1 ? "" : "s", names, sweep->dir, sweep->dir);
    free(names);
    return KERN_ERR_DATA;
}

static void look(running *r) {
    for (int64_t i = 0; i < r->sweep->count; i++) {
        job *j = &r->job[i];
        *j = (job){.point = &r->sweep->point[i], .lock = -1, .state = SKIPPED};
        if (j->point->left_out || !launch_sweep_picks(r->sweep, i, r->chosen->only)) continue;
        char *error = launch_point_error(j->point);
        j->failed_before = error != NULL;
        free(error);
        j->state = launch_point_next(j->point, r->sweep->study) < 0 ? FINISHED : OPEN;
        j->step = j->first_step = launch_point_step(j->point);
    }
}

kern_status launch_sweep_run(const launch_sweep *sweep, const launch_sweep_choices *chosen) {
    kern_status status = KERN_OK;
    train_signals signals;
    running r = {.sweep = sweep, .chosen = chosen};
    r.job = kern_array(sweep->count, sizeof *r.job);
    train_signals_install_saying(&signals, "\nttt sweep: stopping");
    TRY(launch_sweep_begin(sweep));
    look(&r);
    TRY(share_cores(&r));
    TRY(share_memory(&r));
    r.began = r.shown = kern_seconds();
    TRY(run_all(&r));
    TRY(conclude(&r));
done:
    stop(&r);
    train_signals_restore(&signals);
    for (int64_t i = 0; i < sweep->count; i++)
        if (r.job[i].point) release(&r.job[i], SKIPPED);
    free(r.job);
    return status;
}
