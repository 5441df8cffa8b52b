#include "train/vocabulary.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/bpe.h"
#include "data/checksum.h"
#include "train/files.h"

enum { TEXT_MOST = 1 << 14, ABOUT_MOST = 1 << 17, TOKENIZER_MOST = 257 << 20 };

kern_status train_vocabulary_match(const data_vocabulary *vocabulary, const data_source *source,
                                   const char *owner) {
    if (vocabulary->size == data_source_vocabulary(source) &&
        vocabulary->bos == data_source_bos(source) &&
        !strcmp(vocabulary->name, data_source_tokenizer(source)) &&
        !strcmp(vocabulary->hash, data_source_tokenizer_hash(source)))
        return KERN_OK;
    return kern_fail(
        KERN_ERR_CONFIG,
        "the shards were packed with the vocabulary %s (hash %s, %lld ids, documents begin with "
        "%d), %s has %s (hash %s, %lld ids, documents begin with %d)",
        data_source_tokenizer(source), data_source_tokenizer_hash(source),
        (long long)data_source_vocabulary(source), (int)data_source_bos(source), owner,
        vocabulary->name, vocabulary->hash, (long long)vocabulary->size, (int)vocabulary->bos);
}

kern_status train_vocabulary_fit(const data_vocabulary *vocabulary, const conf_model *model,
                                 const char *owner) {
    if (vocabulary->size > model->vocab)
        return kern_fail(KERN_ERR_CONFIG,
                         "the vocabulary %s of %s has %lld ids and the model %lld: they do not "
                         "belong together",
                         vocabulary->name, owner, (long long)vocabulary->size,
                         (long long)model->vocab);
    if (model->bos >= 0 && vocabulary->bos != model->bos)
        return kern_fail(KERN_ERR_CONFIG,
                         "documents of the vocabulary %s of %s begin with token %d, those of the "
                         "model with %lld: they do not belong together",
                         vocabulary->name, owner, (int)vocabulary->bos, (long long)model->bos);
    return KERN_OK;
}

static const char *option(const char *text) {
    return *text ? text : NULL;
}

static kern_status read_chosen(const data_vocabulary **vocabulary, const conf_data *data) {
    kern_status status = KERN_OK;
    data_vocabulary *read = NULL;
    const data_bpe_options options = {.pattern = option(data->pattern),
                                      .begin = option(data->begin)};
    if (strlen(data->pattern) + strlen(data->begin) > TEXT_MOST)
        return kern_fail(KERN_ERR_CONFIG, "data.pattern and data.begin have more than %d bytes",
                         (int)TEXT_MOST);
    status = data_bpe_open(&read, data->tokenizer, &options);
    *vocabulary = read;
    return status == KERN_OK ? status : kern_fail_context(status, "data.tokenizer");
}

kern_status train_vocabulary_check(const conf_data *data) {
    if (*data->tokenizer || (!*data->pattern && !*data->begin)) return KERN_OK;
    return kern_fail(KERN_ERR_CONFIG,
                     "%s says how to read data.tokenizer, which is empty; name the vocabulary's "
                     "file there, or leave this out",
                     *data->pattern ? "data.pattern" : "data.begin");
}

kern_status train_vocabulary_choose(const data_vocabulary **vocabulary, const ttt_conf *conf,
                                    const data_source *source) {
    kern_status status = KERN_OK;
    const data_vocabulary *chosen = data_vocabulary_byte();
    const conf_data *data = &conf->data;
    *vocabulary = NULL;
    if (*data->tokenizer) {
        TRY(read_chosen(&chosen, data));
        if (train_vocabulary_match(chosen, source, data->tokenizer) != KERN_OK)
            TRY(kern_fail(KERN_ERR_CONFIG,
                          "data.tokenizer: %s; name the file and, in data.pattern and data.begin, "
                          "the options that ttt pack was given",
                          kern_error()));
    } else if (strcmp(data_source_tokenizer(source), chosen->name) != 0) {
        TRY(kern_fail(KERN_ERR_CONFIG,
                      "data.train: %s was packed with the vocabulary %s (hash %s); name its file, "
                      "data.tokenizer=FILE, so that checkpoints carry it (data.pattern and "
                      "data.begin, where ttt pack was given them)",
                      data->train, data_source_tokenizer(source),
                      data_source_tokenizer_hash(source)));
    } else {
        TRY(train_vocabulary_match(chosen, source, "this program"));
    }
    *vocabulary = chosen;
    chosen = NULL;
done:
    data_vocabulary_destroy(chosen);
    return status;
}

static kern_status write_part(train_state_file *file, const char *directory, int index,
                              const void *bytes, size_t count) {
    char *path = train_text("%s/%s", directory, train_state_file_names[index]);
    kern_status status = train_write_file(path, bytes, count);
    *file = (train_state_file){.bytes = (int64_t)count, .crc = data_crc32(0, bytes, count)};
    free(path);
    return status;
}

kern_status train_vocabulary_write(train_state_file files[2], const char *directory,
                                   const data_vocabulary *vocabulary) {
    kern_status status = KERN_OK;
    char *text = NULL;
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:i}", "name", vocabulary->name, "hash", vocabulary->hash,
                  "size", (json_int_t)vocabulary->size, "bos", (int)vocabulary->bos);
    files[1] = (train_state_file){.bytes = -1};
    if (object && vocabulary->pattern)
        json_object_set_new(object, "pattern", json_string(vocabulary->pattern));
    if (object && vocabulary->begin)
        json_object_set_new(object, "begin", json_string(vocabulary->begin));
    if (object) text = json_dumps(object, JSON_INDENT(2));
    if (!text) TRY(kern_fail(KERN_ERR_MEMORY, "no memory for a vocabulary's description"));
    TRY(write_part(&files[0], directory, TRAIN_STATE_VOCABULARY, text, strlen(text)));
    if (vocabulary->file)
        TRY(write_part(&files[1], directory, TRAIN_STATE_TOKENIZER, vocabulary->file,
                       vocabulary->file_bytes));
done:
    free(text);
    json_decref(object);
    return status;
}

/* What vocabulary.json says; the texts belong to the object. */
typedef struct {
    const char *name, *hash, *pattern, *begin;
    json_int_t size;
    int bos;
} description;

static bool unpack(description *about, json_t *object) {
    *about = (description){0};
    return !json_unpack(object, "{s:s, s:s, s:I, s:i, s?s, s?s !}", "name", &about->name, "hash",
                        &about->hash, "size", &about->size, "bos", &about->bos, "pattern",
                        &about->pattern, "begin", &about->begin);
}

static bool agree(const data_vocabulary *vocabulary, const description *about) {
    return !strcmp(vocabulary->name, about->name) && !strcmp(vocabulary->hash, about->hash) &&
           vocabulary->size == about->size && vocabulary->bos == about->bos;
}

static kern_status parse(const data_vocabulary **vocabulary, const description *about,
                         const char *path) {
    kern_status status = KERN_OK;
    data_vocabulary *parsed = NULL;
    char *file = NULL;
    size_t bytes;
    const data_bpe_options options = {.pattern = about->pattern, .begin = about->begin};
    TRY(train_read_file(&file, &bytes, path, TOKENIZER_MOST));
    TRY(data_bpe_parse(&parsed, file, bytes, path, &options));
    *vocabulary = parsed;
done:
    free(file);
    return status;
}

kern_status train_vocabulary_read(const data_vocabulary **vocabulary, const char *directory,
                                  bool has_tokenizer) {
    kern_status status = KERN_OK;
    const data_vocabulary *read = NULL;
    char *path = train_text("%s/%s", directory, train_state_file_names[TRAIN_STATE_VOCABULARY]);
    char *file = train_text("%s/%s", directory, train_state_file_names[TRAIN_STATE_TOKENIZER]);
    char *text = NULL;
    json_t *object = NULL;
    size_t count;
    description about;
    *vocabulary = NULL;
    TRY(train_read_file(&text, &count, path, ABOUT_MOST));
    object = json_loadb(text, count, JSON_REJECT_DUPLICATES, NULL);
    if (!unpack(&about, object))
        TRY(kern_fail(KERN_ERR_DATA, "%s has missing, unknown or impossible fields", path));
    if (has_tokenizer)
        TRY(parse(&read, &about, file));
    else
        read = data_vocabulary_byte();
    if (!agree(read, &about))
        TRY(kern_fail(KERN_ERR_DATA,
                      "%s says %s (hash %s, %lld ids), but what is there is %s (hash %s, %lld ids)",
                      path, about.name, about.hash, (long long)about.size, read->name, read->hash,
                      (long long)read->size));
    *vocabulary = read;
    read = NULL;
done:
    data_vocabulary_destroy(read);
    json_decref(object);
    free(text);
    free(file);
    free(path);
    return status;
}
