/* The few HDF5 calls that shards are made of, with errors that name the file. Internal to data/.
 * HDF5's serial library is not thread-safe: at most one thread of a process may be in any of these
 * functions. HDF5's own printing of errors is switched off; where the
 * system was the cause, its words are in the message and the error is KERN_ERR_FILE. */
#ifndef DATA_H5_H
#define DATA_H5_H

#include "kernels/base.h"

#include <hdf5.h>

/* Creates `path`, keeping its first `user_block` bytes free, or opens it for reading. Without
 * HDF5's file locks, which some file systems do not have. Errors: KERN_ERR_FILE, KERN_ERR_DATA. */
kern_status data_h5_create(hid_t *file, const char *path, int64_t user_block);
kern_status data_h5_open(hid_t *file, const char *path);

/* Closes; errors are KERN_ERR_FILE (the last bytes are written here). Negative ids are fine. */
kern_status data_h5_close(hid_t file, const char *path);

/* Attributes of the root group. Text that is read is allocated: free it with kern_free. Reading an
 * attribute that is absent or of another type is KERN_ERR_DATA. */
kern_status data_h5_put_text(hid_t file, const char *path, const char *name, const char *value);
kern_status data_h5_put_number(hid_t file, const char *path, const char *name, int64_t value);
kern_status data_h5_get_text(char **value, hid_t file, const char *path, const char *name);
kern_status data_h5_get_number(int64_t *value, hid_t file, const char *path, const char *name);

/* A contiguous, unfiltered one-dimensional dataset: created with its space allocated, without time
 * stamps (equal contents give equal files), written by ranges, closed with H5Dclose. Errors:
 * KERN_ERR_FILE; *dataset is then negative. */
kern_status data_h5_create_array(hid_t *dataset, hid_t file, const char *path, const char *name,
                                 hid_t type, int64_t count);
kern_status data_h5_write_range(hid_t dataset, const char *path, hid_t type, int64_t begin,
                                int64_t count, const void *values);

/* Creates, writes and closes at once. */
kern_status data_h5_put_array(hid_t file, const char *path, const char *name, hid_t type,
                              int64_t count, const void *values);

/* Where an array lies: its number of items, and the offset of its first byte in the file. Anything
 * but a contiguous, unfiltered, one-dimensional dataset of exactly `type` is KERN_ERR_DATA. */
kern_status data_h5_find_array(int64_t *count, int64_t *offset, hid_t file, const char *path,
                               const char *name, hid_t type);

/* All `count` items, as they are stored, allocated (kern_free). */
kern_status data_h5_get_array(void **values, int64_t *count, hid_t file, const char *path,
                              const char *name, hid_t type);

/* Fixed-size texts: the type of texts of at most `bytes` bytes (UTF-8, padded with zeros; close it
 * with H5Tclose), and all texts of a dataset, each followed by a zero, *bytes apart (kern_free). */
kern_status data_h5_text_type(hid_t *type, const char *path, size_t bytes);
kern_status data_h5_get_texts(char **texts, size_t *bytes, int64_t *count, hid_t file,
                              const char *path, const char *name);

#endif
