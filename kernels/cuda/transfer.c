/* Uploads go through a ring of slots, each of which is filled again once the GPU has read it;
 * downloads through one piece of memory, from which they are delivered when the stream has ended.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda.h"

enum { SLOTS = 4, SLOT_BYTES = 4 << 20, DOWN_BYTES = 16 << 20 };

typedef struct {
    char *memory;
    void *event; /* after the last use */
    bool used;
} slot;

typedef struct {
    void *to;
    const char *from;
    size_t bytes;
} delivery;

typedef struct kept {
    struct kept *next;
    void *memory;
} kept;

static slot ring[SLOTS];
static int current;
static size_t filled; /* of the current slot */
static char *down;
static size_t down_filled;
static delivery *pending;
static int64_t pendings, pending_capacity;
static kept *recording;
static bool is_recording;

kern_status kern_cuda_transfer_create(void) {
    kern_status status = KERN_OK;
    for (int i = 0; i < SLOTS; i++) {
        TRY(RUNTIME(HostAlloc, (void **)&ring[i].memory, SLOT_BYTES, 0));
        TRY(RUNTIME(EventCreateWithFlags, &ring[i].event, 0));
    }
    TRY(RUNTIME(HostAlloc, (void **)&down, DOWN_BYTES, 0));
done:
    return status;
}

static void next_slot(kern_stream *stream) {
    ON_STREAM(stream, RUNTIME(EventRecord, ring[current].event, kern_cuda_stream));
    ring[current].used = true;
    current = (current + 1) % SLOTS;
    filled = 0;
    if (ring[current].used) ON_STREAM(stream, RUNTIME(EventSynchronize, ring[current].event));
}

static void upload_kept(kern_stream *stream, void *to, const void *from, size_t bytes) {
    kept *made = kern_array(1, sizeof *made);
    ON_STREAM(stream, RUNTIME(HostAlloc, &made->memory, bytes, 0));
    if (stream->status == KERN_OK) memcpy(made->memory, from, bytes);
    ON_STREAM(stream,
              RUNTIME(MemcpyAsync, to, made->memory, bytes, KERN_CUDA_TO_DEVICE, kern_cuda_stream));
    made->next = recording;
    recording = made;
}

void kern_cuda_upload(kern_stream *stream, void *to, const void *from, size_t bytes) {
    if (is_recording) {
        upload_kept(stream, to, from, bytes);
        return;
    }
    for (size_t done = 0, piece; done < bytes; done += piece) {
        if (filled == SLOT_BYTES) next_slot(stream);
        if (stream->status != KERN_OK) return;
        piece = bytes - done < SLOT_BYTES - filled ? bytes - done : SLOT_BYTES - filled;
        char *through = ring[current].memory + filled;
        memcpy(through, (const char *)from + done, piece);
        ON_STREAM(stream, RUNTIME(MemcpyAsync, (char *)to + done, through, piece,
                                  KERN_CUDA_TO_DEVICE, kern_cuda_stream));
        size_t end = kern_align(filled + piece);
        filled = end < SLOT_BYTES ? end : SLOT_BYTES;
    }
}

void kern_cuda_deliver(void) {
    for (int64_t i = 0; i < pendings; i++) memcpy(pending[i].to, pending[i].from, pending[i].bytes);
    pendings = 0;
    down_filled = 0;
}

void kern_cuda_download(kern_stream *stream, void *to, const void *from, size_t bytes) {
    ASSERT(!is_recording);
    for (size_t done = 0, piece; done < bytes; done += piece) {
        if (down_filled == DOWN_BYTES) {
            ON_STREAM(stream, RUNTIME(StreamSynchronize, kern_cuda_stream));
            kern_cuda_deliver();
        }
        if (stream->status != KERN_OK) return;
        size_t room = DOWN_BYTES - down_filled;
        piece = bytes - done < room ? bytes - done : room;
        char *through = down + down_filled;
        ON_STREAM(stream, RUNTIME(MemcpyAsync, through, (const char *)from + done, piece,
                                  KERN_CUDA_TO_HOST, kern_cuda_stream));
        pending = kern_grow(pending, &pending_capacity, pendings + 1, sizeof *pending);
        pending[pendings++] = (delivery){(char *)to + done, through, piece};
        size_t end = kern_align(down_filled + piece);
        down_filled = end < DOWN_BYTES ? end : DOWN_BYTES;
    }
}

void kern_cuda_keep_uploads(void) {
    is_recording = true;
}

void *kern_cuda_kept_uploads(void) {
    void *list = recording;
    recording = NULL;
    is_recording = false;
    return list;
}

void kern_cuda_forget_uploads(void *list) {
    for (kept *k = list, *next; k; k = next) {
        next = k->next;
        if (k->memory) kern_cuda_runtime_table.FreeHost(k->memory);
        free(k);
    }
}
