/* What a command writes and what it reads, so that no output destroys what it should not. All
 * functions are local. */
#ifndef LAUNCH_OUTPUTS_H
#define LAUNCH_OUTPUTS_H

#include "kernels/base.h"

/* Kinds of files that commands write; launch/outputs.c has how each begins. */
typedef enum {
    LAUNCH_SHARD,
    LAUNCH_INDEX,
    LAUNCH_EVAL_CSV,
    LAUNCH_NIAH_CSV,
    LAUNCH_PICTURE,
    LAUNCH_SAMPLES,
    LAUNCH_STATE,
    LAUNCH_PAGE,
    LAUNCH_PAGE_CSV,
    LAUNCH_SAVED,   /* RUN/eval/step-NUMBER.json; with the next the only ones that may be a part of
                     * a run */
    LAUNCH_MEASURE, /* RUN/eval/decoding.json */
    LAUNCH_FILE_KINDS
} launch_file_kind;

/* Begins as zeros. */
typedef struct {
    struct launch_output *item;
    int64_t count, capacity;
    char **read;
    int64_t reads, read_capacity;
} launch_outputs;

void launch_outputs_clear(launch_outputs *outputs);

/* A file that will be written, or that is read ("-": the standard input). NULL is ignored; paths
 * are copied. */
void launch_outputs_write(launch_outputs *outputs, launch_file_kind kind, const char *path);
void launch_outputs_read(launch_outputs *outputs, const char *path);

/* Files that are read, as data/files.h finds them in a word of the command line, or in a list with
 * commas. What cannot be found is the matter of whoever reads it. */
void launch_outputs_read_word(launch_outputs *outputs, const char *word);
void launch_outputs_read_list(launch_outputs *outputs, const char *list);

/* A run or a checkpoint that is read: what it consists of may have other names, too. */
void launch_outputs_read_run(launch_outputs *outputs, const char *word);

/* To be asked before anything is read, and again where more becomes known. Refuses
 *   - a file that is read, a part of a run or of a checkpoint, another output, the file that the
 *     standard output goes to: by device and inode, whatever it is called (KERN_ERR_USAGE);
 *   - a file that is there, is not empty and is of another kind, unless `force` (KERN_ERR_USAGE);
 *   - a place where no file can be written (KERN_ERR_FILE).
 * PATH.partial, by which PATH is written, is none of the first either; a file of that name is
 * replaced only where a command that was killed has left it (KERN_ERR_FILE). Nothing remains there.
 */
kern_status launch_outputs_check(const launch_outputs *outputs, bool force);

/* Refuses a folder for a new run that lies in a part of another run: KERN_ERR_USAGE. */
kern_status launch_outputs_check_folder(const char *folder);

/* The row that commands with outputs have. */
#define LAUNCH_FORCE(flag)                                                                         \
    { "force", LAUNCH_FLAG, (flag), NULL, "replace a file of another kind" }

#endif
