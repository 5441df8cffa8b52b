#include "launch/agree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/device.h"
#include "kernels/isa.h"
#include "launch/ranks.h"
#include "launch/watch.h"
#include "train/fit.h"

/* Of the program's own file: a commit does not say how it was built. */
static uint64_t program_checksum(void) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325), words[1024];
    FILE *file = fopen("/proc/self/exe", "r");
    for (size_t got; file && (got = fread(words, sizeof *words, 1024, file)) > 0;)
        for (size_t i = 0; i < got; i++) hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
    if (file) fclose(file);
    return hash;
}

kern_status launch_agree(const ttt_conf *conf) {
    static const char *const levels[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};
    kern_status status = KERN_OK;
    const kern_device *device;
    char *options = NULL, *text = NULL;
    size_t bytes;
    if (launch_ranks_count() == 1) return KERN_OK;
    launch_watch_patience((double)conf->ranks.timeout);
    TRY(kern_device_open(&device, conf->train.device));
    TRY(conf_text(&options, conf));
    FILE *to = open_memstream(&text, &bytes);
    ASSERT(to);
    fprintf(to, "the program (checksum): %016" PRIx64 "\n", program_checksum());
    fprintf(to, "the instruction set: %s\n", levels[kern_isa()]);
    fprintf(to, "the device: %s\n", device->machine->name);
    fprintf(to, "threads (train.threads): %d\n%s", train_threads(conf), options);
    ASSERT(!fclose(to));
    TRY(kern_comm_same(launch_ranks_job(), text));
done:
    free(text);
    free(options);
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
