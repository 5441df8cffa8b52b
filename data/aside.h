/* A file written aside: it grows under the name PATH.partial in the same folder, is flushed to the
 * disk and takes its name only when complete, so that a reader sees the old file or the new one,
 * never a torn one. A killed writer leaves PATH.partial, which the next writer of PATH reuses; a
 * file of that name that is none of ours is never touched. Processes that ignore SIGXFSZ get a
 * file-size limit as an error instead of being killed. All functions are local; different files may
 * be written by different threads. */
#ifndef DATA_ASIDE_H
#define DATA_ASIDE_H

#include "kernels/base.h"

typedef struct data_aside data_aside;

/* The file that PATH is or would be: where a link leads, also one to a file that is not there yet.
 * free(*target). Errors: KERN_ERR_FILE (a folder, a device or a pipe, links in a circle). */
kern_status data_aside_target(char **target, const char *path);

/* Begins PATH: opens PATH.partial empty and locks it. Of a link, PATH is the file that it means.
 * Errors: KERN_ERR_FILE (no such folder, no permission, a device or a pipe, another process is
 * writing the same file, PATH.partial is there and no writer left it); *file is then NULL. */
kern_status data_aside_create(data_aside **file, const char *path);

/* Opens PATH.partial as another process that is here with us begins it, to write parts of it: only
 * write and flush may follow. Errors as above; *file is then NULL. */
kern_status data_aside_join(data_aside **file, const char *path);

/* Where it does not hold a committed file: removes PATH.partial; PATH stays as it was. NULL is
 * fine. */
void data_aside_destroy(data_aside *file);

/* Writes `bytes` bytes at `offset` of the file. Errors: KERN_ERR_FILE naming PATH (disk full, ...).
 */
kern_status data_aside_write(data_aside *file, int64_t offset, const void *memory, size_t bytes);

/* Asks the file system for room for `bytes` bytes from the start without changing the size, so that
 * a full disk shows before the work. Where the file system cannot say, this does nothing. Errors as
 * for writing. */
kern_status data_aside_reserve(data_aside *file, int64_t bytes);

/* Flushes the contents to the disk. Errors as for writing. */
kern_status data_aside_flush(data_aside *file);

/* Flushes and closes a complete file, which takes no descriptor then and only waits for its commit.
 * Its lock is gone too: commit fails where another process has begun the same file meanwhile.
 * Errors as for writing. */
kern_status data_aside_release(data_aside *file);

/* Flushes, gives the file its name and flushes the folder. Errors as for writing: the old PATH is
 * then untouched (or, where only the last flush of the folder failed, already replaced). */
kern_status data_aside_commit(data_aside *file);

/* The open descriptor (for reading back; -1 when released), the final name, and the name until
 * then; owned by `file`.
 */
int data_aside_descriptor(const data_aside *file);
const char *data_aside_path(const data_aside *file);
const char *data_aside_partial(const data_aside *file);

#endif
