#include "data/documents.h"

#include "data/kinds.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_AT_ONCE = 1 << 30 };

struct data_documents {
    char *const *paths;
    int64_t count, file; /* the file that is open or comes next */
    data_documents_options options;
    int64_t size, closed; /* bytes on the disk: of all files, of those behind us */
    data_stream *opened;  /* NULL: none */
    bool by_line, begun;
    data_lines lines;
    const char *text; /* of the line that is handed out */
    int64_t text_bytes, text_taken;
    data_bad_lines bad;
};

kern_status data_documents_create(data_documents **out, char *const *paths, int64_t count,
                                  const data_documents_options *options) {
    data_documents *documents = NULL;
    kern_status status = kern_alloc_zero((void **)&documents, sizeof *documents, "a reader");
    *out = documents;
    if (status != KERN_OK) return status;
    documents->paths = paths;
    documents->count = count;
    documents->options = *options;
    if (!options->field) documents->options.field = "text";
    for (int64_t i = 0; i < count; i++) documents->size += data_stream_size(paths[i]);
    return KERN_OK;
}

int64_t data_documents_size(const data_documents *documents) {
    return documents->size;
}

const data_bad_lines *data_documents_bad(const data_documents *documents) {
    return &documents->bad;
}

void data_documents_destroy(data_documents *documents) {
    if (!documents) return;
    data_stream_destroy(documents->opened);
    free(documents->lines.held);
    kern_free(documents);
}

static const char *path_of(const data_documents *documents) {
    return documents->paths[documents->file];
}

/* Whether the name ends like one of lines of JSON, with or without what a compressor adds. */
static bool is_called_lines(const char *path) {
    static const char *const ends[] = {".gz", ".zst", ".jsonl", ".ndjson"};
    size_t length = strlen(path);
    for (int i = 0; i < 4; i++) {
        size_t end = strlen(ends[i]);
        if (length <= end || memcmp(path + length - end, ends[i], end)) continue;
        if (i > 1) return true;
        length -= end;
    }
    return false;
}

/* What begins so and is no lines of JSON is a text, or it is not what was meant. */
static kern_status check_text(const data_documents *documents, const char *head, int64_t bytes) {
    const char *name = data_stream_name(path_of(documents));
    char reason[DATA_KIND_REASON];
    if (data_kind_is_json_array(head, bytes))
        return kern_fail(KERN_ERR_DATA,
                         "%s: is one JSON array of objects; make a line of each: jq -c '.[]' FILE "
                         ">FILE.jsonl",
                         name);
    if (data_kind_is_binary(reason, head, bytes))
        return kern_fail(KERN_ERR_DATA,
                         "%s: is a binary file, not text: %s; --input text takes it "
                         "as it is",
                         name, reason);
    return KERN_OK;
}

static kern_status find_input(data_documents *documents) {
    kern_status status = KERN_OK;
    char *head;
    int64_t bytes;
    documents->by_line =
        documents->options.input == DATA_INPUT_LINES ||
        (documents->options.input == DATA_INPUT_AUTO && is_called_lines(path_of(documents)));
    if (documents->by_line || documents->options.input == DATA_INPUT_TEXT) return KERN_OK;
    TRY(data_stream_peek(documents->opened, &head, &bytes, DATA_LINES_LOOKED_AT));
    documents->by_line = data_lines_are_json(head, bytes);
    if (!documents->by_line) TRY(check_text(documents, head, bytes));
done:
    return status;
}

static kern_status open_next(data_documents *documents) {
    kern_status status = KERN_OK;
    data_stream_options options = {.path = path_of(documents),
                                   .any_kind = documents->options.input == DATA_INPUT_TEXT};
    TRY(data_stream_open(&documents->opened, &options));
    TRY(find_input(documents));
    documents->lines.bytes = documents->lines.taken = documents->lines.number = 0;
    documents->lines.whole = documents->begun = false;
done:
    return status;
}

static int64_t bytes_read(const data_documents *documents) {
    return documents->closed + (documents->opened ? data_stream_consumed(documents->opened) : 0);
}

static void close_file(data_documents *documents) {
    documents->closed = bytes_read(documents);
    data_stream_destroy(documents->opened);
    documents->opened = NULL;
    documents->file++;
}

/* A line without the field's text: counted, or an error. */
static kern_status take_fault(data_documents *documents, const data_line_fault *fault) {
    data_bad_lines *bad = &documents->bad;
    const char *hint = documents->options.hint;
    if (!documents->options.skip_bad)
        return kern_fail(KERN_ERR_DATA, "%s: line %lld, byte %lld: %s%s%s",
                         data_stream_name(path_of(documents)), (long long)documents->lines.number,
                         (long long)fault->byte, fault->reason, hint ? "; " : "", hint ? hint : "");
    if (bad->count < DATA_BAD_LINES_KEPT) {
        bad->first[bad->count].file = documents->file;
        bad->first[bad->count].line = documents->lines.number;
        bad->first[bad->count].fault = *fault;
    }
    bad->count++;
    return KERN_OK;
}

/* The next line that has the field's text; *more is false behind the last. */
static kern_status next_document(data_documents *documents, bool *more) {
    kern_status status = KERN_OK;
    char *line, *text;
    int64_t bytes;
    data_line_fault fault;
    for (;;) {
        TRY(data_lines_next(&line, &bytes, &documents->lines, documents->opened));
        *more = line != NULL;
        if (!line || data_line_field(&text, &documents->text_bytes, &fault, line, bytes,
                                     documents->options.field))
            break;
        TRY(take_fault(documents, &fault));
    }
    documents->text = line ? text : NULL;
    documents->text_taken = 0;
done:
    return status;
}

/* A part of the open file of lines; no part where it has no further line. */
static kern_status read_line_part(data_document_part *part, char *text, data_documents *documents,
                                  int64_t most) {
    kern_status status = KERN_OK;
    bool more = true;
    part->begins = !documents->begun;
    if (part->begins) TRY(next_document(documents, &more));
    if (!more) goto done;
    int64_t rest = documents->text_bytes - documents->text_taken;
    part->file = documents->file;
    part->line = documents->lines.number;
    part->bytes = rest < most ? rest : most;
    part->ends = rest <= most;
    memcpy(text, documents->text + documents->text_taken, (size_t)part->bytes);
    documents->text_taken += part->bytes;
    documents->begun = !part->ends;
done:
    return status;
}

kern_status data_documents_read(data_document_part *part, char *text, data_documents *documents,
                                int64_t most) {
    kern_status status = KERN_OK;
    ASSERT(most > 0);
    if (most > MOST_AT_ONCE) most = MOST_AT_ONCE;
    *part = (data_document_part){.file = -1};
    while (documents->file < documents->count) {
        if (!documents->opened) TRY(open_next(documents));
        part->path = path_of(documents);
        if (documents->by_line) {
            TRY(read_line_part(part, text, documents, most));
            if (part->file >= 0) break;
            close_file(documents);
            continue;
        }
        TRY(data_stream_fill(documents->opened, text, most, &part->bytes));
        part->file = documents->file;
        part->begins = !documents->begun;
        part->ends = part->bytes < most;
        documents->begun = true;
        if (part->ends) close_file(documents);
        break;
    }
    part->read = bytes_read(documents);
    part->bad = documents->bad.count;
done:
    return status;
}
