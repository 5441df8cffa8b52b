/* What the state of a session is made of: tensors, where they lie, and how their bytes get between
 * files and the devices of all ranks. Internal. */
#ifndef INFER_SESSION_ENTRIES_H
#define INFER_SESSION_ENTRIES_H

#include "data/safetensors.h"
#include "infer/session_state.h"

#define INFER_WAITING "waiting"
/* moved.FAST WEIGHT [2]: how far it is from where it began, and its size there. */
#define INFER_MOVED "moved."

enum { INFER_ENTRY_NAME = 96 };

/* One tensor of the file and where it lies in the session. */
typedef struct {
    char name[INFER_ENTRY_NAME];
    kern_dtype dtype;
    int rank;
    int64_t shape[1 + INFER_AXES]; /* whole */
    infer_split split;             /* of it over the ranks; no ranges: the rank has all */
    void *memory;
    bool host; /* the host's memory, else the device's */
} session_entry;

typedef struct {
    session_entry *item;
    int count;
} session_entries;

/* Where a state of a session has what mixers carry of a chunk's beginning, too: where a step on it
 * will be taken. The copies that loading fills. */
enum { LOADED_BEGIN, LOADED_NOW };

/* The tensors of a state at this position by name; to load them into an empty session, or where
 * they lie now. free(item) */
session_entries infer_session_entries(const infer_session *session, int64_t position,
                                      int64_t pending, bool scored, bool load);

/* Rows of a history that later tokens can see, or that its chunk's step needs. */
int64_t infer_session_kept_rows(const infer_session *session, const session_state *history,
                                int64_t position, int64_t pending);

typedef kern_status (*session_taker)(void *context, const session_entry *entry, const void *bytes,
                                     size_t count);

/* All bytes of a tensor, whole, piece by piece; `take` is NULL on ranks that only help others.
 * Collective over the session's ranks, also after an error. */
kern_status infer_session_each_piece(const infer_session *session, const session_entry *entry,
                                     session_taker take, void *context);

/* The rank's part of a tensor to where it lies in the session. */
void infer_session_load_entry(const infer_session *session, const session_entry *entry,
                              const data_tensor *tensor);

#endif
