/* Files that are open while they are read. Of all such files of the process a bounded number is
 * open at a time, those that were read last, so that a set of shards may be larger than the number
 * of files that a process may have. Thread-safe, but for create and destroy of one file. */
#ifndef DATA_OPENED_H
#define DATA_OPENED_H

#include "kernels/base.h"

typedef struct data_opened data_opened;

/* Whether a path that was opened again is the file that it was. */
typedef bool data_opened_same(const void *context, int descriptor);

/* Opens `path` for reading; *descriptor stays open until it is given back. `same`, whose context
 * must outlive the file, is asked whenever the path had to be opened again. KERN_ERR_FILE where it
 * cannot be opened or is no regular file; *file is then NULL. */
kern_status data_opened_create(data_opened **file, int *descriptor, const char *path,
                               data_opened_same *same, const void *context);
void data_opened_destroy(data_opened *file); /* nobody has its descriptor; NULL is fine */

/* A descriptor that stays open until it is given back. KERN_ERR_FILE, and KERN_ERR_DATA where the
 * path is another file by now; nothing is then to be given back. */
kern_status data_opened_take(int *descriptor, data_opened *file);
void data_opened_give(data_opened *file);

/* How many are open now, of how many at most. */
int data_opened_count(void);
int data_opened_most(void);

#endif
