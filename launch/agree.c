#include "launch/agree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "configs/options.h"
#include "kernels/device.h"
#include "kernels/isa.h"
#include "launch/ranks.h"
#include "launch/watch.h"
#include "train/fit.h"

/* Of the program's own file: a commit does not say how it was built. */
static uint64_t program_checksum(void) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    FILE *file = fopen("/proc/self/exe", "r");
    for (size_t got = 1; file && got > 0;) {
        uint64_t words[1024] = {0}; /* what a part of the last one lacks are zeros */
        got = fread(words, 1, sizeof words, file);
        for (size_t i = 0; i * sizeof *words < got; i++)
            hash = (hash ^ (words[i] + got)) * UINT64_C(0x100000001b3);
    }
    if (file) fclose(file);
    return hash;
}

static void print_options(FILE *to, const ttt_conf *conf) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++) {
        fprintf(to, "%s: ", options[i].name);
        conf_option_print(to, conf, &options[i]);
        putc('\n', to);
    }
}

kern_status launch_agree(const ttt_conf *conf) {
    static const char *const levels[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};
    kern_status status = KERN_OK;
    const kern_device *device;
    char *text = NULL;
    size_t bytes;
    if (launch_ranks_count() == 1) return KERN_OK;
    launch_watch_patience((double)conf->ranks.timeout);
    TRY(kern_device_open(&device, conf->train.device));
    FILE *to = open_memstream(&text, &bytes);
    ASSERT(to);
    fprintf(to, "the program (checksum): %016" PRIx64 "\n", program_checksum());
    fprintf(to, "the instruction set: %s\n", levels[kern_isa()]);
    fprintf(to, "the device: %s\n", device->machine->name);
    fprintf(to, "threads (train.threads): %d\n", train_threads(conf));
    print_options(to, conf);
    ASSERT(!fclose(to));
    TRY(kern_comm_same(launch_ranks_job(), text));
done:
    free(text);
    return status;
}

kern_status launch_agree_and_open(const kern_ranks **ranks, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    const kern_device *device;
    TRY(launch_agree(conf));
    TRY(kern_device_open(&device, conf->train.device));
    TRY(launch_ranks_open(ranks, device, conf->ranks.tensor));
done:
    return status;
}
