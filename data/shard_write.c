#include "data/aside.h"
#include "data/checksum.h"
#include "data/h5.h"
#include "data/seal.h"
#include "data/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FORMAT_VERSION = 1, PIECE = 4096 };

struct data_shard_writer {
    const data_vocabulary *vocabulary;
    data_aside *file;
    char *split, *source;
    int64_t bad_lines;
    char *bad_lines_told;
    int spool; /* nameless file of stored tokens: those kept, then those of the begun document */
    size_t width;
    int64_t documents, tokens; /* kept */
    bool begun;
    int64_t begun_tokens;
    int64_t *offsets; /* [documents]: where each begins */
    char **names;     /* [documents], and the begun one's */
    int64_t offsets_capacity, names_capacity;
};

static kern_status copy_text(char **copy, const char *text) {
    size_t bytes = strlen(text) + 1;
    kern_status status = kern_alloc((void **)copy, bytes, "the description of a shard");
    if (status == KERN_OK) memcpy(*copy, text, bytes);
    return status;
}

/* A name that nobody has; without a name it dies with us. */
static kern_status open_spool(data_shard_writer *writer) {
    char *name = NULL;
    const char *path = data_aside_path(writer->file);
    if (asprintf(&name, "%s.spool-XXXXXX", path) < 0)
        return kern_fail(KERN_ERR_MEMORY, "%s: no memory for its name", path);
    writer->spool = mkostemp(name, O_CLOEXEC);
    int error = errno;
    if (writer->spool >= 0) unlink(name);
    free(name);
    if (writer->spool >= 0) return KERN_OK;
    return kern_fail(KERN_ERR_FILE, "%s: cannot be written: %s", path, strerror(error));
}

kern_status data_shard_create(data_shard_writer **out, const char *path,
                              const data_vocabulary *vocabulary, const char *split,
                              const char *source) {
    kern_status status = KERN_OK;
    *out = NULL;
    data_shard_writer *writer = NULL;
    TRY(kern_alloc_zero((void **)&writer, sizeof *writer, path));
    writer->spool = -1;
    writer->vocabulary = vocabulary;
    writer->width = vocabulary->size <= 65536 ? 2 : 4;
    TRY(copy_text(&writer->split, split));
    TRY(copy_text(&writer->source, source));
    TRY(data_aside_create(&writer->file, path));
    TRY(open_spool(writer));
    *out = writer;
    writer = NULL;
done:
    data_shard_writer_destroy(writer);
    return status;
}

void data_shard_writer_destroy(data_shard_writer *writer) {
    if (!writer) return;
    if (writer->spool >= 0) close(writer->spool);
    data_aside_destroy(writer->file);
    for (int64_t i = 0; i < writer->documents + writer->begun; i++) free(writer->names[i]);
    free(writer->names);
    free(writer->offsets);
    kern_free(writer->split);
    kern_free(writer->source);
    kern_free(writer->bad_lines_told);
    kern_free(writer);
}

kern_status data_shard_begin_document(data_shard_writer *writer, const char *name) {
    ASSERT(!writer->begun);
    writer->names = kern_grow(writer->names, &writer->names_capacity, writer->documents + 1,
                              sizeof *writer->names);
    char *copy = strdup(name);
    if (!copy) return kern_fail(KERN_ERR_MEMORY, "no memory for the name of a document");
    writer->names[writer->documents] = copy;
    writer->begun = true;
    writer->begun_tokens = 0;
    return data_shard_append(writer, &writer->vocabulary->bos, 1);
}

/* Whole bytes to or from the spool at token `begin` of the shard. */
static kern_status spool_bytes(data_shard_writer *writer, void *memory, int64_t begin,
                               int64_t count, bool write) {
    off_t place = (off_t)(begin * (int64_t)writer->width);
    size_t bytes = (size_t)count * writer->width;
    for (char *next = memory; bytes;) {
        ssize_t moved = write ? pwrite(writer->spool, next, bytes, place)
                              : pread(writer->spool, next, bytes, place);
        if (moved < 0 && errno == EINTR) continue;
        if (moved <= 0) {
            int error = moved ? errno : EIO;
            const char *hint = error == EFBIG ? "; the limit on file sizes (ulimit -f) is too low"
                               : write        ? "; is there room on its disk?"
                                              : "";
            return kern_fail(KERN_ERR_FILE, "%s: the file of its tokens cannot be %s: %s%s",
                             data_aside_path(writer->file), write ? "written" : "read back",
                             strerror(error), hint);
        }
        next += moved;
        place += moved;
        bytes -= (size_t)moved;
    }
    return KERN_OK;
}

kern_status data_shard_append(data_shard_writer *writer, const int32_t *tokens, int64_t count) {
    union {
        uint16_t narrow[PIECE];
        uint32_t wide[PIECE];
    } stored;
    ASSERT(writer->begun);
    for (int64_t done = 0; done < count;) {
        int64_t piece = count - done < PIECE ? count - done : PIECE;
        for (int64_t i = 0; i < piece; i++) {
            int32_t token = tokens[done + i];
            ASSERT(token >= 0 && token < writer->vocabulary->size);
            if (writer->width == 2)
                stored.narrow[i] = (uint16_t)token;
            else
                stored.wide[i] = (uint32_t)token;
        }
        kern_status status =
            spool_bytes(writer, &stored, writer->tokens + writer->begun_tokens, piece, true);
        if (status != KERN_OK) return status;
        writer->begun_tokens += piece;
        done += piece;
    }
    return KERN_OK;
}

void data_shard_keep_document(data_shard_writer *writer) {
    ASSERT(writer->begun);
    writer->offsets = kern_grow(writer->offsets, &writer->offsets_capacity, writer->documents + 1,
                                sizeof *writer->offsets);
    writer->offsets[writer->documents++] = writer->tokens;
    writer->tokens += writer->begun_tokens;
    writer->begun_tokens = 0;
    writer->begun = false;
}

void data_shard_drop_document(data_shard_writer *writer) {
    ASSERT(writer->begun);
    free(writer->names[writer->documents]);
    writer->begun_tokens = 0;
    writer->begun = false;
}

kern_status data_shard_move_document(data_shard_writer *to, data_shard_writer *from) {
    kern_status status = KERN_OK;
    uint32_t stored[PIECE]; /* room for either width */
    ASSERT(from->begun && !to->begun && from->width == to->width);
    TRY(data_shard_begin_document(to, from->names[from->documents]));
    to->begun_tokens = 0; /* the begin-of-document token comes with the rest */
    for (int64_t done = 0; done < from->begun_tokens; done += PIECE) {
        int64_t piece = from->begun_tokens - done < PIECE ? from->begun_tokens - done : PIECE;
        TRY(spool_bytes(from, stored, from->tokens + done, piece, false));
        TRY(spool_bytes(to, stored, to->tokens + done, piece, true));
        to->begun_tokens += piece;
    }
    data_shard_drop_document(from);
done:
    return status;
}

kern_status data_shard_note_bad_lines(data_shard_writer *writer, int64_t count, const char *told) {
    kern_free(writer->bad_lines_told);
    writer->bad_lines = count;
    return copy_text(&writer->bad_lines_told, told);
}

int64_t data_shard_kept_tokens(const data_shard_writer *writer) {
    return writer->tokens;
}
int64_t data_shard_kept_documents(const data_shard_writer *writer) {
    return writer->documents;
}
int64_t data_shard_begun_tokens(const data_shard_writer *writer) {
    return writer->begun_tokens;
}

static kern_status put_attributes(const data_shard_writer *writer, hid_t file, const char *path) {
    kern_status status = KERN_OK;
    const data_vocabulary *vocabulary = writer->vocabulary;
    TRY(data_h5_put_number(file, path, "format_version", FORMAT_VERSION));
    TRY(data_h5_put_text(file, path, "tokenizer", vocabulary->name));
    TRY(data_h5_put_text(file, path, "tokenizer_hash", vocabulary->hash));
    TRY(data_h5_put_number(file, path, "vocabulary", vocabulary->size));
    TRY(data_h5_put_number(file, path, "bos_id", vocabulary->bos));
    TRY(data_h5_put_text(file, path, "split", writer->split));
    TRY(data_h5_put_text(file, path, "source", writer->source));
    if (writer->bad_lines) {
        TRY(data_h5_put_number(file, path, "bad_lines", writer->bad_lines));
        TRY(data_h5_put_text(file, path, "bad_lines_told", writer->bad_lines_told));
    }
done:
    return status;
}

static kern_status put_documents(data_shard_writer *writer, hid_t file, const char *path) {
    kern_status status = KERN_OK;
    hid_t type = -1;
    char *texts = NULL;
    size_t longest = 1;
    writer->offsets = kern_grow(writer->offsets, &writer->offsets_capacity, writer->documents + 1,
                                sizeof *writer->offsets);
    writer->offsets[writer->documents] = writer->tokens;
    TRY(data_h5_put_array(file, path, "document_offsets", H5T_STD_I64LE, writer->documents + 1,
                          writer->offsets));
    for (int64_t i = 0; i < writer->documents; i++) {
        size_t bytes = strlen(writer->names[i]);
        if (bytes > longest) longest = bytes;
    }
    TRY(data_h5_text_type(&type, path, longest));
    TRY(kern_alloc_zero((void **)&texts, (size_t)writer->documents * longest, path));
    for (int64_t i = 0; i < writer->documents; i++)
        memcpy(texts + (size_t)i * longest, writer->names[i], strlen(writer->names[i]));
    TRY(data_h5_put_array(file, path, "document_names", type, writer->documents, texts));
done:
    if (type >= 0) H5Tclose(type);
    kern_free(texts);
    return status;
}

/* Copies the spool block by block and computes the checksums on the way; *begin receives where the
 * tokens lie in the file. */
static kern_status put_tokens(data_shard_writer *writer, hid_t file, const char *path,
                              int64_t *begin) {
    kern_status status = KERN_OK;
    hid_t dataset = -1, type = writer->width == 2 ? H5T_STD_U16LE : H5T_STD_U32LE;
    void *block = NULL;
    uint32_t *checksums = NULL;
    int64_t blocks = (writer->tokens + DATA_SHARD_BLOCK - 1) / DATA_SHARD_BLOCK;
    TRY(kern_alloc(&block, DATA_SHARD_BLOCK * writer->width, path));
    TRY(kern_alloc((void **)&checksums, (size_t)blocks * sizeof *checksums, path));
    TRY(data_h5_create_array(&dataset, file, path, "tokens", type, writer->tokens));
    for (int64_t i = 0; i < blocks; i++) {
        int64_t first = i * DATA_SHARD_BLOCK, count = writer->tokens - first;
        if (count > DATA_SHARD_BLOCK) count = DATA_SHARD_BLOCK;
        TRY(spool_bytes(writer, block, first, count, false));
        checksums[i] = data_crc32(0, block, (size_t)count * writer->width);
        TRY(data_h5_write_range(dataset, path, type, first, count, block));
    }
    *begin = (int64_t)H5Dget_offset(dataset);
    TRY(data_h5_put_array(file, path, "checksums", H5T_STD_U32LE, blocks, checksums));
done:
    if (dataset >= 0) H5Dclose(dataset);
    kern_free(block);
    kern_free(checksums);
    return status;
}

/* An upper bound of the file's size; the slack is for HDF5's own structures. */
static int64_t bytes_needed(const data_shard_writer *writer) {
    int64_t longest = 1;
    for (int64_t i = 0; i < writer->documents; i++) {
        int64_t bytes = (int64_t)strlen(writer->names[i]);
        if (bytes > longest) longest = bytes;
    }
    int64_t blocks = writer->tokens / DATA_SHARD_BLOCK + 1;
    return writer->tokens * (int64_t)writer->width + writer->documents * (longest + 8) +
           blocks * 4 + 65536;
}

kern_status data_shard_complete(data_shard_writer *writer) {
    kern_status status = KERN_OK;
    hid_t file = -1;
    int64_t begin = 0;
    ASSERT(!writer->begun && writer->documents > 0);
    const char *path = data_aside_path(writer->file);
    TRY(data_h5_create(&file, data_aside_partial(writer->file), DATA_SEAL_BYTES));
    /* HDF5 does not recover from a write that fails (it tries again at exit), so the room is taken
     * before. */
    TRY(data_aside_reserve(writer->file, bytes_needed(writer)));
    TRY(put_attributes(writer, file, path));
    TRY(put_documents(writer, file, path));
    TRY(put_tokens(writer, file, path, &begin));
    hid_t closing = file;
    file = -1;
    TRY(data_h5_close(closing, path));
    TRY(data_seal_write(writer->file, begin, writer->tokens * (int64_t)writer->width));
    TRY(data_aside_flush(writer->file));
    close(writer->spool);
    writer->spool = -1;
done:
    if (file >= 0) H5Fclose(file);
    return status;
}

kern_status data_shard_release(data_shard_writer *writer) {
    return data_aside_release(writer->file);
}

kern_status data_shard_commit(data_shard_writer *writer) {
    return data_aside_commit(writer->file);
}
