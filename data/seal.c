#include "data/seal.h"

#include "data/checksum.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "shards are little-endian");

typedef struct {
    char magic[8];
    uint32_t version, rest_crc;
    uint64_t file_bytes, tokens_begin, tokens_bytes;
    unsigned char zeros[468];
    uint32_t crc; /* of what stands before it */
} block;
_Static_assert(sizeof(block) == DATA_SEAL_BYTES, "no padding");

static const char magic[8] = "TTTSHARD";
enum { VERSION = 1 };

static kern_status crc_of_rest(uint32_t *crc, int descriptor, const data_seal *seal,
                               const char *path) {
    kern_status status = KERN_OK;
    int64_t tokens_end = seal->tokens_begin + seal->tokens_bytes;
    *crc = 0;
    TRY(data_crc32_range(crc, descriptor, DATA_SEAL_BYTES, seal->tokens_begin, path));
    TRY(data_crc32_range(crc, descriptor, tokens_end, seal->file_bytes, path));
done:
    return status;
}

kern_status data_seal_write(data_aside *file, int64_t tokens_begin, int64_t tokens_bytes) {
    kern_status status = KERN_OK;
    struct stat about;
    const char *path = data_aside_path(file);
    if (fstat(data_aside_descriptor(file), &about)) {
        status = kern_fail(KERN_ERR_FILE, "%s: cannot be read back: %s", path, strerror(errno));
        goto done;
    }
    data_seal seal = {(int64_t)about.st_size, tokens_begin, tokens_bytes, 0};
    block written = {.version = VERSION};
    memcpy(written.magic, magic, sizeof magic);
    written.file_bytes = (uint64_t)seal.file_bytes;
    written.tokens_begin = (uint64_t)tokens_begin;
    written.tokens_bytes = (uint64_t)tokens_bytes;
    TRY(crc_of_rest(&written.rest_crc, data_aside_descriptor(file), &seal, path));
    written.crc = data_crc32(0, &written, offsetof(block, crc));
    TRY(data_aside_write(file, 0, &written, sizeof written));
done:
    return status;
}

/* Why a file without our seal is none of ours, said as well as its first bytes allow. */
static kern_status refuse_foreign(const char *path, const void *bytes, ssize_t got) {
    static const unsigned char hdf5[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    static const unsigned char unsealed[8] = {0};
    const char *what = "no shard";
    if (got >= 8 && !memcmp(bytes, hdf5, sizeof hdf5)) what = "an HDF5 file, but no shard";
    if (got >= 8 && !memcmp(bytes, unsealed, sizeof unsealed))
        what = "an unfinished shard, or none";
    return kern_fail(KERN_ERR_DATA, "%s: is %s; ttt pack writes shards", path, what);
}

kern_status data_seal_check(data_seal *seal, int descriptor, const char *path) {
    kern_status status = KERN_OK;
    block found;
    struct stat about;
    uint32_t crc;
    ssize_t got = pread(descriptor, &found, sizeof found, 0);
    if (got < 0 || fstat(descriptor, &about))
        return kern_fail(KERN_ERR_FILE, "%s: cannot be read: %s", path, strerror(errno));
    if (got < (ssize_t)sizeof magic || memcmp(found.magic, magic, sizeof magic))
        return refuse_foreign(path, &found, got);
    if (got < (ssize_t)sizeof found)
        return kern_fail(KERN_ERR_DATA, "%s: is truncated to %lld bytes", path, (long long)got);
    if (data_crc32(0, &found, offsetof(block, crc)) != found.crc)
        return kern_fail(KERN_ERR_DATA, "%s: its seal is damaged (checksum)", path);
    if (found.version != VERSION)
        return kern_fail(KERN_ERR_DATA, "%s: has format version %u, this program reads %d", path,
                         found.version, VERSION);
    if ((uint64_t)about.st_size != found.file_bytes)
        return kern_fail(KERN_ERR_DATA, "%s: has %lld bytes instead of %llu; it is %s", path,
                         (long long)about.st_size, (unsigned long long)found.file_bytes,
                         (uint64_t)about.st_size < found.file_bytes ? "truncated" : "not whole");
    if (found.tokens_begin < DATA_SEAL_BYTES || found.tokens_begin > found.file_bytes ||
        found.tokens_bytes > found.file_bytes - found.tokens_begin)
        return kern_fail(KERN_ERR_DATA, "%s: its tokens lie outside of it", path);
    *seal = (data_seal){(int64_t)found.file_bytes, (int64_t)found.tokens_begin,
                        (int64_t)found.tokens_bytes, found.crc};
    TRY(crc_of_rest(&crc, descriptor, seal, path));
    if (crc != found.rest_crc)
        status = kern_fail(KERN_ERR_DATA, "%s: is damaged outside of its tokens (checksum)", path);
done:
    return status;
}

bool data_seal_is(const void *context, int descriptor) {
    const data_seal *seal = context;
    uint32_t crc;
    ssize_t got = pread(descriptor, &crc, sizeof crc, offsetof(block, crc));
    return got == (ssize_t)sizeof crc && crc == seal->crc;
}
