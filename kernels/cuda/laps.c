/* Time on the GPU, by events between the calls. */
#include <string.h>

#include "kernels/cuda/cuda.h"

enum { MOST = 256 };

static void *event[MOST]; /* of laps not yet added up; the first: where the next one begins */
static int lap[MOST], count;
static double sum[KERN_LAPS];

/* All laps but the beginning of the next one. */
static void add_up(kern_stream *stream) {
    if (count > 1) ON_STREAM(stream, RUNTIME(EventSynchronize, event[count - 1]));
    for (int i = 1; i < count; i++) {
        float milliseconds = 0;
        if (lap[i] < 0) continue;
        ON_STREAM(stream, RUNTIME(EventElapsedTime, &milliseconds, event[i - 1], event[i]));
        sum[lap[i]] += (double)milliseconds / 1000;
    }
    if (count > 1) {
        void *last = event[count - 1];
        event[count - 1] = event[0];
        event[0] = last;
        count = 1;
    }
}

void kern_cuda_lap(kern_stream *stream, int which) {
    ASSERT(which < KERN_LAPS);
    if (count == MOST) add_up(stream);
    if (!event[count]) ON_STREAM(stream, RUNTIME(EventCreateWithFlags, &event[count], 0));
    if (stream->status != KERN_OK) return;
    ON_STREAM(stream, RUNTIME(EventRecord, event[count], kern_cuda_stream));
    lap[count++] = which;
}

void kern_cuda_laps(kern_stream *stream, double seconds[KERN_LAPS]) {
    add_up(stream);
    memcpy(seconds, sum, sizeof sum);
    memset(sum, 0, sizeof sum);
}
