#include "data/pack.h"

#include "data/encode_documents.h"
#include "data/pack_parts.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHARDS = 100000 };

typedef struct {
    const data_pack_options *options;
    data_pack_report report;
    data_files files;
    char **names;                /* [files] */
    data_shard_writer **writers; /* [shards] all but the last complete */
    int64_t shards, capacity;
    data_documents *documents;
    int64_t bad, bad_told; /* lines left out before what was written last; told in a shard */
    data_pack_row row;     /* of the file that is packed */
    int64_t row_file;      /* -1: none */
} packer;

/* The path of shard i: OUT, or OUT-00000.h5 where several are wanted. */
static kern_status shard_path(char **path, const data_pack_options *options, int64_t i) {
    if (options->shard_tokens) return data_pack_shard_path(path, options->out, i);
    *path = strdup(options->out);
    return *path ? KERN_OK : kern_fail(KERN_ERR_MEMORY, "no memory for the name of a shard");
}

static kern_status open_next_shard(packer *pack) {
    kern_status status = KERN_OK;
    const data_pack_options *options = pack->options;
    char *path = NULL;
    if (pack->shards == MOST_SHARDS)
        TRY(kern_fail(KERN_ERR_USAGE, "more than %d shards; let them be larger", MOST_SHARDS));
    TRY(shard_path(&path, options, pack->shards));
    pack->writers =
        kern_grow(pack->writers, &pack->capacity, pack->shards + 1, sizeof *pack->writers);
    TRY(data_shard_create(&pack->writers[pack->shards], path, options->vocabulary, options->split,
                          options->source));
    pack->shards++;
done:
    free(path);
    return status;
}

/* Tells the last shard of the lines that were left out since the one before was completed. */
static kern_status note_bad_lines(packer *pack) {
    const data_bad_lines *lines = data_documents_bad(pack->documents);
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    if (!to) return kern_fail(KERN_ERR_MEMORY, "no memory for lines that were left out");
    for (int64_t i = pack->bad_told; i < pack->bad && i < DATA_BAD_LINES_KEPT; i++)
        fprintf(to, "%s:%lld, byte %lld: %s\n", pack->names[lines->first[i].file],
                (long long)lines->first[i].line, (long long)lines->first[i].fault.byte,
                lines->first[i].fault.reason);
    ASSERT(!fclose(to));
    kern_status status = data_shard_note_bad_lines(pack->writers[pack->shards - 1],
                                                   pack->bad - pack->bad_told, text);
    pack->bad_told = pack->bad;
    free(text);
    return status;
}

/* Keeps the begun document, in a new shard where this one would become too large. */
static kern_status keep_document(packer *pack) {
    kern_status status = KERN_OK;
    data_shard_writer *writer = pack->writers[pack->shards - 1];
    int64_t tokens = data_shard_begun_tokens(writer), bound = pack->options->shard_tokens;
    if (bound && data_shard_kept_documents(writer) &&
        tokens > bound - data_shard_kept_tokens(writer)) {
        TRY(note_bad_lines(pack));
        TRY(open_next_shard(pack));
        TRY(data_shard_move_document(pack->writers[pack->shards - 1], writer));
        TRY(data_shard_complete(writer));
        /* There may be more shards than a process may have files open; the first one's lock keeps
         * other processes away from all. */
        if (pack->shards > 2) TRY(data_shard_release(writer));
        writer = pack->writers[pack->shards - 1];
    }
    data_shard_keep_document(writer);
    pack->report.documents++;
    pack->report.tokens += tokens;
done:
    return status;
}

static void end_row(packer *pack) {
    const data_pack_options *options = pack->options;
    if (pack->row_file >= 0 && options->seen) options->seen(options->context, &pack->row);
    pack->row_file = -1;
}

static kern_status begin_document(packer *pack, const data_document_part *part) {
    kern_status status = KERN_OK;
    const char *name = pack->names[part->file];
    char *numbered = NULL;
    if (pack->row_file != part->file) {
        end_row(pack);
        pack->row_file = part->file;
        pack->row = (data_pack_row){.name = name, .lines = part->line > 0};
    }
    if (part->line && asprintf(&numbered, "%s:%lld", name, (long long)part->line) < 0)
        TRY(kern_fail(KERN_ERR_MEMORY, "no memory for the name of a document"));
    TRY(data_shard_begin_document(pack->writers[pack->shards - 1], numbered ? numbered : name));
done:
    free(numbered);
    return status;
}

static kern_status end_document(packer *pack) {
    data_shard_writer *writer = pack->writers[pack->shards - 1];
    int64_t tokens = data_shard_begun_tokens(writer);
    pack->row.documents++;
    pack->row.tokens += tokens;
    if (tokens >= pack->options->min_tokens) return keep_document(pack);
    data_shard_drop_document(writer);
    pack->row.left_out++;
    pack->row.left_out_tokens += tokens;
    pack->report.left_out++;
    pack->report.left_out_tokens += tokens;
    return KERN_OK;
}

static kern_status write_part(void *context, const data_document_part *part, const int32_t *ids,
                              int64_t count) {
    kern_status status = KERN_OK;
    packer *pack = context;
    pack->bad = part->bad;
    if (part->begins) TRY(begin_document(pack, part));
    TRY(data_shard_append(pack->writers[pack->shards - 1], ids, count));
    if (part->ends) TRY(end_document(pack));
    pack->report.bytes += part->bytes;
    if (pack->options->progress)
        pack->options->progress(pack->options->context, part->read,
                                data_documents_size(pack->documents));
done:
    return status;
}

static int64_t processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static kern_status pack_all(packer *pack) {
    kern_status status = KERN_OK;
    const data_pack_options *options = pack->options;
    for (int64_t i = 0; i < options->input_count; i++)
        TRY(data_files_add(&pack->files, options->inputs[i]));
    if (pack->files.count == 0) TRY(kern_fail(KERN_ERR_USAGE, "no text to pack was named"));
    TRY(data_pack_names(&pack->names, &pack->files));
    if (options->shard_tokens) TRY(data_pack_refuse_old(options->out));
    TRY(data_documents_create(&pack->documents, pack->files.paths, pack->files.count,
                              &options->how));
    TRY(open_next_shard(pack));
    TRY(data_encode_documents(pack->documents, options->vocabulary,
                              options->threads ? options->threads : processors(), write_part,
                              pack));
    end_row(pack);
    pack->bad = data_documents_bad(pack->documents)->count;
    if (pack->report.documents == 0 && pack->report.left_out == 0)
        TRY(kern_fail(KERN_ERR_DATA, "%s: nothing to write: there is no document%s", options->out,
                      pack->bad ? " but lines that were left out" : ""));
    if (pack->report.documents == 0)
        TRY(kern_fail(
            KERN_ERR_DATA, "%s: nothing to write: all %lld documents have fewer than %lld tokens",
            options->out, (long long)pack->report.left_out, (long long)options->min_tokens));
    TRY(note_bad_lines(pack));
    TRY(data_shard_complete(pack->writers[pack->shards - 1]));
    for (int64_t i = 0; i < pack->shards; i++) TRY(data_shard_commit(pack->writers[i]));
    if (options->shard_tokens) TRY(data_pack_write_index(options, pack->writers, pack->shards));
    pack->report.shards = pack->shards;
done:
    return status;
}

kern_status data_pack(data_pack_report *report, const data_pack_options *options) {
    packer pack = {.options = options, .row_file = -1};
    kern_status status = pack_all(&pack);
    *report = pack.report;
    if (pack.documents && data_documents_bad(pack.documents)->count && options->bad)
        options->bad(options->context, data_documents_bad(pack.documents), pack.files.paths);
    for (int64_t i = 0; i < pack.shards; i++) data_shard_writer_destroy(pack.writers[i]);
    free(pack.writers);
    data_documents_destroy(pack.documents);
    data_pack_names_free(pack.names, pack.files.count);
    data_files_clear(&pack.files);
    return status;
}
