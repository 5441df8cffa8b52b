#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/checksum.h"
#include "data/safetensors.h"
#include "kernels/doing.h"
#include "train/files.h"
#include "train/vocabulary.h"

static const kern_device *device_of(const train_tensors *tensors) {
    return tensors->device ? tensors->device : kern_device_cpu();
}

/* ---- saving ---- */

static kern_status write_piece(void *writer, const train_tensor *tensor, size_t first,
                               const void *bytes, size_t count) {
    return data_safetensors_write_at(writer, tensor->name, first, bytes, count);
}

static kern_status begin_tensors(data_safetensors_writer **writer, const char *path,
                                 const train_tensors *tensors, bool first) {
    kern_status status = KERN_OK;
    TRY((first ? data_safetensors_create : data_safetensors_join)(writer, path));
    for (int64_t i = 0; i < tensors->count; i++) {
        const train_tensor *tensor = &tensors->items[i];
        if (tensor->more) continue;
        TRY(data_safetensors_declare(*writer, tensor->name, data_dtype_of(tensor->dtype),
                                     tensor->rank, tensor->shape));
    }
    TRY(data_safetensors_settle(*writer));
done:
    return status;
}

static kern_status write_own(data_safetensors_part *part, data_safetensors_writer *writer,
                             const train_tensors *tensors) {
    kern_status status = KERN_OK;
    for (int64_t i = 0; i < tensors->count; i++)
        if (!tensors->items[i].spare)
            TRY(train_tensor_read(&tensors->items[i], device_of(tensors), write_piece, writer));
    TRY(data_safetensors_parts(part, writer));
done:
    return status;
}

/* The first rank learns what the others wrote, for the checksum of the whole. */
static kern_status tell_parts(data_safetensors_writer *writer, const data_safetensors_part *part,
                              int64_t count, const kern_comm *job) {
    kern_status status = KERN_OK;
    data_safetensors_part *of = kern_array(count, sizeof *of);
    for (int rank = 1; rank < job->ranks; rank++) {
        if (rank == job->rank) memcpy(of, part, (size_t)count * sizeof *of);
        TRY(job->tell(job, of, (size_t)count * sizeof *of, rank));
        if (job->rank == 0) data_safetensors_add_parts(writer, of);
    }
done:
    free(of);
    return status;
}

/* One file, by all ranks. */
static kern_status write_tensors(train_state_file *file, const char *path,
                                 const train_tensors *tensors, const kern_comm *job) {
    kern_status status = KERN_OK;
    data_safetensors_writer *writer = NULL;
    data_safetensors_part *part = kern_array(tensors->count, sizeof *part);
    if (job->rank == 0) status = begin_tensors(&writer, path, tensors, true);
    TRY(kern_comm_meet(job, status));
    if (job->rank) status = begin_tensors(&writer, path, tensors, false);
    if (status == KERN_OK) status = write_own(part, writer, tensors);
    TRY(kern_comm_meet(job, status));
    TRY(tell_parts(writer, part, tensors->count, job));
    if (job->rank == 0) status = data_safetensors_finish(writer, &file->crc, &file->bytes);
    TRY(kern_comm_meet(job, status));
done:
    data_safetensors_writer_destroy(writer);
    free(part);
    return status;
}

static kern_status write_configuration(train_state_file *file, const char *aside,
                                       const ttt_conf *conf) {
    kern_status status = KERN_OK;
    char *text = NULL,
         *path = train_text("%s/%s", aside, train_state_file_names[TRAIN_STATE_CONFIG]);
    TRY(conf_text(&text, conf));
    size_t bytes = strlen(text);
    TRY(train_write_file(path, text, bytes));
    *file = (train_state_file){.bytes = (int64_t)bytes, .crc = data_crc32(0, text, bytes)};
done:
    free(text);
    free(path);
    return status;
}

static kern_status begin_directory(const char *aside) {
    kern_status status = train_remove(aside);
    return status == KERN_OK ? train_make_directory(aside) : status;
}

/* What is no tensor, by one rank. */
static kern_status write_rest(train_state_file *files, const char *aside, const train_state *state,
                              const data_vocabulary *vocabulary, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    char *path = train_text("%s/state.json", aside);
    TRY(train_vocabulary_write(&files[TRAIN_STATE_VOCABULARY], aside, vocabulary));
    TRY(write_configuration(&files[TRAIN_STATE_CONFIG], aside, conf));
    TRY(train_state_write(path, state, files));
done:
    free(path);
    return status;
}

/* All files of the checkpoint into the directory `aside`, which is created. */
static kern_status write_files(const char *aside, const train_state *state,
                               const train_tensors *const lists[TRAIN_STATE_TENSOR_FILES],
                               const data_vocabulary *vocabulary, const ttt_conf *conf,
                               const kern_comm *job) {
    kern_status status = KERN_OK;
    train_state_file files[TRAIN_STATE_FILES];
    if (job->rank == 0) status = begin_directory(aside);
    TRY(kern_comm_meet(job, status));
    for (int i = 0; i < TRAIN_STATE_TENSOR_FILES; i++) {
        char *path = train_text("%s/%s", aside, train_state_file_names[i]);
        status = write_tensors(&files[i], path, lists[i], job);
        free(path);
        if (status != KERN_OK) goto done;
    }
    if (job->rank == 0) status = write_rest(files, aside, state, vocabulary, conf);
    TRY(kern_comm_meet(job, status));
done:
    return status;
}

/* Gives the complete directory `aside` its name. */
static kern_status name_checkpoint(const char *path, const char *aside) {
    kern_status status = KERN_OK;
    struct stat info;
    char *old = train_text("%s.old", path);
    if (!lstat(path, &info)) {
        TRY(train_remove(old));
        TRY(train_rename(path, old)); /* train_history_clean puts it back if we end right here */
    }
    TRY(train_rename(aside, path));
    TRY(train_remove(old));
done:
    free(old);
    return status;
}

kern_status train_checkpoint_save(const char *directory, const train_state *state,
                                  const train_tensors *parameters, const train_tensors *moments,
                                  const data_vocabulary *vocabulary, const ttt_conf *conf,
                                  const kern_comm *job) {
    kern_status status = KERN_OK;
    const train_tensors *const lists[TRAIN_STATE_TENSOR_FILES] = {parameters, moments};
    char *path = train_text("%s/step-%08lld", directory, (long long)state->step);
    char *aside = train_text("%s.tmp", path);
    kern_doing_long("saving a checkpoint");
    status = write_files(aside, state, lists, vocabulary, conf, job);
    if (status != KERN_OK) {
        /* The first failure is the one to report; what cannot be removed now is at the next start.
         */
        char *reason = train_text("%s", kern_error());
        if (job->rank == 0) train_remove(aside);
        status = kern_fail(status,
                           "checkpoint of step %lld not saved: %s; earlier checkpoints are "
                           "unharmed",
                           (long long)state->step, reason);
        free(reason);
        goto done;
    }
    if (job->rank == 0) status = name_checkpoint(path, aside);
    TRY(kern_comm_meet(job, status));
done:
    kern_doing_long(NULL);
    free(aside);
    free(path);
    return status;
}

/* ---- verifying and loading ---- */

static kern_status verify_file(const char *directory, int index, const train_state_file *expected) {
    int64_t bytes = 0;
    uint32_t crc = 0;
    if (expected->bytes < 0) return KERN_OK;
    const char *advice = "";
    if (index == TRAIN_STATE_CONFIG) /* which users edit, to have other options */
        advice = "; it tells how the checkpoint was trained: undo the change, or copy the "
                 "checkpoint anew (other options are for a new run, with train.init_from)";
    char *path = train_text("%s/%s", directory, train_state_file_names[index]);
    kern_status status = data_crc32_file(&crc, &bytes, path);
    if (status == KERN_OK && bytes != expected->bytes)
        status = kern_fail(KERN_ERR_DATA, "%s has %lld bytes where %lld were written%s", path,
                           (long long)bytes, (long long)expected->bytes, advice);
    if (status == KERN_OK && crc != expected->crc)
        status = kern_fail(KERN_ERR_DATA,
                           "%s was changed since it was written: its checksum is %08x, not %08x%s",
                           path, crc, expected->crc, advice);
    free(path);
    return status;
}

/* state.json, and the files from index `first` on. */
static kern_status verify(train_state *state, train_state_file files[TRAIN_STATE_FILES],
                          const char *path, int first) {
    char *name = train_text("%s/state.json", path);
    kern_status status = train_state_read(state, files, name);
    free(name);
    for (int i = first; status == KERN_OK && i < TRAIN_STATE_FILES; i++)
        status = verify_file(path, i, &files[i]);
    return status;
}

kern_status train_checkpoint_verify(train_state *state, const char *path) {
    train_state read;
    train_state_file files[TRAIN_STATE_FILES];
    kern_status status = verify(&read, files, path, 0);
    if (status == KERN_OK) *state = read;
    return status;
}

kern_status train_checkpoint_vocabulary(const data_vocabulary **vocabulary, train_state *state,
                                        const char *path) {
    train_state_file files[TRAIN_STATE_FILES];
    *vocabulary = NULL;
    kern_status status = verify(state, files, path, TRAIN_STATE_VOCABULARY);
    if (status != KERN_OK) return status;
    if (files[TRAIN_STATE_VOCABULARY].bytes >= 0)
        return train_vocabulary_read(vocabulary, path, files[TRAIN_STATE_TOKENIZER].bytes >= 0);
    *vocabulary = data_vocabulary_byte();
    return KERN_OK;
}

static bool is_listed(const char *name, const train_tensors *tensors) {
    for (int64_t i = 0; i < tensors->count; i++)
        if (!strcmp(tensors->items[i].name, name)) return true;
    return false;
}

static int64_t names_of(const train_tensors *tensors) {
    int64_t names = 0;
    for (int64_t i = 0; i < tensors->count; i++) names += !tensors->items[i].more;
    return names;
}

/* That `file` holds exactly `tensors`. */
static kern_status match(const data_safetensors *file, const train_tensors *tensors) {
    static const char hint[] = "the checkpoint belongs to another model configuration";
    static const char precision[] = "weights of train.precision=f64 are F64, those of f32 and bf16 "
                                    "are F32; take the precision that the checkpoint was made with";
    const data_tensor *found;
    for (int64_t i = 0; i < tensors->count; i++) {
        const train_tensor *tensor = &tensors->items[i];
        data_dtype dtype = data_dtype_of(tensor->dtype);
        if (data_safetensors_expect(&found, file, tensor->name, dtype, tensor->rank,
                                    tensor->shape) == KERN_OK)
            continue;
        found = data_safetensors_find(file, tensor->name);
        return kern_fail(KERN_ERR_CONFIG, "%s; %s", kern_error(),
                         found && found->dtype != dtype ? precision : hint);
    }
    const data_tensor *all = data_safetensors_tensors(file);
    for (int64_t i = 0; i < data_safetensors_count(file); i++)
        if (data_safetensors_count(file) != names_of(tensors) && !is_listed(all[i].name, tensors))
            return kern_fail(KERN_ERR_CONFIG,
                             "%s: unexpected tensor %s, which this configuration does not have; %s",
                             data_safetensors_path(file), all[i].name, hint);
    return KERN_OK;
}

static kern_status copy(const train_tensors *tensors, const data_safetensors *file) {
    kern_status status = KERN_OK;
    for (int64_t i = 0; i < tensors->count; i++) {
        const data_tensor *found = data_safetensors_find(file, tensors->items[i].name);
        TRY(data_safetensors_unchanged(file, found));
        TRY(train_tensor_fill(&tensors->items[i], device_of(tensors), found->data));
    }
    TRY(kern_finish(device_of(tensors)->stream));
done:
    return status;
}

/* Opens one of the files, which holds exactly these tensors. */
static kern_status open_tensors(data_safetensors **result, const char *directory, int index,
                                const train_tensors *tensors) {
    kern_status status = KERN_OK;
    data_safetensors *file = NULL;
    char *name = train_text("%s/%s", directory, train_state_file_names[index]);
    *result = NULL;
    TRY(data_safetensors_open(&file, name));
    TRY(match(file, tensors));
    *result = file;
    file = NULL;
done:
    data_safetensors_destroy(file);
    free(name);
    return status;
}

kern_status train_checkpoint_load(train_state *state, const char *path,
                                  const train_tensors *parameters, const train_tensors *moments,
                                  const kern_comm *job) {
    kern_status status = KERN_OK;
    const train_tensors *const lists[TRAIN_STATE_TENSOR_FILES] = {parameters, moments};
    data_safetensors *files[TRAIN_STATE_TENSOR_FILES] = {NULL};
    train_state_file expected[TRAIN_STATE_FILES];
    train_state read;
    kern_doing_long("reading a checkpoint");
    status = verify(&read, expected, path, job->rank ? TRAIN_STATE_FILES : 0);
    for (int i = 0; i < TRAIN_STATE_TENSOR_FILES && status == KERN_OK; i++)
        if (lists[i]) status = open_tensors(&files[i], path, i, lists[i]);
    TRY(kern_comm_meet(job, status));
    for (int i = 0; i < TRAIN_STATE_TENSOR_FILES && status == KERN_OK; i++)
        if (lists[i]) status = copy(lists[i], files[i]);
    TRY(kern_comm_meet(job, status));
    *state = read;
done:
    kern_doing_long(NULL);
    for (int i = 0; i < TRAIN_STATE_TENSOR_FILES; i++) data_safetensors_destroy(files[i]);
    return status;
}

kern_status train_checkpoint_open(data_safetensors **weights, train_state *state, uint32_t *crc,
                                  const char *path, const train_tensors *parameters) {
    kern_status status = KERN_OK;
    train_state read;
    train_state_file files[TRAIN_STATE_FILES];
    *weights = NULL;
    TRY(verify(&read, files, path, 0));
    TRY(open_tensors(weights, path, TRAIN_STATE_MODEL, parameters));
    *state = read;
    *crc = files[TRAIN_STATE_MODEL].crc;
done:
    return status;
}
