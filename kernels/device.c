#include "kernels/device.h"
#include "kernels/doing.h"

#include <string.h>

kern_status kern_device_open(const kern_device **device, const char *name) {
    const kern_device *const known[] = {kern_device_cpu(), kern_device_check()};
    if (!strncmp(name, "cuda", 4)) return kern_device_cuda(device, name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i]->name, name)) {
            *device = known[i];
            return KERN_OK;
        }
    *device = NULL;
    return kern_fail(KERN_ERR_CONFIG, "there is no device '%s'; there are cpu, check and cuda",
                     name);
}

kern_status kern_finish(kern_stream *stream) {
    kern_doing_device(true);
    kern_status status = stream->device->finish(stream);
    kern_doing_device(false);
    if (status == KERN_OK) status = stream->status;
    if (stream->status != KERN_OK) stream->status = KERN_OK;
    return status;
}

kern_status kern_buffer_create(kern_buffer *buffer, const kern_device *device, size_t bytes,
                               const char *what) {
    ASSERT(!buffer->data);
    *buffer = (kern_buffer){.device = device, .bytes = bytes};
    return device->alloc(&buffer->data, bytes, what);
}

kern_status kern_buffer_create_zero(kern_buffer *buffer, const kern_device *device, size_t bytes,
                                    const char *what) {
    kern_status status = kern_buffer_create(buffer, device, bytes, what);
    if (status == KERN_OK) device->zero(device->stream, buffer->data, bytes, bytes, 1);
    return status;
}

void kern_buffer_destroy(kern_buffer *buffer) {
    if (buffer->data) buffer->device->free(buffer->data);
    *buffer = (kern_buffer){0};
}

void kern_shift(kern_stream *stream, void *to, const void *from, size_t bytes, size_t pitch,
                int64_t items) {
    char *target = to;
    const char *source = from;
    if (target == source) return;
    bool down = target < source;
    size_t shift = (size_t)(down ? source - target : target - source);
    for (size_t done = 0, piece; done < bytes; done += piece) {
        piece = bytes - done < shift ? bytes - done : shift;
        size_t at = down ? done : bytes - done - piece;
        stream->device->copy(stream, target + at, pitch, source + at, pitch, piece, items);
    }
}

void kern_upload(const kern_device *device, void *to, const void *from, size_t bytes) {
    device->upload(device->stream, to, from, bytes);
}

kern_status kern_download(const kern_device *device, void *to, const void *from, size_t bytes) {
    device->download(device->stream, to, from, bytes);
    return kern_finish(device->stream);
}
