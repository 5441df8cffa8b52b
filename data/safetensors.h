/* Tensor files in the safetensors format: a little-endian u64 with the header's size, a JSON
 * header, the raw data. Anyone's files are read; ours are written in the order and alignment that
 * the format recommends (docs/shards.md names the other file format of this project). All functions
 * are local. A reader may be used by several threads at once, a writer by one. */
#ifndef DATA_SAFETENSORS_H
#define DATA_SAFETENSORS_H

#include "kernels/base.h"

/* Every element type of the format. */
typedef enum {
    DATA_BOOL,
    DATA_U8,
    DATA_I8,
    DATA_F8_E5M2,
    DATA_F8_E4M3,
    DATA_I16,
    DATA_U16,
    DATA_F16,
    DATA_BF16,
    DATA_I32,
    DATA_U32,
    DATA_F32,
    DATA_F64,
    DATA_I64,
    DATA_U64,
    DATA_DTYPES
} data_dtype;

size_t data_dtype_bytes(data_dtype dtype);
const char *data_dtype_name(data_dtype dtype); /* as in the file: "BF16" */
data_dtype data_dtype_find(const char *name);  /* DATA_DTYPES: no such type */
data_dtype data_dtype_of(kern_dtype dtype);    /* the type that a computed tensor is stored as */

typedef struct {
    const char *name;
    data_dtype dtype;
    int rank;             /* 0: a scalar of one element */
    const int64_t *shape; /* [rank], row-major */
    int64_t elements;
    size_t bytes;
    /* The file's own bytes, read-only and mapped. Files of other writers may place them without
     * alignment: copy with memcpy. Reading them after someone else shortened the file ends the
     * process with SIGBUS, as with every mapped file; data_safetensors_unchanged says so before. */
    const void *data;
} data_tensor;

typedef struct data_safetensors data_safetensors;

/* Opens and checks a file: header size, JSON, no name twice, known types, sizes that agree with
 * shapes, data covered from start to end without hole or overlap. The tensors' values are not
 * looked at (the format has no checksum). Everything that the reader hands out lives until it is
 * destroyed. Errors: KERN_ERR_FILE, KERN_ERR_DATA, KERN_ERR_MEMORY, naming the path; *file is then
 * NULL. */
kern_status data_safetensors_open(data_safetensors **file, const char *path);
void data_safetensors_destroy(data_safetensors *file); /* NULL is fine */

/* The tensor of that name, or NULL. */
const data_tensor *data_safetensors_find(const data_safetensors *file, const char *name);

/* The tensor of that name with exactly this type and shape. Errors: KERN_ERR_DATA that names the
 * file, the tensor, what is there and what was expected; *tensor is then NULL. */
kern_status data_safetensors_expect(const data_tensor **tensor, const data_safetensors *file,
                                    const char *name, data_dtype dtype, int rank,
                                    const int64_t *shape);

/* All tensors [count], sorted by name. */
int64_t data_safetensors_count(const data_safetensors *file);
const data_tensor *data_safetensors_tensors(const data_safetensors *file);

/* The string stored under `key` in __metadata__, or NULL. */
const char *data_safetensors_metadata(const data_safetensors *file, const char *key);
const char *data_safetensors_path(const data_safetensors *file);

/* Whether the file has the size that it had when it was opened: to be asked right before a tensor
 * is read. Errors: KERN_ERR_DATA naming the file, the tensor and both sizes; KERN_ERR_FILE. */
kern_status data_safetensors_unchanged(const data_safetensors *file, const data_tensor *tensor);

/* Gives back the memory that looking at these bytes of a tensor took. They may be looked at again,
 * and then come from the file again. */
void data_safetensors_release(const data_safetensors *file, const void *data, size_t bytes);

typedef struct data_safetensors_writer data_safetensors_writer;

/* Begins a file that takes its name only when finished (data/aside.h). Errors: KERN_ERR_FILE;
 * *writer is then NULL. */
kern_status data_safetensors_create(data_safetensors_writer **writer, const char *path);

/* Declares a metadata string or a tensor; both copy what they are given. Where no "format" is
 * declared it is "pt", which other programs ask for. Legal only before the
 * first write. Errors: KERN_ERR_USAGE for a name used twice, the name "__metadata__", text that is
 * not UTF-8, or a size beyond 2^63 bytes; the writer is unchanged. */
kern_status data_safetensors_put_metadata(data_safetensors_writer *writer, const char *key,
                                          const char *value);
kern_status data_safetensors_declare(data_safetensors_writer *writer, const char *name,
                                     data_dtype dtype, int rank, const int64_t *shape);

/* Appends `bytes` bytes to what was written last of a declared tensor; the tensors may be written
 * in any order and in any number of pieces. The first write settles the header. Errors:
 * KERN_ERR_USAGE for an unknown name or more bytes than declared, KERN_ERR_FILE; the writer can
 * then only be destroyed. */
kern_status data_safetensors_write(data_safetensors_writer *writer, const char *name,
                                   const void *data, size_t bytes);

/* The same from byte `begin` of the tensor on; no byte is written twice. */
kern_status data_safetensors_write_at(data_safetensors_writer *writer, const char *name,
                                      size_t begin, const void *data, size_t bytes);

/* Completes the file: flushed, renamed, folder flushed. *crc and *bytes (each may be NULL) receive
 * the CRC-32 and the size of the whole file. Errors: KERN_ERR_USAGE naming a tensor that was not
 * written whole, KERN_ERR_FILE; what stood under the path before is then untouched. */
kern_status data_safetensors_finish(data_safetensors_writer *writer, uint32_t *crc, int64_t *bytes);

/* One file written by several processes, each its parts of the tensors. One of them creates it,
 * declares all there is and settles the header; then the others join and declare the same. Errors
 * as for creating and writing. */
kern_status data_safetensors_settle(data_safetensors_writer *writer);
kern_status data_safetensors_join(data_safetensors_writer **writer, const char *path);

/* When a process has written its parts: flushes them, and says for each of the tensors [count], in
 * the file's order, how much they are and what they make of the checksum. KERN_ERR_FILE. */
typedef struct {
    size_t bytes;
    uint32_t crc;
} data_safetensors_part;
kern_status data_safetensors_parts(data_safetensors_part *part, data_safetensors_writer *writer);

/* Adds to `part` [count], of the process that created the file, those of another one: when it has
 * all of them it finishes. */
void data_safetensors_add_parts(data_safetensors_writer *writer, const data_safetensors_part *part);

/* Frees; an unfinished file disappears. NULL is fine. */
void data_safetensors_writer_destroy(data_safetensors_writer *writer);

#endif
