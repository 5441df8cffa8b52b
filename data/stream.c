#include "data/stream.h"

#include "data/kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { INPUT_BYTES = 1 << 17, LEAST_LOOKED_AT = 16, PATIENCE_MS = 200 };

struct data_stream {
    data_stream_options options;
    int descriptor;
    const data_kind *kind; /* of the file; NULL: plain bytes */
    unsigned char *input;  /* of the file, read and not yet taken: [taken, filled) */
    int64_t filled, taken, consumed;
    bool ended;   /* no more of the file than what is in `input` */
    bool inside;  /* of a gzip member or a zstd frame */
    z_stream zip; /* begun where state is not NULL */
    ZSTD_DStream *zstd;
    char *head; /* bytes that were looked at: [head_taken, head_bytes) */
    int64_t head_bytes, head_taken, head_capacity;
};

const char *data_stream_name(const char *path) {
    return strcmp(path, "-") ? path : "the standard input";
}

int64_t data_stream_size(const char *path) {
    struct stat about;
    int failed = strcmp(path, "-") ? stat(path, &about) : fstat(STDIN_FILENO, &about);
    return !failed && S_ISREG(about.st_mode) ? about.st_size : 0;
}

static const char *name_of(const data_stream *stream) {
    return data_stream_name(stream->options.path);
}

/* More of the file behind what is in `input`. */
static kern_status read_input(data_stream *stream) {
    struct pollfd wait = {.fd = stream->descriptor, .events = POLLIN};
    int (*stop)(void) = stream->options.stop;
    int64_t rest = stream->filled - stream->taken;
    memmove(stream->input, stream->input + stream->taken, (size_t)rest);
    stream->taken = 0;
    stream->filled = rest;
    for (;;) {
        while (stop && poll(&wait, 1, PATIENCE_MS) <= 0)
            if (stop()) return kern_fail(KERN_ERR_INTERRUPTED, "stopped");
        ssize_t got = read(stream->descriptor, stream->input + rest, (size_t)(INPUT_BYTES - rest));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return kern_fail(KERN_ERR_FILE, "%s: cannot be read: %s", name_of(stream),
                             strerror(errno));
        stream->ended = got == 0;
        stream->filled += got;
        return KERN_OK;
    }
}

static int64_t input_left(const data_stream *stream) {
    return stream->filled - stream->taken;
}

static void take_input(data_stream *stream, int64_t bytes) {
    stream->taken += bytes;
    stream->consumed += bytes;
}

static kern_status damaged(const data_stream *stream, const char *reason) {
    return kern_fail(KERN_ERR_DATA, "%s: its %s data are damaged: %s", name_of(stream),
                     stream->kind->name, reason ? reason : "no reason is known");
}

static kern_status cut_off(const data_stream *stream) {
    return kern_fail(KERN_ERR_DATA, "%s: its %s data end too early", name_of(stream),
                     stream->kind->name);
}

/* What can be inflated of the input, perhaps nothing. Some programs pad with zeros behind the last
 * member. */
static kern_status inflate_some(data_stream *stream, char *memory, int64_t most, int64_t *got) {
    z_stream *zip = &stream->zip;
    while (!stream->inside && input_left(stream) && !stream->input[stream->taken])
        take_input(stream, 1);
    if (!stream->inside && !input_left(stream)) return KERN_OK;
    if (!stream->inside && inflateReset(zip) != Z_OK) return damaged(stream, zip->msg);
    zip->next_in = stream->input + stream->taken;
    zip->avail_in = (unsigned)input_left(stream);
    zip->next_out = (unsigned char *)memory;
    zip->avail_out = (unsigned)most;
    int met = inflate(zip, Z_NO_FLUSH);
    if (met == Z_MEM_ERROR)
        return kern_fail(KERN_ERR_MEMORY, "%s: no memory to inflate it", name_of(stream));
    if (met != Z_OK && met != Z_STREAM_END && met != Z_BUF_ERROR) return damaged(stream, zip->msg);
    stream->inside = met != Z_STREAM_END;
    take_input(stream, input_left(stream) - zip->avail_in);
    *got = most - zip->avail_out;
    return KERN_OK;
}

static kern_status unpack_some(data_stream *stream, char *memory, int64_t most, int64_t *got) {
    ZSTD_inBuffer in = {stream->input + stream->taken, (size_t)input_left(stream), 0};
    ZSTD_outBuffer out = {memory, (size_t)most, 0};
    size_t met = ZSTD_decompressStream(stream->zstd, &out, &in);
    if (ZSTD_isError(met)) return damaged(stream, ZSTD_getErrorName(met));
    if (in.pos || out.pos || !met) stream->inside = met != 0;
    take_input(stream, (int64_t)in.pos);
    *got = (int64_t)out.pos;
    return KERN_OK;
}

static kern_status copy_some(data_stream *stream, char *memory, int64_t most, int64_t *got) {
    *got = input_left(stream) < most ? input_left(stream) : most;
    memcpy(memory, stream->input + stream->taken, (size_t)*got);
    take_input(stream, *got);
    return KERN_OK;
}

/* The next bytes of the text, behind those of `head`. */
static kern_status produce(data_stream *stream, char *memory, int64_t most, int64_t *got) {
    kern_status status = KERN_OK;
    *got = 0;
    if (most > INPUT_BYTES) most = INPUT_BYTES;
    for (;;) {
        int64_t before = stream->consumed;
        TRY(stream->zip.state ? inflate_some(stream, memory, most, got)
            : stream->zstd    ? unpack_some(stream, memory, most, got)
                              : copy_some(stream, memory, most, got));
        if (*got) break;
        if (stream->consumed > before && input_left(stream)) continue;
        if (stream->ended && stream->inside) TRY(cut_off(stream));
        if (stream->ended) break;
        TRY(read_input(stream));
    }
done:
    return status;
}

kern_status data_stream_read(data_stream *stream, char *memory, int64_t most, int64_t *got) {
    int64_t there = stream->head_bytes - stream->head_taken;
    ASSERT(most > 0);
    if (!there) return produce(stream, memory, most, got);
    *got = there < most ? there : most;
    memcpy(memory, stream->head + stream->head_taken, (size_t)*got);
    stream->head_taken += *got;
    return KERN_OK;
}

kern_status data_stream_fill(data_stream *stream, char *memory, int64_t most, int64_t *got) {
    kern_status status = KERN_OK;
    int64_t more;
    for (*got = 0; *got < most; *got += more) {
        TRY(data_stream_read(stream, memory + *got, most - *got, &more));
        if (!more) break;
    }
done:
    return status;
}

kern_status data_stream_peek(data_stream *stream, char **head, int64_t *bytes, int64_t wanted) {
    kern_status status = KERN_OK;
    ASSERT(!stream->head_taken);
    for (int64_t more = 1; more && stream->head_bytes < wanted; stream->head_bytes += more) {
        stream->head = kern_grow(stream->head, &stream->head_capacity, wanted, 1);
        TRY(produce(stream, stream->head + stream->head_bytes, wanted - stream->head_bytes, &more));
    }
    *head = stream->head;
    *bytes = stream->head_bytes;
done:
    return status;
}

static kern_status open_file(data_stream *stream) {
    struct stat about;
    const char *path = stream->options.path;
    bool standard = !strcmp(path, "-");
    stream->descriptor = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (stream->descriptor < 0 || fstat(stream->descriptor, &about))
        return kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", name_of(stream),
                         strerror(errno));
    if (S_ISDIR(about.st_mode) && standard)
        return kern_fail(KERN_ERR_USAGE, "%s: is a folder; name its files", name_of(stream));
    if (S_ISDIR(about.st_mode))
        return kern_fail(KERN_ERR_USAGE, "%s is a folder; name its files: '%s/*.txt'",
                         name_of(stream), path);
    return KERN_OK;
}

static kern_status refuse(const data_stream *stream, const data_kind *kind) {
    if (stream->kind)
        return kern_fail(KERN_ERR_DATA, "%s: is %s inside of %s; %s", name_of(stream), kind->name,
                         stream->kind->name, kind->advice);
    return kern_fail(KERN_ERR_DATA, "%s: is %s, not text; %s", name_of(stream), kind->name,
                     kind->advice);
}

/* The window of `zstd --long=31` is allowed: memory is taken where a file needs it. */
static kern_status begin_unpacking(data_stream *stream) {
    bool gzip = stream->kind->packed == DATA_PACKED_GZIP;
    ZSTD_bounds window = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax);
    if (!gzip) stream->zstd = ZSTD_createDStream();
    if (gzip ? inflateInit2(&stream->zip, 15 + 16) != Z_OK : !stream->zstd)
        return kern_fail(KERN_ERR_MEMORY, "%s: no memory to unpack it", name_of(stream));
    if (!gzip) ZSTD_DCtx_setParameter(stream->zstd, ZSTD_d_windowLogMax, window.upperBound);
    return KERN_OK;
}

/* Looks at the first bytes of the file and, where it is compressed, at those inside. */
static kern_status find_kind(data_stream *stream) {
    kern_status status = KERN_OK;
    char *head;
    int64_t bytes;
    while (input_left(stream) < LEAST_LOOKED_AT && !stream->ended) TRY(read_input(stream));
    const data_kind *kind = data_kind_of((const char *)stream->input, stream->filled);
    if (kind && !kind->packed && !stream->options.any_kind) TRY(refuse(stream, kind));
    if (!kind || !kind->packed) goto done;
    stream->kind = kind;
    TRY(begin_unpacking(stream));
    TRY(data_stream_peek(stream, &head, &bytes, DATA_KIND_BYTES));
    kind = bytes ? data_kind_of(head, bytes) : NULL;
    if (kind && !stream->options.any_kind) TRY(refuse(stream, kind));
done:
    return status;
}

kern_status data_stream_open(data_stream **out, const data_stream_options *options) {
    kern_status status = KERN_OK;
    data_stream *stream = NULL;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&stream, sizeof *stream, "a reader"));
    stream->options = *options;
    stream->descriptor = -1;
    TRY(kern_alloc((void **)&stream->input, INPUT_BYTES, "a reader"));
    TRY(open_file(stream));
    TRY(find_kind(stream));
    *out = stream;
    stream = NULL;
done:
    data_stream_destroy(stream);
    return status;
}

void data_stream_destroy(data_stream *stream) {
    if (!stream) return;
    if (stream->zip.state) inflateEnd(&stream->zip);
    ZSTD_freeDStream(stream->zstd);
    if (stream->descriptor > STDIN_FILENO) close(stream->descriptor);
    kern_free(stream->input);
    free(stream->head);
    kern_free(stream);
}

int64_t data_stream_consumed(const data_stream *stream) {
    return stream->consumed;
}

bool data_stream_is_compressed(const data_stream *stream) {
    return stream->kind != NULL;
}
