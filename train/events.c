#include "train/events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "train/files.h"

struct train_events {
    int descriptor;
    char *path;
};

static const char PREFIX[] = "events.out.tfevents.";

/* Protocol buffers: a key is (field number << 3 | wire type). */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

typedef struct {
    uint8_t *bytes;
    int64_t count, capacity;
} buffer;

static void put(buffer *out, const void *bytes, size_t count) {
    out->bytes = kern_grow(out->bytes, &out->capacity, out->count + (int64_t)count, 1);
    if (count) memcpy(out->bytes + out->count, bytes, count);
    out->count += (int64_t)count;
}

static void put_little_endian(buffer *out, uint64_t value, int width) {
    for (int i = 0; i < width; i++) put(out, &(uint8_t){(uint8_t)(value >> (8 * i))}, 1);
}

static void put_varint(buffer *out, uint64_t value) {
    for (; value >= 128; value >>= 7) put(out, &(uint8_t){(uint8_t)(value | 128)}, 1);
    put(out, &(uint8_t){(uint8_t)value}, 1);
}

static void put_key(buffer *out, unsigned field, unsigned wire) {
    put_varint(out, field << 3 | wire);
}

static void put_bytes(buffer *out, unsigned field, const void *bytes, size_t count) {
    put_key(out, field, BYTES);
    put_varint(out, count);
    put(out, bytes, count);
}

uint32_t train_crc32c(const void *bytes, size_t count) {
    const uint8_t *next = bytes;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < count; i++) {
        crc ^= next[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* Records are masked because a CRC of data that holds its own CRC says nothing. */
static uint32_t masked_crc(const void *bytes, size_t count) {
    uint32_t crc = train_crc32c(bytes, count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Event{wall_time = 1, step = 2} with `payload` as its bytes field `field`, as one record. */
static kern_status write_event(train_events *events, int64_t step, unsigned field,
                               const buffer *payload) {
    kern_status status = KERN_OK;
    buffer event = {0}, record = {0};
    struct timespec now;
    struct stat info;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    put_key(&event, 1, FIXED64);
    put_little_endian(&event, bits, 8);
    put_key(&event, 2, VARINT);
    put_varint(&event, (uint64_t)step);
    put_bytes(&event, field, payload->bytes, (size_t)payload->count);

    put_little_endian(&record, (uint64_t)event.count, 8);
    put_little_endian(&record, masked_crc(record.bytes, 8), 4);
    put(&record, event.bytes, (size_t)event.count);
    put_little_endian(&record, masked_crc(event.bytes, (size_t)event.count), 4);
    if (fstat(events->descriptor, &info)) {
        status = kern_fail(KERN_ERR_FILE, "cannot write %s: %s", events->path, strerror(errno));
        goto done;
    }
    status = train_write_all(events->descriptor, record.bytes, (size_t)record.count, events->path);
    /* The failure is reported either way, and readers stop at a torn record. */
    if (status != KERN_OK && ftruncate(events->descriptor, info.st_size)) goto done;
done:
    free(event.bytes);
    free(record.bytes);
    return status;
}

kern_status train_events_write(train_events *events, int64_t step, int64_t count,
                               const train_value *values) {
    buffer summary = {0}, value = {0};
    for (int64_t i = 0; i < count; i++) {
        float number = (float)values[i].value;
        uint32_t bits;
        memcpy(&bits, &number, sizeof bits);
        value.count = 0;
        put_bytes(&value, 1, values[i].name, strlen(values[i].name)); /* tag */
        put_key(&value, 2, FIXED32);                                  /* simple_value */
        put_little_endian(&value, bits, 4);
        put_bytes(&summary, 1, value.bytes, (size_t)value.count);
    }
    kern_status status = write_event(events, step, 5, &summary);
    free(value.bytes);
    free(summary.bytes);
    return status;
}

/* Readers take files in the order of their names, which begin with a time in seconds: two runs
 * within a second, or a clock that went back, must not change that order. */
static kern_status next_time(int64_t *seconds, const char *directory) {
    char **names = NULL;
    int64_t count = 0;
    kern_status status = train_list(&names, &count, directory);
    if (status != KERN_OK) return status;
    *seconds = (int64_t)time(NULL);
    for (int64_t i = 0; i < count; i++) {
        if (strncmp(names[i], PREFIX, sizeof PREFIX - 1) != 0) continue;
        long long used = strtoll(names[i] + sizeof PREFIX - 1, NULL, 10);
        if (used >= *seconds && used < 9999999999) *seconds = used + 1;
    }
    train_free_names(names, count);
    return KERN_OK;
}

kern_status train_events_open(train_events **events, const char *directory, int64_t again) {
    kern_status status = KERN_OK;
    int64_t seconds = 0, capacity = 0;
    char host[256] = "localhost";
    train_events *made = kern_grow(NULL, &capacity, 1, sizeof *made);
    buffer text = {0};
    *made = (train_events){.descriptor = -1};
    *events = NULL;
    TRY(train_make_directory(directory));
    TRY(next_time(&seconds, directory));
    gethostname(host, sizeof host - 1);
    made->path = train_text("%s/%s%010lld.%s.%ld.0", directory, PREFIX, (long long)seconds, host,
                            (long)getpid());
    made->descriptor = open(made->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (made->descriptor < 0) {
        status = kern_fail(KERN_ERR_FILE, "cannot create %s: %s", made->path, strerror(errno));
        goto done;
    }
    put(&text, "brain.Event:2", 13);
    TRY(write_event(made, 0, 3, &text)); /* file_version */
    if (again > 0) {
        text.count = 0;
        put_key(&text, 1, VARINT); /* SessionLog.status = START */
        put_varint(&text, 1);
        TRY(write_event(made, again, 7, &text));
    }
    *events = made;
done:
    free(text.bytes);
    if (status != KERN_OK) train_events_close(made);
    return status;
}

void train_events_close(train_events *events) {
    if (!events) return;
    if (events->descriptor >= 0) close(events->descriptor);
    free(events->path);
    free(events);
}
