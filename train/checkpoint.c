#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/checksum.h"
#include "data/safetensors.h"
#include "train/files.h"
#include "train/vocabulary.h"

static size_t tensor_bytes(const train_tensor *tensor) {
    size_t bytes = kern_dtype_bytes(tensor->dtype);
    for (int axis = 0; axis < tensor->rank; axis++) bytes *= (size_t)tensor->shape[axis];
    return bytes;
}

static const kern_device *device_of(const train_tensors *tensors) {
    return tensors->device ? tensors->device : kern_device_cpu();
}

kern_status train_tensor_read(const train_tensor *tensor, const kern_device *device,
                              train_tensor_taker take, void *context) {
    enum { PIECE = 4 << 20 };
    kern_status status = KERN_OK;
    size_t bytes = tensor_bytes(tensor);
    void *stage = NULL;
    if (device->host) return take(context, tensor, tensor->data, bytes);
    TRY(kern_alloc(&stage, PIECE, "a piece of a tensor"));
    for (size_t at = 0, count; at < bytes; at += count) {
        count = bytes - at < PIECE ? bytes - at : PIECE;
        TRY(kern_download(device, stage, (const char *)tensor->data + at, count));
        TRY(take(context, tensor, stage, count));
    }
done:
    kern_free(stage);
    return status;
}

static kern_status write_piece(void *writer, const train_tensor *tensor, const void *bytes,
                               size_t count) {
    return data_safetensors_write(writer, tensor->name, bytes, count);
}

static kern_status write_tensors(train_state_file *file, const char *path,
                                 const train_tensors *tensors) {
    kern_status status = KERN_OK;
    data_safetensors_writer *writer = NULL;
    TRY(data_safetensors_create(&writer, path));
    for (int64_t i = 0; i < tensors->count; i++) {
        const train_tensor *tensor = &tensors->items[i];
        TRY(data_safetensors_declare(writer, tensor->name, data_dtype_of(tensor->dtype),
                                     tensor->rank, tensor->shape));
    }
    for (int64_t i = 0; i < tensors->count; i++) {
        TRY(train_tensor_read(&tensors->items[i], device_of(tensors), write_piece, writer));
    }
    TRY(data_safetensors_finish(writer, &file->crc, &file->bytes));
done:
    data_safetensors_writer_destroy(writer);
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

/* All files of the checkpoint into the directory `aside`, which is created. */
static kern_status write_files(const char *aside, const train_state *state,
                               const train_tensors *const lists[TRAIN_STATE_TENSOR_FILES],
                               const data_vocabulary *vocabulary, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    train_state_file files[TRAIN_STATE_FILES];
    char *path = train_text("%s/state.json", aside);
    TRY(train_remove(aside));
    TRY(train_make_directory(aside));
    for (int i = 0; i < TRAIN_STATE_TENSOR_FILES; i++) {
        char *tensor_path = train_text("%s/%s", aside, train_state_file_names[i]);
        status = write_tensors(&files[i], tensor_path, lists[i]);
        free(tensor_path);
        if (status != KERN_OK) goto done;
    }
    TRY(train_vocabulary_write(&files[TRAIN_STATE_VOCABULARY], aside, vocabulary));
    TRY(write_configuration(&files[TRAIN_STATE_CONFIG], aside, conf));
    TRY(train_state_write(path, state, files));
done:
    free(path);
    return status;
}

kern_status train_checkpoint_save(const char *directory, const train_state *state,
                                  const train_tensors *parameters, const train_tensors *moments,
                                  const data_vocabulary *vocabulary, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    struct stat info;
    const train_tensors *const lists[TRAIN_STATE_TENSOR_FILES] = {parameters, moments};
    char *path = train_text("%s/step-%08lld", directory, (long long)state->step);
    char *aside = train_text("%s.tmp", path), *old = train_text("%s.old", path);
    status = write_files(aside, state, lists, vocabulary, conf);
    if (status != KERN_OK) {
        /* The first failure is the one to report; what cannot be removed now is at the next start.
         */
        char *reason = train_text("%s", kern_error());
        train_remove(aside);
        status = kern_fail(status,
                           "checkpoint of step %lld not saved: %s; earlier checkpoints are "
                           "unharmed",
                           (long long)state->step, reason);
        free(reason);
        goto done;
    }
    if (!lstat(path, &info)) {
        TRY(train_remove(old));
        TRY(train_rename(path, old)); /* train_history_clean puts it back if we end right here */
    }
    TRY(train_rename(aside, path));
    TRY(train_remove(old));
done:
    free(old);
    free(aside);
    free(path);
    return status;
}

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
        if (data_safetensors_count(file) != tensors->count && !is_listed(all[i].name, tensors))
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
        if (found->bytes)
            kern_upload(device_of(tensors), tensors->items[i].data, found->data, found->bytes);
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
                                  const train_tensors *parameters, const train_tensors *moments) {
    kern_status status = KERN_OK;
    const train_tensors *const lists[TRAIN_STATE_TENSOR_FILES] = {parameters, moments};
    data_safetensors *files[TRAIN_STATE_TENSOR_FILES] = {NULL};
    train_state read;
    TRY(train_checkpoint_verify(&read, path));
    for (int i = 0; i < TRAIN_STATE_TENSOR_FILES; i++)
        if (lists[i]) TRY(open_tensors(&files[i], path, i, lists[i]));
    for (int i = 0; i < TRAIN_STATE_TENSOR_FILES; i++)
        if (lists[i]) TRY(copy(lists[i], files[i]));
    *state = read;
done:
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
