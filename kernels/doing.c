#include "kernels/doing.h"

#include <stdatomic.h>
#include <stddef.h>

#include "kernels/base.h"

static _Atomic int64_t step;
static const char *_Atomic long_work;
static _Atomic int64_t device_changes; /* odd: it is waited for */

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
    ASSERT(((atomic_fetch_add(&device_changes, 1) + 1) & 1) == waits);
}

bool kern_doing_waits_for_device(void) {
    return atomic_load(&device_changes) & 1;
}

int64_t kern_doing_device_changes(void) {
    return atomic_load(&device_changes);
}
