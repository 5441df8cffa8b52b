#include "train/algorithms.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/files.h"

enum { MOST_BYTES = 16 << 20 };

kern_status train_algorithms_load(const train_run *run, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    const kern_device *device;
    char *text = NULL;
    size_t bytes;
    TRY(kern_device_open(&device, conf->train.device));
    if (!device->choose || access(run->algorithms, F_OK)) goto done;
    TRY(train_read_file(&text, &bytes, run->algorithms, MOST_BYTES));
    TRY(device->choose(text, run->algorithms));
done:
    free(text);
    return status;
}

kern_status train_algorithms_save(const train_run *run, const kern_device *device) {
    if (!device->chosen) return KERN_OK;
    char *text = device->chosen();
    kern_status status = train_write_file(run->algorithms, text, strlen(text));
    free(text);
    return status;
}
