#include "launch/plan_ranks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/report.h"
#include "train/fit.h"

static kern_status read_network(double *bytes, const char *text) {
    char *end;
    double number = strtod(text, &end);
    bool bits = !strcmp(end, "Gb");
    if ((!bits && strcmp(end, "GB") != 0) || !(number > 0) || !isfinite(number))
        return kern_fail(KERN_ERR_USAGE,
                         "--network %s is no speed; 400Gb is 400 gigabits a second, 50GB the same "
                         "in bytes",
                         text);
    *bytes = number * 1e9 / (bits ? 8 : 1);
    return KERN_OK;
}

kern_status launch_paper_ranks_open(launch_paper_ranks *job, int64_t ranks, int64_t tensor,
                                    const char *network) {
    if (ranks < 1 || ranks > 1 << 20 || tensor < 1 || ranks % tensor)
        return kern_fail(KERN_ERR_USAGE,
                         "--ranks %lld cannot be with %lld tensor ranks, which must divide it",
                         (long long)ranks, (long long)tensor);
    const int count[3] = {(int)ranks, (int)(ranks / tensor), (int)tensor};
    for (int i = 0; i < 3; i++) {
        job->comm[i] = *kern_comm_alone(); /* what it would agree on is what it has */
        job->comm[i].ranks = count[i];
    }
    job->ranks = (kern_ranks){&job->comm[0], &job->comm[1], &job->comm[2], 0};
    return read_network(&job->network, network);
}

/* That are left beside no computing. */
static double exposed(const train_sent sent[TRAIN_SENDS]) {
    double sum = 0;
    for (int i = 0; i < TRAIN_SENDS; i++) sum += sent[i].seconds - sent[i].hidden;
    return sum;
}

static double rate_of(const ttt_conf *conf, double seconds, double ranks) {
    return (double)conf->train.batch * (double)conf->train.context / seconds / ranks;
}

void launch_plan_ranks_print(const ttt_conf *conf, const launch_paper_ranks *job,
                             const train_step *step, double compute, double alone) {
    train_sent sent[TRAIN_SENDS];
    char text[32];
    int ranks = job->ranks.job->ranks;
    train_predict_ranks(sent, step, job->network);
    double seconds = compute + exposed(sent), rate = rate_of(conf, seconds, ranks);
    printf("\n%d ranks: %d that read other texts x %d that share them\n", ranks,
           job->ranks.data->ranks, job->ranks.tensor->ranks);
    printf("%-18s %10s %12s %10s %10s\n", "sent by a rank", "calls", "bytes", "seconds", "exposed");
    for (int i = 0; i < TRAIN_SENDS; i++)
        if (sent[i].calls > 0)
            printf("%-18s %10.0f %12s %10.4f %10.4f\n", train_send_name[i], sent[i].calls,
                   launch_scaled(text, sent[i].bytes, "B"), sent[i].seconds,
                   sent[i].seconds - sent[i].hidden);
    printf("a step             %.4f s: %.4f s of computing, and %.4f s of sending that nothing "
           "hides\n",
           seconds, compute, exposed(sent));
    printf("tokens/s a rank    %.0f, of the whole job %.0f\n", rate, rate * ranks);
    if (alone > 0)
        printf("efficiency         %.1f %% of one rank's %.0f tokens/s\n",
               100 * rate / rate_of(conf, alone, 1), rate_of(conf, alone, 1));
    printf("\nAssumed: %d ranks a machine, filled in their order; %s between two of them;",
           TRAIN_MACHINE_RANKS, launch_scaled(text, TRAIN_NEAR_BANDWIDTH, "B/s"));
    printf(
        " each with a port\nof %s to the others, of which %.0f %% are reached; %.0f us a "
        "message near, %.0f us far;\ngradients of suffix and prefix are sent beside the prefix's "
        "reverse of the last micro-batch, as they\nbecome complete, all else while nothing is "
        "computed.\n",
        launch_scaled(text, job->network, "B/s"), 100 * TRAIN_NETWORK_REACHES,
        1e6 * TRAIN_NEAR_SECONDS, 1e6 * TRAIN_FAR_SECONDS);
}

void launch_plan_ranks_json(json_t *object, const ttt_conf *conf, const launch_paper_ranks *job,
                            const train_step *step, double compute, double alone) {
    train_sent sent[TRAIN_SENDS];
    json_t *kinds = json_object();
    double ranks = job->ranks.job->ranks;
    train_predict_ranks(sent, step, job->network);
    double seconds = compute + exposed(sent), rate = rate_of(conf, seconds, ranks);
    for (int i = 0; i < TRAIN_SENDS; i++)
        launch_json_set(kinds, train_send_name[i],
                        launch_json("{s:f,s:f,s:f,s:f}", "calls", sent[i].calls, "bytes",
                                    sent[i].bytes, "seconds", sent[i].seconds, "exposed",
                                    sent[i].seconds - sent[i].hidden));
    launch_json_set(object, "ranks",
                    launch_json("{s:i,s:i,s:f,s:f,s:f,s:o}", "data", job->ranks.data->ranks,
                                "tensor", job->ranks.tensor->ranks, "seconds_per_step", seconds,
                                "tokens_per_second_per_rank", rate, "efficiency",
                                alone > 0 ? rate / rate_of(conf, alone, 1) : 0, "sent", kinds));
}

/* One line; a job that its batch or its memory does not allow says so. */
static kern_status print_scaled(const ttt_conf *conf, const kern_device *device, int64_t ranks,
                                const launch_paper_ranks *job, double alone) {
    kern_status status = KERN_OK;
    train_step *step = NULL;
    train_fit fit;
    char memory[32], bytes[32];
    int data = job->ranks.data->ranks;
    printf("%6lld %6d ", (long long)ranks, data);
    if (conf->train.batch % data) {
        printf("  a batch of %lld sequences is not divided\n", (long long)conf->train.batch);
        return status;
    }
    TRY(train_fit_find(&step, &fit, conf, device, train_memory_limit(conf, device), &job->ranks,
                       train_threads(conf), false));
    train_bytes_text(memory, (double)fit.memory.total);
    if (!step) {
        printf(" %12s  does not fit\n", memory);
        goto done;
    }
    train_sent sent[TRAIN_SENDS];
    double compute = train_predict(step).step.seconds, sum = 0;
    train_predict_ranks(sent, step, job->network);
    for (int i = 0; i < TRAIN_SENDS; i++) sum += sent[i].bytes;
    double seconds = compute + exposed(sent), rate = rate_of(conf, seconds, (double)ranks);
    printf(" %12s %12s %10.4f %10.4f %12.0f %9.1f %%\n", memory, launch_scaled(bytes, sum, "B"),
           compute, seconds, rate, alone > 0 ? 100 * rate / rate_of(conf, alone, 1) : 0);
done:
    train_step_destroy(step);
    return status;
}

kern_status launch_plan_scaling(const ttt_conf *conf, const kern_device *device, int64_t tensor,
                                const char *network, double alone) {
    kern_status status = KERN_OK;
    printf("\n%6s %6s  %12s %12s %10s %10s %12s %11s\n", "ranks", "data", "memory", "sent a step",
           "computing", "a step", "tokens/s each", "efficiency");
    for (int64_t ranks = 8; ranks <= 1024; ranks *= 2) {
        launch_paper_ranks job;
        TRY(launch_paper_ranks_open(&job, ranks, tensor, network));
        TRY(print_scaled(conf, device, ranks, &job, alone));
    }
done:
    return status;
}
