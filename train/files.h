/* Small things that the files of a run directory have in common: paths, whole small files, and what
 * makes a write survive a killed process or a power cut. Errors are KERN_ERR_FILE unless said
 * otherwise, and name the path. */
#ifndef TRAIN_FILES_H
#define TRAIN_FILES_H

#include "kernels/comm.h"

/* The text of a printf format, usually a path. Free with free(). */
char *train_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Gives all ranks what *text is on the first, NULL or a text. Collective. Errors: the comm's. */
kern_status train_tell_text(char **text, const kern_comm *job);

/* Creates `path` and the directories above it that are missing. One that exists is fine. */
kern_status train_make_directory(const char *path);

/* Waits until a file's contents, or a directory's entries, are on the disk. */
kern_status train_sync(const char *path);

/* Writes all of `bytes` to the descriptor; `path` is for the message. */
kern_status train_write_all(int descriptor, const void *bytes, size_t count, const char *path);

/* Makes `path` hold `bytes`: written aside, synced, renamed over what was there. */
kern_status train_write_file(const char *path, const void *bytes, size_t count);

/* The whole file with a 0 byte behind it. More than `limit` bytes are KERN_ERR_DATA. *text is NULL
 * on failure; free with free(). */
kern_status train_read_file(char **text, size_t *count, const char *path, size_t limit);

/* Removes a file, or a directory and all that is in it. One that does not exist is fine. */
kern_status train_remove(const char *path);

/* Renames within one directory and syncs that directory. */
kern_status train_rename(const char *from, const char *to);

/* The names in a directory except "." and "..", in byte order; free with train_free_names. */
kern_status train_list(char ***names, int64_t *count, const char *directory);
void train_free_names(char **names, int64_t count);

#endif
