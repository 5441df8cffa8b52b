#include "kernels/doing.h"

#include <stdatomic.h>
#include <stddef.h>

static _Atomic int64_t step;
static const char *_Atomic long_work;
static _Atomic int64_t device_begun, device_ended;

void kern_doing_step(int64_t number) {
    atomic_store(&step, number);
}

int64_t kern_doing_which_step(void) {
    return atomic_load(&step);
}

void kern_doing_long(const char *what) {
    atomic_store(&long_work, what);
}

const char *kern_doing_what_long(void) {
    return atomic_load(&long_work);
}

void kern_doing_device(bool waits) {
    atomic_fetch_add(waits ? &device_begun : &device_ended, 1);
}

bool kern_doing_waits_for_device(void) {
    return atomic_load(&device_begun) > atomic_load(&device_ended);
}

int64_t kern_doing_device_changes(void) {
    return atomic_load(&device_begun) + atomic_load(&device_ended);
}
