#include "train/state.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/checksum.h"
#include "train/files.h"

const char *const train_state_file_names[TRAIN_STATE_FILES] = {
    "model.safetensors", "optimizer.safetensors", "vocabulary.json", "tokenizer", "config.yaml"};

static const char FORMAT[] = "ttt checkpoint";
enum { VERSION = 3, EARLY_HASH = 2, LIMIT_BYTES = 1 << 16 };
/* How many of the files each version knows. */
static const int files_of[VERSION + 1] = {0, TRAIN_STATE_VOCABULARY, TRAIN_STATE_CONFIG,
                                          TRAIN_STATE_FILES};

/* What follows the checksummed bytes. */
static char *tail_text(uint32_t crc) {
    return train_text(",\n  \"crc32\": \"%08x\"\n}\n", crc);
}

static json_t *file_object(const train_state_file *file) {
    char crc[9];
    snprintf(crc, sizeof crc, "%08x", file->crc);
    return json_pack("{s:I, s:s}", "bytes", (json_int_t)file->bytes, "crc32", crc);
}

static json_t *file_objects(const train_state_file files[TRAIN_STATE_FILES]) {
    json_t *object = json_object();
    for (int i = 0; i < TRAIN_STATE_FILES; i++) {
        ASSERT(files[i].bytes >= 0 || i == TRAIN_STATE_TOKENIZER);
        if (files[i].bytes >= 0)
            json_object_set_new(object, train_state_file_names[i], file_object(&files[i]));
    }
    return object;
}

kern_status train_state_write(const char *path, const train_state *state,
                              const train_state_file files[TRAIN_STATE_FILES]) {
    ASSERT(state->step >= 0 && state->samples >= 0 && state->tokens >= 0);
    ASSERT(isfinite(state->seconds) && state->seconds >= 0);
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)state->config_hash);
    json_t *object =
        json_pack("{s:s, s:i, s:I, s:I, s:I, s:f, s:s, s:o}", "format", FORMAT, "version", VERSION,
                  "step", (json_int_t)state->step, "samples", (json_int_t)state->samples, "tokens",
                  (json_int_t)state->tokens, "seconds", state->seconds, "config_hash", hash,
                  "files", file_objects(files));
    char *body = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    if (!body) return kern_fail(KERN_ERR_MEMORY, "no memory for %s", path);
    size_t covered = strlen(body) - strlen("\n}"); /* the object stays open for the checksum */
    char *tail = tail_text(data_crc32(0, body, covered));
    char *text = train_text("%.*s%s", (int)covered, body, tail);
    kern_status status = train_write_file(path, text, strlen(text));
    free(text);
    free(tail);
    free(body);
    return status;
}

static bool hexadecimal(uint64_t *value, const char *text, size_t digits) {
    if (strlen(text) != digits || strspn(text, "0123456789abcdef") != digits) return false;
    *value = strtoull(text, NULL, 16);
    return true;
}

/* Exactly the files that a checkpoint of this version has. */
static bool unpack_files(train_state_file *files, json_t *object, int version) {
    size_t found = 0;
    int most = files_of[version];
    for (int i = 0; i < TRAIN_STATE_FILES; i++) {
        json_t *file = i < most ? json_object_get(object, train_state_file_names[i]) : NULL;
        json_int_t bytes;
        const char *crc;
        uint64_t number;
        files[i] = (train_state_file){.bytes = -1};
        if (!file && (i >= most || i == TRAIN_STATE_TOKENIZER)) continue;
        if (json_unpack(file, "{s:I, s:s !}", "bytes", &bytes, "crc32", &crc)) return false;
        if (bytes < 0 || !hexadecimal(&number, crc, 8)) return false;
        files[i] = (train_state_file){.bytes = bytes, .crc = (uint32_t)number};
        found++;
    }
    return found == json_object_size(object);
}

/* The fields of an object that has exactly those of its version. False: something is not as
 * written. */
static bool unpack(train_state *state, train_state_file *files, json_t *object) {
    json_int_t step, samples, tokens;
    json_t *list;
    const char *hash, *format, *own;
    int version;
    double seconds;
    if (json_unpack(object, "{s:s, s:i, s:I, s:I, s:I, s:F, s:s, s:o, s:s !}", "format", &format,
                    "version", &version, "step", &step, "samples", &samples, "tokens", &tokens,
                    "seconds", &seconds, "config_hash", &hash, "files", &list, "crc32", &own))
        return false;
    if (step < 0 || samples < 0 || tokens < 0 || !(seconds >= 0)) return false;
    if (!hexadecimal(&state->config_hash, hash, 16)) return false;
    if (!unpack_files(files, list, version)) return false;
    state->early_hash = version <= EARLY_HASH;
    state->step = step;
    state->samples = samples;
    state->tokens = tokens;
    state->seconds = seconds;
    return true;
}

static kern_status check_whole(const char *text, size_t count, const char *path) {
    char *tail = tail_text(0);
    size_t length = strlen(tail);
    free(tail);
    if (count < length)
        return kern_fail(KERN_ERR_DATA, "%s is torn: it has only %zu bytes", path, count);
    size_t covered = count - length;
    tail = tail_text(data_crc32(0, text, covered));
    bool same = !memcmp(text + covered, tail, length);
    free(tail);
    if (same) return KERN_OK;
    return kern_fail(KERN_ERR_DATA, "%s is torn or was changed: its checksum does not match", path);
}

static kern_status check_version(const json_t *object, const char *path) {
    const char *format = json_string_value(json_object_get(object, "format"));
    if (!format || strcmp(format, FORMAT) != 0)
        return kern_fail(KERN_ERR_DATA, "%s is no checkpoint's state.json", path);
    json_int_t version = json_integer_value(json_object_get(object, "version"));
    if (version < 1 || version > VERSION)
        return kern_fail(KERN_ERR_DATA,
                         "%s has format version %lld, this program reads up to version %d; use the "
                         "program that wrote it",
                         path, (long long)version, (int)VERSION);
    return KERN_OK;
}

kern_status train_state_read(train_state *state, train_state_file files[TRAIN_STATE_FILES],
                             const char *path) {
    kern_status status = KERN_OK;
    char *text = NULL;
    json_t *object = NULL;
    size_t count = 0;
    train_state read;
    train_state_file read_files[TRAIN_STATE_FILES];
    TRY(train_read_file(&text, &count, path, LIMIT_BYTES));
    TRY(check_whole(text, count, path));
    object = json_loadb(text, count, JSON_REJECT_DUPLICATES, NULL);
    TRY(check_version(object, path));
    if (!unpack(&read, read_files, object)) {
        status = kern_fail(KERN_ERR_DATA, "%s has missing, unknown or impossible fields", path);
        goto done;
    }
    *state = read;
    memcpy(files, read_files, sizeof read_files);
done:
    json_decref(object);
    free(text);
    return status;
}
