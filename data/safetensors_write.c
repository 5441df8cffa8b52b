#include "data/aside.h"
#include "data/checksum.h"
#include "data/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *name;
    data_dtype dtype;
    json_t *shape; /* owned */
    size_t bytes;
    size_t begin;   /* in the data */
    size_t end;     /* of what was written last */
    size_t written; /* in all processes that are known of */
    uint32_t parts; /* what they make of the checksum */
} entry;

struct data_safetensors_writer {
    data_aside *file;
    json_t *metadata;
    json_t *index; /* name -> place in `entries` */
    entry *entries;
    int64_t count, capacity;
    int64_t data_begin; /* in the file; 0: the header is not settled yet */
    uint32_t header_crc;
    bool joined; /* another process writes the header, and finishes */
};

static kern_status open_writer(data_safetensors_writer **out, const char *path, bool joined) {
    kern_status status = KERN_OK;
    *out = NULL;
    data_safetensors_writer *writer = NULL;
    TRY(kern_alloc_zero((void **)&writer, sizeof *writer, path));
    writer->joined = joined;
    writer->metadata = json_object();
    writer->index = json_object();
    if (!writer->metadata || !writer->index) {
        status = kern_fail(KERN_ERR_MEMORY, "%s: no memory for its header", path);
        goto done;
    }
    TRY((joined ? data_aside_join : data_aside_create)(&writer->file, path));
    *out = writer;
    writer = NULL;
done:
    data_safetensors_writer_destroy(writer);
    return status;
}

kern_status data_safetensors_create(data_safetensors_writer **writer, const char *path) {
    return open_writer(writer, path, false);
}

kern_status data_safetensors_join(data_safetensors_writer **writer, const char *path) {
    return open_writer(writer, path, true);
}

void data_safetensors_writer_destroy(data_safetensors_writer *writer) {
    if (!writer) return;
    data_aside_destroy(writer->file);
    for (int64_t i = 0; i < writer->count; i++) {
        json_decref(writer->entries[i].shape);
        free(writer->entries[i].name);
    }
    free(writer->entries);
    json_decref(writer->metadata);
    json_decref(writer->index);
    kern_free(writer);
}

static const char *path_of(const data_safetensors_writer *writer) {
    return data_aside_path(writer->file);
}

kern_status data_safetensors_put_metadata(data_safetensors_writer *writer, const char *key,
                                          const char *value) {
    ASSERT(!writer->data_begin);
    if (json_object_get(writer->metadata, key))
        return kern_fail(KERN_ERR_USAGE, "%s: metadata %s twice", path_of(writer), key);
    if (json_object_set_new(writer->metadata, key, json_string(value)))
        return kern_fail(KERN_ERR_USAGE, "%s: metadata %s is not UTF-8", path_of(writer), key);
    return KERN_OK;
}

/* The bytes of a tensor of that shape; its JSON form goes to *list. */
static kern_status measure(size_t *bytes, json_t **list, const char *name, data_dtype dtype,
                           int rank, const int64_t *shape) {
    *list = NULL;
    int64_t size = (int64_t)data_dtype_bytes(dtype);
    for (int axis = 0; axis < rank; axis++)
        if (shape[axis] < 0 || __builtin_mul_overflow(size, shape[axis], &size))
            return kern_fail(KERN_ERR_USAGE, "tensor %s: its size is no number of bytes", name);
    *bytes = (size_t)size;
    *list = json_array();
    for (int axis = 0; axis < rank; axis++)
        if (json_array_append_new(*list, json_integer(shape[axis])))
            return kern_fail(KERN_ERR_MEMORY, "no memory for the shape of tensor %s", name);
    return KERN_OK;
}

kern_status data_safetensors_declare(data_safetensors_writer *writer, const char *name,
                                     data_dtype dtype, int rank, const int64_t *shape) {
    kern_status status = KERN_OK;
    entry added = {.dtype = dtype};
    ASSERT(!writer->data_begin);
    if (!strcmp(name, "__metadata__") || json_object_get(writer->index, name)) {
        status = kern_fail(KERN_ERR_USAGE, "%s: the name %s is taken", path_of(writer), name);
        goto done;
    }
    TRY(measure(&added.bytes, &added.shape, name, dtype, rank, shape));
    added.name = strdup(name);
    if (!added.name || json_object_set_new(writer->index, name, json_integer(writer->count))) {
        status = kern_fail(KERN_ERR_USAGE, "%s: a tensor's name is not UTF-8", path_of(writer));
        goto done;
    }
    writer->entries =
        kern_grow(writer->entries, &writer->capacity, writer->count + 1, sizeof *writer->entries);
    writer->entries[writer->count++] = added;
    return KERN_OK;
done:
    json_decref(added.shape);
    free(added.name);
    return status;
}

static int by_alignment(const void *left, const void *right) {
    const entry *a = left, *b = right;
    size_t x = data_dtype_bytes(a->dtype), y = data_dtype_bytes(b->dtype);
    if (x != y) return x > y ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Sorts the tensors, gives each its place and returns the header's object; NULL: no memory. */
static json_t *lay_out(data_safetensors_writer *writer) {
    json_t *header = json_object();
    int failed = header == NULL;
    /* Others refuse weights that do not say whose layout of memory they have; all of ours is
     * PyTorch's.
     */
    if (!json_object_get(writer->metadata, "format"))
        failed |= json_object_set_new(writer->metadata, "format", json_string("pt"));
    failed |= json_object_set(header, "__metadata__", writer->metadata);
    if (writer->count)
        qsort(writer->entries, (size_t)writer->count, sizeof *writer->entries, by_alignment);
    size_t place = 0;
    for (int64_t i = 0; i < writer->count && !failed; i++) {
        entry *tensor = &writer->entries[i];
        tensor->begin = place;
        place += tensor->bytes;
        json_t *row =
            json_pack("{s:s, s:O, s:[I, I]}", "dtype", data_dtype_name(tensor->dtype), "shape",
                      tensor->shape, "data_offsets", (json_int_t)tensor->begin, (json_int_t)place);
        failed |= json_object_set_new(header, tensor->name, row);
        failed |= json_object_set_new(writer->index, tensor->name, json_integer(i));
    }
    if (!failed) return header;
    json_decref(header);
    return NULL;
}

kern_status data_safetensors_settle(data_safetensors_writer *writer) {
    kern_status status = KERN_OK;
    if (writer->data_begin) return status;
    char *text = NULL;
    json_t *header = lay_out(writer);
    if (header) text = json_dumps(header, JSON_COMPACT);
    if (!text) {
        status = kern_fail(KERN_ERR_MEMORY, "%s: no memory for its header", path_of(writer));
        goto done;
    }
    size_t length = strlen(text);
    uint64_t size = (length + 7) / 8 * 8;
    static const char padding[8] = "        ";
    if (!writer->joined) {
        TRY(data_aside_write(writer->file, 0, &size, sizeof size));
        TRY(data_aside_write(writer->file, sizeof size, text, length));
        TRY(data_aside_write(writer->file, (int64_t)(sizeof size + length), padding,
                             (size_t)size - length));
    }
    writer->header_crc = data_crc32(0, &size, sizeof size);
    writer->header_crc = data_crc32(writer->header_crc, text, length);
    writer->header_crc = data_crc32(writer->header_crc, padding, (size_t)size - length);
    writer->data_begin = (int64_t)(sizeof size + size);
done:
    free(text);
    json_decref(header);
    return status;
}

static entry *find(const data_safetensors_writer *writer, const char *name) {
    json_t *place = json_object_get(writer->index, name);
    return place ? &writer->entries[json_integer_value(place)] : NULL;
}

kern_status data_safetensors_write_at(data_safetensors_writer *writer, const char *name,
                                      size_t begin, const void *data, size_t bytes) {
    kern_status status = KERN_OK;
    TRY(data_safetensors_settle(writer));
    entry *tensor = find(writer, name);
    if (!tensor || begin > tensor->bytes || bytes > tensor->bytes - begin) {
        status = kern_fail(KERN_ERR_USAGE, "%s: tensor %s: %s", path_of(writer), name,
                           tensor ? "more bytes than declared" : "was not declared");
        goto done;
    }
    TRY(data_aside_write(writer->file, writer->data_begin + (int64_t)(tensor->begin + begin), data,
                         bytes));
    tensor->end = begin + bytes;
    tensor->parts ^=
        data_crc32_join(data_crc32_part(0, data, bytes), 0, (int64_t)(tensor->bytes - tensor->end));
    tensor->written += bytes;
done:
    return status;
}

kern_status data_safetensors_write(data_safetensors_writer *writer, const char *name,
                                   const void *data, size_t bytes) {
    kern_status status = data_safetensors_settle(writer);
    if (status != KERN_OK) return status;
    const entry *tensor = find(writer, name);
    return data_safetensors_write_at(writer, name, tensor ? tensor->end : 0, data, bytes);
}

kern_status data_safetensors_parts(data_safetensors_part *part, data_safetensors_writer *writer) {
    kern_status status = data_safetensors_settle(writer);
    for (int64_t i = 0; i < writer->count && status == KERN_OK; i++)
        part[i] = (data_safetensors_part){writer->entries[i].written, writer->entries[i].parts};
    return status == KERN_OK ? data_aside_flush(writer->file) : status;
}

void data_safetensors_add_parts(data_safetensors_writer *writer,
                                const data_safetensors_part *part) {
    ASSERT(!writer->joined && writer->data_begin);
    for (int64_t i = 0; i < writer->count; i++) {
        writer->entries[i].written += part[i].bytes;
        writer->entries[i].parts ^= part[i].crc;
    }
}

kern_status data_safetensors_finish(data_safetensors_writer *writer, uint32_t *crc,
                                    int64_t *bytes) {
    kern_status status = KERN_OK;
    ASSERT(!writer->joined);
    TRY(data_safetensors_settle(writer));
    uint32_t whole = writer->header_crc;
    int64_t size = writer->data_begin;
    for (int64_t i = 0; i < writer->count; i++) {
        const entry *tensor = &writer->entries[i];
        int64_t there = (int64_t)tensor->bytes;
        if (tensor->written != tensor->bytes) {
            status = kern_fail(KERN_ERR_USAGE, "%s: tensor %s: %zu of %zu bytes were written",
                               path_of(writer), tensor->name, tensor->written, tensor->bytes);
            goto done;
        }
        whole = data_crc32_join(whole, data_crc32_of_parts(tensor->parts, there), there);
        size += there;
    }
    TRY(data_aside_commit(writer->file));
    if (crc) *crc = whole;
    if (bytes) *bytes = size;
done:
    return status;
}
