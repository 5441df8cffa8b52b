#include "data/documents.h"

#include "data/utf8.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { PIECE = 1 << 16, MOST_AT_ONCE = 1 << 30 };

struct data_documents {
    char *const *paths;
    int64_t count, file; /* the file that is open or comes next */
    const char *field;
    int64_t size, closed; /* bytes on the disk: of all files, of those behind us */
    gzFile opened;        /* NULL: none */
    bool lines, begun;
    /* Of .jsonl: bytes read and not yet taken, and the line that is handed out. */
    char *held;
    int64_t held_bytes, held_capacity, taken, line;
    bool whole; /* the file is read to its end */
    json_t *object;
    const char *text;
    int64_t text_bytes, text_taken;
};

bool data_documents_are_lines(const char *path) {
    size_t length = strlen(path);
    if (length > 3 && !strcmp(path + length - 3, ".gz")) length -= 3;
    return length > 6 && !memcmp(path + length - 6, ".jsonl", 6);
}

static int64_t size_on_disk(const char *path) {
    struct stat about;
    return !stat(path, &about) && S_ISREG(about.st_mode) ? about.st_size : 0;
}

kern_status data_documents_create(data_documents **out, char *const *paths, int64_t count,
                                  const char *field) {
    data_documents *documents = NULL;
    kern_status status = kern_alloc_zero((void **)&documents, sizeof *documents, "a reader");
    *out = documents;
    if (status != KERN_OK) return status;
    documents->paths = paths;
    documents->count = count;
    documents->field = field;
    for (int64_t i = 0; i < count; i++) documents->size += size_on_disk(paths[i]);
    return KERN_OK;
}

int64_t data_documents_size(const data_documents *documents) {
    return documents->size;
}

void data_documents_destroy(data_documents *documents) {
    if (!documents) return;
    if (documents->opened) gzclose(documents->opened);
    json_decref(documents->object);
    free(documents->held);
    kern_free(documents);
}

static const char *path_of(const data_documents *documents) {
    return documents->paths[documents->file];
}

static kern_status open_next(data_documents *documents) {
    struct stat about;
    const char *path = path_of(documents);
    if (stat(path, &about))
        return kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    if (S_ISDIR(about.st_mode))
        return kern_fail(KERN_ERR_USAGE, "%s is a folder; name its files: '%s/*.txt'", path, path);
    documents->opened = gzopen(path, "rb");
    if (!documents->opened)
        return kern_fail(KERN_ERR_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    documents->lines = data_documents_are_lines(path);
    documents->held_bytes = documents->taken = documents->line = 0;
    documents->whole = documents->begun = false;
    return KERN_OK;
}

static int64_t bytes_read(const data_documents *documents) {
    int64_t here = documents->opened ? gzoffset(documents->opened) : 0;
    return documents->closed + (here > 0 ? here : 0);
}

static void close_file(data_documents *documents) {
    documents->closed = bytes_read(documents);
    gzclose(documents->opened);
    documents->opened = NULL;
    documents->file++;
}

/* Up to `most` bytes of the file; fewer at its end alone. */
static kern_status read_bytes(data_documents *documents, char *memory, int64_t most, int64_t *got) {
    const char *path = path_of(documents);
    int number = Z_OK;
    *got = gzread(documents->opened, memory, (unsigned)(most < MOST_AT_ONCE ? most : MOST_AT_ONCE));
    const char *reason = *got < most ? gzerror(documents->opened, &number) : NULL;
    if (*got < 0 && number == Z_ERRNO)
        return kern_fail(KERN_ERR_FILE, "%s: %s", path, strerror(errno));
    if (*got < 0)
        return kern_fail(KERN_ERR_DATA, "%s: its gzip data are damaged: %s", path, reason);
    if (number == Z_BUF_ERROR)
        return kern_fail(KERN_ERR_DATA, "%s: its gzip data end too early", path);
    return KERN_OK;
}

/* The next line of the file, without its end; *line is NULL behind the last. */
static kern_status next_line(data_documents *documents, char **line, int64_t *bytes) {
    kern_status status = KERN_OK;
    int64_t searched = 0, got;
    *line = NULL;
    for (;;) {
        char *begin = documents->held + documents->taken;
        int64_t there = documents->held_bytes - documents->taken;
        char *end =
            there > searched ? memchr(begin + searched, '\n', (size_t)(there - searched)) : NULL;
        if (end || (documents->whole && there)) {
            *bytes = end ? end - begin : there;
            documents->taken += *bytes + (end != NULL);
            documents->line++;
            *line = begin;
            int64_t mark = documents->line == 1 ? data_utf8_mark(begin, *bytes) : 0;
            *line += mark;
            *bytes -= mark;
            break;
        }
        if (documents->whole) break;
        searched = there;
        if (there) memmove(documents->held, begin, (size_t)there);
        documents->taken = 0;
        documents->held_bytes = there;
        documents->held = kern_grow(documents->held, &documents->held_capacity, there + PIECE, 1);
        TRY(read_bytes(documents, documents->held + there, PIECE, &got));
        documents->held_bytes += got;
        documents->whole = got < PIECE;
    }
done:
    return status;
}

static kern_status wrong_line(const data_documents *documents, const char *what) {
    return kern_fail(KERN_ERR_DATA, "%s: line %lld %s", path_of(documents),
                     (long long)documents->line, what);
}

static kern_status parse_line(data_documents *documents, const char *line, int64_t bytes) {
    json_error_t error;
    json_decref(documents->object);
    documents->object = json_loadb(line, (size_t)bytes, JSON_ALLOW_NUL, &error);
    if (!documents->object) {
        wrong_line(documents, "is no JSON");
        return kern_fail(KERN_ERR_DATA, "%s: %s at byte %d", kern_error(), error.text,
                         error.position);
    }
    const json_t *text = json_object_get(documents->object, documents->field);
    if (!json_is_string(text)) {
        wrong_line(documents, "has no text in its field");
        return kern_fail(KERN_ERR_DATA, "%s '%s'; --field names another", kern_error(),
                         documents->field);
    }
    documents->text = json_string_value(text);
    documents->text_bytes = (int64_t)json_string_length(text);
    documents->text_taken = 0;
    return KERN_OK;
}

static bool is_blank(const char *line, int64_t bytes) {
    while (bytes && strchr(" \t\r", *line) && *line) line++, bytes--;
    return bytes == 0;
}

/* A part of the open .jsonl; no part where it has no further line. */
static kern_status read_line_part(data_document_part *part, char *text, data_documents *documents,
                                  int64_t most) {
    kern_status status = KERN_OK;
    part->begins = !documents->begun;
    if (part->begins) {
        char *line;
        int64_t bytes;
        do TRY(next_line(documents, &line, &bytes));
        while (line && is_blank(line, bytes));
        if (!line) goto done;
        TRY(parse_line(documents, line, bytes));
    }
    int64_t rest = documents->text_bytes - documents->text_taken;
    part->file = documents->file;
    part->path = path_of(documents);
    part->line = documents->line;
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
    *part = (data_document_part){.file = -1};
    while (documents->file < documents->count) {
        if (!documents->opened) TRY(open_next(documents));
        if (documents->lines) {
            TRY(read_line_part(part, text, documents, most));
            if (part->file >= 0) break;
            close_file(documents);
            continue;
        }
        TRY(read_bytes(documents, text, most, &part->bytes));
        part->file = documents->file;
        part->path = path_of(documents);
        part->begins = !documents->begun;
        part->ends = part->bytes < most && part->bytes < MOST_AT_ONCE;
        documents->begun = true;
        if (part->ends) close_file(documents);
        break;
    }
    part->read = bytes_read(documents);
done:
    return status;
}
