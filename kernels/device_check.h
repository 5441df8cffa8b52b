/* The check device's memory and calls, for its four tables. Internal to kernels/device_check*.c. */
#ifndef KERNELS_DEVICE_CHECK_H
#define KERNELS_DEVICE_CHECK_H

#include "kernels/device.h"

/* The real address of `bytes` at `address`, all of one piece of memory; NULL stays. Ends the
 * program where it is none. */
void *kern_check_real(const void *address, size_t bytes);

/* A call of run(arguments) that is due when somebody waits; the arguments, `bytes` of zeros, are to
 * be filled in. */
void *kern_check_note(void (*run)(void *arguments), size_t bytes);

/* Makes all calls that are due. */
void kern_check_run(void);

/* A call on the second stream has run at once, which it may, with `result` for the memory at `to`,
 * a real address: there is NaN until the first stream is ordered behind it. Takes `result`. */
void kern_check_keep(void *to, void *result, size_t bytes);

extern const kern_matmul_ops kern_check_matmul;
extern const kern_attention_ops kern_check_attention;
extern const kern_rows_ops kern_check_rows;
extern const kern_move_ops kern_check_move;

#endif
