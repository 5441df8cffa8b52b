#include "data/checksum.h"
#include "data/h5.h"
#include "data/opened.h"
#include "data/seal.h"
#include "data/shard.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { FORMAT_VERSION = 1, PIECE = 4096 };

struct data_shard {
    data_shard_about about;
    char *path, *tokenizer, *tokenizer_hash, *split, *source, *bad_lines_told;
    data_opened *opened;
    data_seal seal;
    int64_t tokens_begin; /* in the file, bytes */
    size_t width;         /* bytes of a token: 2 or 4 */
    int64_t *offsets;     /* [documents + 1] */
    char *names;          /* [documents], name_bytes apart */
    size_t name_bytes;
    uint32_t *checksums;          /* [blocks] */
    _Atomic unsigned char *known; /* [blocks], 1: verified */
};

static kern_status damaged(const data_shard *shard, const char *reason) {
    return kern_fail(KERN_ERR_DATA, "%s: contradicts itself: %s", shard->path, reason);
}

static kern_status read_attributes(data_shard *shard, hid_t file) {
    kern_status status = KERN_OK;
    data_shard_about *about = &shard->about;
    int64_t version, bos;
    TRY(data_h5_get_number(&version, file, shard->path, "format_version"));
    if (version != FORMAT_VERSION) {
        status = kern_fail(KERN_ERR_DATA, "%s: has format version %lld, this program reads %d",
                           shard->path, (long long)version, FORMAT_VERSION);
        goto done;
    }
    TRY(data_h5_get_text(&shard->tokenizer, file, shard->path, "tokenizer"));
    TRY(data_h5_get_text(&shard->tokenizer_hash, file, shard->path, "tokenizer_hash"));
    TRY(data_h5_get_text(&shard->split, file, shard->path, "split"));
    TRY(data_h5_get_text(&shard->source, file, shard->path, "source"));
    TRY(data_h5_get_number(&about->vocabulary, file, shard->path, "vocabulary"));
    TRY(data_h5_get_number(&bos, file, shard->path, "bos_id"));
    if (about->vocabulary < 1 || about->vocabulary > INT32_MAX || bos < 0 ||
        bos >= about->vocabulary) {
        status = damaged(shard, "its vocabulary cannot be");
        goto done;
    }
    if (H5Aexists(file, "bad_lines") > 0) {
        TRY(data_h5_get_number(&about->bad_lines, file, shard->path, "bad_lines"));
        TRY(data_h5_get_text(&shard->bad_lines_told, file, shard->path, "bad_lines_told"));
    }
    about->path = shard->path;
    about->tokenizer = shard->tokenizer;
    about->tokenizer_hash = shard->tokenizer_hash;
    about->split = shard->split;
    about->source = shard->source;
    about->bad_lines_told = shard->bad_lines_told;
    about->bos = (int32_t)bos;
    shard->width = about->vocabulary <= 65536 ? 2 : 4;
done:
    return status;
}

static kern_status read_documents(data_shard *shard, hid_t file) {
    kern_status status = KERN_OK;
    int64_t names, offsets;
    TRY(data_h5_get_texts(&shard->names, &shard->name_bytes, &names, file, shard->path,
                          "document_names"));
    TRY(data_h5_get_array((void **)&shard->offsets, &offsets, file, shard->path, "document_offsets",
                          H5T_STD_I64LE));
    if (names < 1 || offsets != names + 1) {
        status = damaged(shard, "documents and names differ in number");
        goto done;
    }
    bool ordered = shard->offsets[0] == 0 && shard->offsets[names] == shard->about.tokens;
    for (int64_t i = 0; i < names; i++)
        ordered = ordered && shard->offsets[i] < shard->offsets[i + 1];
    if (!ordered) status = damaged(shard, "its documents do not cover its tokens");
    shard->about.documents = names;
done:
    return status;
}

static kern_status read_contents(data_shard *shard, hid_t file) {
    kern_status status = KERN_OK;
    int64_t blocks;
    const data_seal *seal = &shard->seal;
    TRY(read_attributes(shard, file));
    TRY(data_h5_find_array(&shard->about.tokens, &shard->tokens_begin, file, shard->path, "tokens",
                           shard->width == 2 ? H5T_STD_U16LE : H5T_STD_U32LE));
    if (shard->tokens_begin != seal->tokens_begin ||
        shard->about.tokens != seal->tokens_bytes / (int64_t)shard->width) {
        status = damaged(shard, "its tokens are not where its seal says");
        goto done;
    }
    TRY(read_documents(shard, file));
    TRY(data_h5_get_array((void **)&shard->checksums, &blocks, file, shard->path, "checksums",
                          H5T_STD_U32LE));
    if (blocks != (shard->about.tokens + DATA_SHARD_BLOCK - 1) / DATA_SHARD_BLOCK) {
        status = damaged(shard, "its checksums are not as many as its blocks");
        goto done;
    }
    TRY(kern_alloc_zero((void **)&shard->known, (size_t)blocks, shard->path));
done:
    return status;
}

kern_status data_shard_open(data_shard **out, const char *path) {
    kern_status status = KERN_OK;
    hid_t file = -1;
    data_shard *shard = NULL;
    int descriptor;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&shard, sizeof *shard, path));
    TRY(kern_alloc((void **)&shard->path, strlen(path) + 1, path));
    memcpy(shard->path, path, strlen(path) + 1);
    TRY(data_opened_create(&shard->opened, &descriptor, path, data_seal_is, &shard->seal));
    status = data_seal_check(&shard->seal, descriptor, path);
    data_opened_give(shard->opened);
    TRY(status);
    TRY(data_h5_open(&file, path));
    TRY(read_contents(shard, file));
    *out = shard;
    shard = NULL;
done:
    if (file >= 0) H5Fclose(file);
    data_shard_destroy(shard);
    return status;
}

void data_shard_destroy(data_shard *shard) {
    if (!shard) return;
    data_opened_destroy(shard->opened);
    kern_free(shard->path);
    kern_free(shard->tokenizer);
    kern_free(shard->tokenizer_hash);
    kern_free(shard->split);
    kern_free(shard->source);
    kern_free(shard->bad_lines_told);
    kern_free(shard->offsets);
    kern_free(shard->names);
    kern_free(shard->checksums);
    kern_free((void *)shard->known);
    kern_free(shard);
}

const data_shard_about *data_shard_describe(const data_shard *shard) {
    return &shard->about;
}

int64_t data_shard_document_begin(const data_shard *shard, int64_t i) {
    ASSERT(i >= 0 && i <= shard->about.documents);
    return shard->offsets[i];
}

const char *data_shard_document_name(const data_shard *shard, int64_t i) {
    ASSERT(i >= 0 && i < shard->about.documents);
    return shard->names + (size_t)i * shard->name_bytes;
}

uint32_t data_shard_fingerprint(const data_shard *shard) {
    int64_t blocks = (shard->about.tokens + DATA_SHARD_BLOCK - 1) / DATA_SHARD_BLOCK;
    size_t documents = (size_t)shard->about.documents;
    uint32_t crc = data_crc32(0, shard->checksums, (size_t)blocks * sizeof *shard->checksums);
    return data_crc32(crc, shard->offsets, (documents + 1) * sizeof *shard->offsets);
}

/* Byte of the file where token i begins. */
static int64_t place_of(const data_shard *shard, int64_t i) {
    return shard->tokens_begin + i * (int64_t)shard->width;
}

static kern_status verify_block(data_shard *shard, int descriptor, int64_t block) {
    kern_status status = KERN_OK;
    uint32_t crc = 0;
    int64_t begin = block * DATA_SHARD_BLOCK, end = begin + DATA_SHARD_BLOCK;
    if (end > shard->about.tokens) end = shard->about.tokens;
    TRY(data_crc32_range(&crc, descriptor, place_of(shard, begin), place_of(shard, end),
                         shard->path));
    if (crc != shard->checksums[block])
        return kern_fail(KERN_ERR_DATA, "%s: tokens %lld to %lld are damaged (checksum)",
                         shard->path, (long long)begin, (long long)end - 1);
    atomic_store_explicit(&shard->known[block], 1, memory_order_relaxed);
done:
    return status;
}

static kern_status read_bytes(const data_shard *shard, int descriptor, void *memory, int64_t place,
                              size_t bytes) {
    for (char *next = memory; bytes;) {
        ssize_t got = pread(descriptor, next, bytes, (off_t)place);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return kern_fail(KERN_ERR_FILE, "%s: cannot be read: %s", shard->path, strerror(errno));
        if (got == 0)
            return kern_fail(KERN_ERR_DATA, "%s: was truncated while in use", shard->path);
        next += got;
        place += got;
        bytes -= (size_t)got;
    }
    return KERN_OK;
}

/* At most PIECE tokens. */
static kern_status read_piece(int32_t *tokens, const data_shard *shard, int descriptor,
                              int64_t begin, int64_t count) {
    union {
        uint16_t narrow[PIECE];
        uint32_t wide[PIECE];
    } stored;
    kern_status status = read_bytes(shard, descriptor, &stored, place_of(shard, begin),
                                    (size_t)count * shard->width);
    if (status != KERN_OK) return status;
    for (int64_t i = 0; i < count; i++) {
        uint32_t token = shard->width == 2 ? stored.narrow[i] : stored.wide[i];
        if (token >= (uint64_t)shard->about.vocabulary)
            return kern_fail(KERN_ERR_DATA,
                             "%s: token %lld is %u, outside of its vocabulary of %lld", shard->path,
                             (long long)(begin + i), token, (long long)shard->about.vocabulary);
        tokens[i] = (int32_t)token;
    }
    return KERN_OK;
}

kern_status data_shard_read(int32_t *tokens, data_shard *shard, int64_t begin, int64_t count) {
    int descriptor;
    ASSERT(begin >= 0 && count >= 0 && count <= shard->about.tokens - begin);
    if (count == 0) return KERN_OK;
    kern_status status = data_opened_take(&descriptor, shard->opened);
    if (status != KERN_OK) return status;
    int64_t last = (begin + count - 1) / DATA_SHARD_BLOCK;
    for (int64_t block = begin / DATA_SHARD_BLOCK; block <= last; block++)
        if (!atomic_load_explicit(&shard->known[block], memory_order_relaxed))
            TRY(verify_block(shard, descriptor, block));
    for (int64_t done = 0; done < count; done += PIECE)
        TRY(read_piece(tokens + done, shard, descriptor, begin + done,
                       count - done < PIECE ? count - done : PIECE));
done:
    data_opened_give(shard->opened);
    return status;
}
