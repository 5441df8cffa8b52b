#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/json_fault.h"
#include "data/lines.h"
#include "data/needle.h"

struct data_needle_reader {
    data_stream *stream;
    data_lines lines;
    char *path;
};

kern_status data_needle_reader_open(data_needle_reader **out, const char *path) {
    kern_status status = KERN_OK;
    data_needle_reader *reader = NULL;
    *out = NULL;
    TRY(kern_alloc_zero((void **)&reader, sizeof *reader, "a reader of needles"));
    reader->path = strdup(path);
    ASSERT(reader->path);
    TRY(data_stream_open(&reader->stream, &(data_stream_options){.path = reader->path}));
    *out = reader;
    reader = NULL;
done:
    data_needle_reader_close(reader);
    return status;
}

void data_needle_reader_close(data_needle_reader *reader) {
    if (!reader) return;
    data_stream_destroy(reader->stream);
    free(reader->path);
    free(reader->lines.held);
    kern_free(reader);
}

static kern_status missing(const data_needle_reader *reader, const char *field, const char *kind) {
    return kern_fail(
        KERN_ERR_DATA,
        "%s, line %lld: no field \"%s\" that is %s; a line of RULER's needle tasks has "
        "index, input, outputs and length, and in newer files length_w_model_temp, answer_prefix "
        "and "
        "token_position_answer",
        reader->path, (long long)reader->lines.number, field, kind);
}

static kern_status take_text(char **text, const json_t *object, const char *field,
                             const data_needle_reader *reader) {
    const char *value = json_string_value(json_object_get(object, field));
    if (!value) return missing(reader, field, "a text");
    *text = strdup(value);
    ASSERT(*text);
    return KERN_OK;
}

static kern_status take_number(int64_t *number, const json_t *object, const char *field,
                               const data_needle_reader *reader) {
    const json_t *value = json_object_get(object, field);
    if (!json_is_integer(value)) return missing(reader, field, "a whole number");
    *number = json_integer_value(value);
    return KERN_OK;
}

static kern_status take_outputs(data_needle *sample, const json_t *object,
                                const data_needle_reader *reader) {
    static const char kind[] = "a list of texts, none of them empty";
    const json_t *list = json_object_get(object, "outputs");
    size_t count = json_array_size(list); /* 0 where it is no array */
    if (count == 0) return missing(reader, "outputs", kind);
    sample->outputs = kern_array((int64_t)count, sizeof *sample->outputs);
    for (size_t i = 0; i < count; i++) {
        const char *value = json_string_value(json_array_get(list, i));
        if (!value || !*value) return missing(reader, "outputs", kind);
        sample->outputs[i] = strdup(value);
        ASSERT(sample->outputs[i]);
        sample->output_count++;
    }
    return KERN_OK;
}

/* What files of 2024 lack: their input ends with the answer's beginning. */
static kern_status take_newer(data_needle *sample, const json_t *object,
                              const data_needle_reader *reader) {
    kern_status status = KERN_OK;
    sample->length_w_temp = sample->length;
    sample->position = -1;
    if (json_object_get(object, "length_w_model_temp"))
        TRY(take_number(&sample->length_w_temp, object, "length_w_model_temp", reader));
    if (json_object_get(object, "token_position_answer"))
        TRY(take_number(&sample->position, object, "token_position_answer", reader));
    if (json_object_get(object, "answer_prefix"))
        TRY(take_text(&sample->prefix, object, "answer_prefix", reader));
    else
        sample->prefix = strdup("");
    ASSERT(sample->prefix);
done:
    return status;
}

static kern_status take(data_needle *sample, const json_t *object,
                        const data_needle_reader *reader) {
    kern_status status = KERN_OK;
    TRY(take_number(&sample->index, object, "index", reader));
    TRY(take_text(&sample->input, object, "input", reader));
    if (!*sample->input) TRY(missing(reader, "input", "a text that is not empty"));
    TRY(take_outputs(sample, object, reader));
    TRY(take_number(&sample->length, object, "length", reader));
    TRY(take_newer(sample, object, reader));
done:
    return status;
}

kern_status data_needle_read(data_needle *sample, bool *more, data_needle_reader *reader) {
    kern_status status = KERN_OK;
    json_t *object = NULL;
    json_error_t error;
    char *line;
    int64_t bytes;
    *sample = (data_needle){.index = 0};
    *more = false;
    TRY(data_lines_next(&line, &bytes, &reader->lines, reader->stream));
    *more = line != NULL;
    if (!line) goto done;
    object = json_loadb(line, (size_t)bytes, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object))
        TRY(kern_fail(KERN_ERR_DATA,
                      "%s, line %lld is no JSON object%s%s; RULER's files have one "
                      "on each line",
                      reader->path, (long long)reader->lines.number, object ? "" : ": ",
                      object ? "" : data_json_fault(&error)));
    TRY(take(sample, object, reader));
done:
    json_decref(object);
    if (status != KERN_OK) data_needle_clear(sample);
    return status;
}

char *data_needle_line(const data_needle *sample) {
    json_t *outputs = json_array();
    for (int64_t i = 0; i < sample->output_count; i++)
        json_array_append_new(outputs, json_string(sample->outputs[i]));
    json_t *object =
        json_pack("{s:I, s:s, s:o, s:I, s:I, s:s, s:I}", "index", (json_int_t)sample->index,
                  "input", sample->input, "outputs", outputs, "length", (json_int_t)sample->length,
                  "length_w_model_temp", (json_int_t)sample->length_w_temp, "answer_prefix",
                  sample->prefix, "token_position_answer", (json_int_t)sample->position);
    char *line = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return line;
}
