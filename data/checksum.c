#include "data/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { PIECE = 1 << 16 };

uint32_t data_crc32(uint32_t crc, const void *memory, size_t bytes) {
    /* zlib takes the null pointer as a request for the initial value. */
    return bytes ? (uint32_t)crc32_z(crc, memory, bytes) : crc;
}

uint32_t data_crc32_join(uint32_t first, uint32_t second, int64_t bytes) {
    return (uint32_t)crc32_combine(first, second, (z_off_t)bytes);
}

/* A checksum begins as ones and ends inverted, and is linear in between. */
uint32_t data_crc32_part(uint32_t part, const void *memory, size_t bytes) {
    return ~data_crc32(~part, memory, bytes);
}

uint32_t data_crc32_of_parts(uint32_t parts, int64_t bytes) {
    return parts ^ ~data_crc32_join(UINT32_MAX, 0, bytes);
}

kern_status data_crc32_range(uint32_t *crc, int descriptor, int64_t begin, int64_t end,
                             const char *path) {
    unsigned char piece[PIECE];
    while (begin < end) {
        size_t wanted = end - begin < PIECE ? (size_t)(end - begin) : PIECE;
        ssize_t got = pread(descriptor, piece, wanted, (off_t)begin);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return kern_fail(KERN_ERR_FILE, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0)
            return kern_fail(KERN_ERR_DATA,
                             "%s: ends at byte %lld, before its byte %lld; was it truncated?", path,
                             (long long)begin, (long long)end);
        *crc = data_crc32(*crc, piece, (size_t)got);
        begin += got;
    }
    return KERN_OK;
}

kern_status data_crc32_file(uint32_t *crc, int64_t *bytes, const char *path) {
    kern_status status = KERN_OK;
    struct stat about;
    *crc = 0;
    *bytes = 0;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &about)) {
        status = kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", path, strerror(errno));
        goto done;
    }
    *bytes = (int64_t)about.st_size;
    TRY(data_crc32_range(crc, descriptor, 0, *bytes, path));
done:
    if (descriptor >= 0) close(descriptor);
    return status;
}
