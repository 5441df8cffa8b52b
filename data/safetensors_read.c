#include "data/json_fault.h"
#include "data/kinds.h"
#include "data/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and mapped");

enum { MOST_HEADER_BYTES = 100000000, SIZE_BYTES = 8 };

struct data_safetensors {
    char *path;
    int descriptor;
    void *map; /* the whole file */
    size_t bytes;
    json_t *header;   /* owns names and metadata */
    json_t *metadata; /* NULL: none */
    data_tensor *tensors;
    int64_t count;
    int64_t *shapes; /* of all tensors, one behind the other */
};

static kern_status map_file(data_safetensors *file) {
    struct stat about;
    file->descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
    if (file->descriptor < 0 || fstat(file->descriptor, &about))
        return kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", file->path, strerror(errno));
    if (!S_ISREG(about.st_mode)) return kern_fail(KERN_ERR_FILE, "%s: is not a file", file->path);
    if (about.st_size < SIZE_BYTES + 2)
        return kern_fail(KERN_ERR_DATA, "%s: %lld bytes are no safetensors file", file->path,
                         (long long)about.st_size);
    void *map = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file->descriptor, 0);
    if (map == MAP_FAILED)
        return kern_fail(KERN_ERR_FILE, "%s: cannot be mapped: %s", file->path, strerror(errno));
    file->map = map;
    file->bytes = (size_t)about.st_size;
    return KERN_OK;
}

/* A shard, a picture: named for what it is. */
static kern_status check_kind(const data_safetensors *file) {
    int64_t head = file->bytes < DATA_KIND_BYTES ? (int64_t)file->bytes : DATA_KIND_BYTES;
    const data_kind *kind = data_kind_of(file->map, head);
    if (!kind || data_kind_is_safetensors(file->map, head)) return KERN_OK;
    return kern_fail(KERN_ERR_DATA,
                     "%s: is %s; a safetensors file, as models and states are, is "
                     "wanted",
                     file->path, kind->name);
}

/* Reads the JSON header; *begin receives where the data begin in the file. */
static kern_status parse_header(data_safetensors *file, size_t *begin) {
    const unsigned char *bytes = file->map;
    uint64_t size;
    memcpy(&size, bytes, sizeof size);
    if (size > MOST_HEADER_BYTES || size > file->bytes - SIZE_BYTES)
        return kern_fail(KERN_ERR_DATA,
                         "%s: a header of %llu bytes does not fit into %zu bytes of file; the file "
                         "is truncated or no safetensors file",
                         file->path, (unsigned long long)size, file->bytes);
    if (size < 2 || bytes[SIZE_BYTES] != '{')
        return kern_fail(KERN_ERR_DATA, "%s: its header does not begin with '{'", file->path);
    json_error_t error;
    file->header =
        json_loadb((const char *)bytes + SIZE_BYTES, (size_t)size, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return kern_fail(KERN_ERR_DATA, "%s: its header is not valid: %s (at byte %d)", file->path,
                         data_json_fault(&error), error.position + SIZE_BYTES);
    *begin = SIZE_BYTES + (size_t)size;
    return KERN_OK;
}

static kern_status check_metadata(data_safetensors *file) {
    file->metadata = json_object_get(file->header, "__metadata__");
    if (!file->metadata) return KERN_OK;
    if (!json_is_object(file->metadata))
        return kern_fail(KERN_ERR_DATA, "%s: __metadata__ is not an object", file->path);
    const char *key;
    json_t *value;
    json_object_foreach(file->metadata, key, value) if (!json_is_string(value)) return kern_fail(
        KERN_ERR_DATA, "%s: __metadata__.%s is not a string", file->path, key);
    return KERN_OK;
}

/* One tensor's entry but for its place; its shape goes to `shape`, which has room for it. */
static kern_status read_shape(data_tensor *tensor, int64_t *shape, json_t *entry,
                              const char *path) {
    json_t *dtype = json_object_get(entry, "dtype"), *extents = json_object_get(entry, "shape");
    if (!json_is_string(dtype) || !json_is_array(extents))
        return kern_fail(KERN_ERR_DATA, "%s: tensor %s has no dtype or no shape", path,
                         tensor->name);
    tensor->dtype = data_dtype_find(json_string_value(dtype));
    if (tensor->dtype == DATA_DTYPES)
        return kern_fail(KERN_ERR_DATA, "%s: tensor %s has the unknown dtype %s", path,
                         tensor->name, json_string_value(dtype));
    tensor->rank = (int)json_array_size(extents);
    tensor->shape = shape;
    tensor->elements = 1;
    bool fits = true;
    for (int axis = 0; axis < tensor->rank; axis++) {
        json_t *extent = json_array_get(extents, (size_t)axis);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0)
            return kern_fail(KERN_ERR_DATA, "%s: tensor %s: axis %d has no valid extent", path,
                             tensor->name, axis);
        shape[axis] = json_integer_value(extent);
        fits = fits && !__builtin_mul_overflow(tensor->elements, shape[axis], &tensor->elements);
    }
    fits = fits && !__builtin_mul_overflow((size_t)tensor->elements,
                                           data_dtype_bytes(tensor->dtype), &tensor->bytes);
    if (!fits)
        return kern_fail(KERN_ERR_DATA, "%s: tensor %s: its size overflows", path, tensor->name);
    return KERN_OK;
}

static kern_status read_place(data_tensor *tensor, json_t *entry, const unsigned char *data,
                              size_t data_bytes, const char *path) {
    json_t *offsets = json_object_get(entry, "data_offsets");
    json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return kern_fail(KERN_ERR_DATA, "%s: tensor %s: data_offsets are not two integers", path,
                         tensor->name);
    int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return kern_fail(
            KERN_ERR_DATA,
            "%s: tensor %s lies at [%lld, %lld), outside of %zu bytes of data; was the "
            "file truncated?",
            path, tensor->name, (long long)begin, (long long)end, data_bytes);
    if ((size_t)(end - begin) != tensor->bytes)
        return kern_fail(KERN_ERR_DATA,
                         "%s: tensor %s: %lld bytes are stored, type and shape ask for %zu", path,
                         tensor->name, (long long)(end - begin), tensor->bytes);
    tensor->data = data + begin;
    return KERN_OK;
}

static kern_status read_tensors(data_safetensors *file, size_t begin) {
    kern_status status = KERN_OK;
    const char *name;
    json_t *entry;
    size_t axes = 0;
    json_object_foreach(file->header, name, entry) axes +=
        json_array_size(json_object_get(entry, "shape"));
    size_t most = json_object_size(file->header);
    TRY(kern_alloc((void **)&file->shapes, axes * sizeof *file->shapes, file->path));
    TRY(kern_alloc((void **)&file->tensors, most * sizeof *file->tensors, file->path));
    int64_t *shape = file->shapes;
    json_object_foreach(file->header, name, entry) {
        if (!strcmp(name, "__metadata__")) continue;
        data_tensor *tensor = &file->tensors[file->count++];
        *tensor = (data_tensor){.name = name};
        TRY(read_shape(tensor, shape, entry, file->path));
        TRY(read_place(tensor, entry, (unsigned char *)file->map + begin, file->bytes - begin,
                       file->path));
        shape += tensor->rank;
    }
done:
    return status;
}

static int by_place(const void *left, const void *right) {
    const data_tensor *a = left, *b = right;
    const char *x = a->data, *y = b->data;
    if (x != y) return x < y ? -1 : 1;
    return a->bytes < b->bytes ? -1 : a->bytes > b->bytes; /* an empty tensor first */
}

static int by_name(const void *left, const void *right) {
    return strcmp(((const data_tensor *)left)->name, ((const data_tensor *)right)->name);
}

static kern_status check_coverage(data_safetensors *file, size_t begin) {
    const unsigned char *expected = (const unsigned char *)file->map + begin;
    const unsigned char *end = (const unsigned char *)file->map + file->bytes;
    if (file->count) qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_place);
    for (int64_t i = 0; i < file->count; i++) {
        const unsigned char *place = file->tensors[i].data;
        if (place != expected)
            return kern_fail(KERN_ERR_DATA, "%s: tensor %s %s", file->path, file->tensors[i].name,
                             place < expected ? "overlaps another one" : "leaves a hole before it");
        expected = place + file->tensors[i].bytes;
    }
    if (expected != end)
        return kern_fail(KERN_ERR_DATA, "%s: %lld bytes at its end belong to no tensor", file->path,
                         (long long)(end - expected));
    if (file->count) qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_name);
    return KERN_OK;
}

kern_status data_safetensors_open(data_safetensors **out, const char *path) {
    kern_status status = KERN_OK;
    size_t begin = 0;
    *out = NULL;
    data_safetensors *file = NULL;
    TRY(kern_alloc_zero((void **)&file, sizeof *file, path));
    file->descriptor = -1;
    TRY(kern_alloc((void **)&file->path, strlen(path) + 1, path));
    memcpy(file->path, path, strlen(path) + 1);
    TRY(map_file(file));
    TRY(check_kind(file));
    TRY(parse_header(file, &begin));
    TRY(check_metadata(file));
    TRY(read_tensors(file, begin));
    TRY(check_coverage(file, begin));
    *out = file;
    file = NULL;
done:
    data_safetensors_destroy(file);
    return status;
}

void data_safetensors_destroy(data_safetensors *file) {
    if (!file) return;
    if (file->map) munmap(file->map, file->bytes);
    if (file->descriptor >= 0) close(file->descriptor);
    json_decref(file->header);
    kern_free(file->tensors);
    kern_free(file->shapes);
    kern_free(file->path);
    kern_free(file);
}

const data_tensor *data_safetensors_find(const data_safetensors *file, const char *name) {
    data_tensor key = {.name = name};
    if (!file->count) return NULL;
    return bsearch(&key, file->tensors, (size_t)file->count, sizeof key, by_name);
}

/* "F32 [2, 3]" for messages. */
static void print_type(char *text, size_t room, data_dtype dtype, int rank, const int64_t *shape) {
    int used = snprintf(text, room, "%s [", data_dtype_name(dtype));
    for (int axis = 0; axis < rank && used > 0 && (size_t)used < room; axis++)
        used += snprintf(text + used, room - (size_t)used, "%s%lld", axis ? ", " : "",
                         (long long)shape[axis]);
    if (used > 0 && (size_t)used < room) snprintf(text + used, room - (size_t)used, "]");
}

kern_status data_safetensors_expect(const data_tensor **tensor, const data_safetensors *file,
                                    const char *name, data_dtype dtype, int rank,
                                    const int64_t *shape) {
    char wanted[128], there[128] = "nothing";
    const data_tensor *found = data_safetensors_find(file, name);
    *tensor = found;
    if (found && found->dtype == dtype && found->rank == rank &&
        (!rank || !memcmp(found->shape, shape, (size_t)rank * sizeof *shape)))
        return KERN_OK;
    *tensor = NULL;
    print_type(wanted, sizeof wanted, dtype, rank, shape);
    if (found) print_type(there, sizeof there, found->dtype, found->rank, found->shape);
    return kern_fail(KERN_ERR_DATA, "%s: tensor %s: expected %s, the file has %s", file->path, name,
                     wanted, there);
}

kern_status data_safetensors_unchanged(const data_safetensors *file, const data_tensor *tensor) {
    struct stat about;
    if (fstat(file->descriptor, &about))
        return kern_fail(KERN_ERR_FILE, "%s: its size cannot be asked for: %s", file->path,
                         strerror(errno));
    if (about.st_size == (off_t)file->bytes) return KERN_OK;
    return kern_fail(KERN_ERR_DATA,
                     "%s: tensor %s is not read: the file has %lld bytes and had %zu when it was "
                     "opened; what replaces a file in use is to be written under another name and "
                     "renamed",
                     file->path, tensor->name, (long long)about.st_size, file->bytes);
}

void data_safetensors_release(const data_safetensors *file, const void *data, size_t bytes) {
    size_t from = (size_t)((const char *)data - (const char *)file->map);
    ASSERT(from <= file->bytes && bytes <= file->bytes - from);
    /* Whole pages: also those at both ends, which others then read again. It is a hint: where it
     * does not work, more memory is in use. */
    size_t begin = from / (size_t)getpagesize() * (size_t)getpagesize();
    madvise((char *)file->map + begin, from - begin + bytes, MADV_DONTNEED);
}

int64_t data_safetensors_count(const data_safetensors *file) {
    return file->count;
}
const data_tensor *data_safetensors_tensors(const data_safetensors *file) {
    return file->tensors;
}
const char *data_safetensors_path(const data_safetensors *file) {
    return file->path;
}

const char *data_safetensors_metadata(const data_safetensors *file, const char *key) {
    return json_string_value(json_object_get(file->metadata, key));
}
