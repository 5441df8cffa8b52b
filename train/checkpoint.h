/* One checkpoint: a directory with model.safetensors (parameters), optimizer.safetensors (moments),
 * vocabulary.json and tokenizer (what the tokens stand for), config.yaml and state.json. It gets
 * its name only when it is complete and on the disk, so a directory without the suffix .tmp is
 * whole. Which checkpoints a run has is the matter of train/history.h. All
 * local unless collective is said. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "configs/conf.h"
#include "data/vocabulary.h"
#include "kernels/comm.h"
#include "train/state.h"
#include "train/tensor.h"

/* Writes DIRECTORY/step-00000400 (the number is state->step); DIRECTORY must exist. The vocabulary
 * and the configuration go into it whole, so that it needs no other file. A checkpoint of
 * the same step that is there is replaced, and kept until the new one is complete. Errors:
 * KERN_ERR_FILE naming the file (disk full, ...); the checkpoints that were there are then as
 * before and nothing of the new one is left (it is complete where only the last sync, of DIRECTORY
 * itself, failed). Collective over `job`, whose ranks write what they have of the tensors, each of
 * which they have all of together; all then return the same. */
kern_status train_checkpoint_save(const char *directory, const train_state *state,
                                  const train_tensors *parameters, const train_tensors *moments,
                                  const data_vocabulary *vocabulary, const ttt_conf *conf,
                                  const kern_comm *job);

/* Reads the checkpoint directory `path` into what of the tensors is in memory here. `moments` may
 * be NULL: the weights alone are wanted, as for fine-tuning. All is verified before any memory is
 * overwritten: checksums, and that each file holds exactly the tensors of the list with exactly
 * these types and shapes. Errors leave memory and *state as they were: KERN_ERR_DATA where the
 * checkpoint is damaged, KERN_ERR_CONFIG where it is intact but of another model (names the tensor
 * and both shapes), KERN_ERR_FILE where it cannot be read. Only a file whose size changes while it
 * is being read is noticed too late for that: KERN_ERR_DATA, and the memory is partly overwritten.
 * Collective over `job`, of which one rank verifies; all return the same. */
kern_status train_checkpoint_load(train_state *state, const char *path,
                                  const train_tensors *parameters, const train_tensors *moments,
                                  const kern_comm *job);

/* The same verification, but the weights stay in their file: *weights is open, and holds exactly
 * the tensors of the list, whose memory is not looked at; *crc is the file's checksum, which names
 * them. Errors as above; *weights is then NULL. */
kern_status train_checkpoint_open(data_safetensors **weights, train_state *state, uint32_t *crc,
                                  const char *path, const train_tensors *parameters);

/* Reads state.json and the whole of all other files and compares sizes and checksums. Errors as
 * for train_checkpoint_load; *state is then unchanged. */
kern_status train_checkpoint_verify(train_state *state, const char *path);

/* The state of the checkpoint directory `path` and the vocabulary that it carries; end that with
 * data_vocabulary_destroy. Checkpoints of format version 1 have none: they are of bytes. Verifies
 * all files but those of tensors. Errors: KERN_ERR_DATA where its files are damaged, KERN_ERR_FILE
 * where they cannot be read; *vocabulary is then NULL. */
kern_status train_checkpoint_vocabulary(const data_vocabulary **vocabulary, train_state *state,
                                        const char *path);

#endif
