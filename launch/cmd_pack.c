/* ttt pack: text files -> shards, and the check of a shard. */
#include "data/bpe.h"
#include "data/files.h"
#include "data/pack.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/outputs.h"
#include "launch/progress_line.h"
#include "launch/report.h"
#include "train/terminal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char about_pack[] =
    "Packs text files into a shard that training reads. Each file is one document: a\n"
    "begin-of-document token, then its text; of a file of JSON objects, one a line, each\n"
    "is one, the text of a field of it. Files may be compressed with gzip or zstd; a glob\n"
    "in quotes stands for the files it matches, in the order of their names; - is the\n"
    "standard input. The shard appears under its name only when it is whole. Tokens are\n"
    "bytes, or those of --tokenizer (ttt tokenize --help tells which files that may be).\n"
    "\n"
    "What a file is shows in its contents; --input says otherwise. A line without such a\n"
    "text (cut off, no UTF-8, null) ends the pack, or with --bad-lines skip is left out\n"
    "and counted, here and in the shard.\n"
    "\n"
    "Training, validation and test texts go to separate shards, by whole documents:\n"
    "    ttt pack --out train.h5 --split train --min-tokens 8193 'books/*.txt'\n"
    "\n"
    "With --check, reads a shard again and verifies all of it: checksums, vocabulary,\n"
    "borders of documents:\n"
    "    ttt pack --check train.h5";

enum { MEGABYTE = 1000000, SHOWN_MEGABYTES = 20 };

typedef struct {
    const char *out, *split, *name, *tokenizer, *field, *input, *bad_lines;
    data_bpe_options how;
    int64_t min_tokens, shard_tokens, threads;
    bool check, force, json;
} choices;

static void list_document(json_t *documents, const char *name, int64_t tokens, bool kept) {
    printf("  ");
    launch_print_name(name, 40);
    printf(" %12lld tokens%s\n", (long long)tokens, kept ? "" : "  left out");
    launch_json_add(documents, launch_json("{s:o, s:I, s:b}", "name", launch_json_text(name),
                                           "tokens", (json_int_t)tokens, "kept", kept));
}

/* What is told while files are packed. */
typedef struct {
    json_t *documents, *bad; /* bad: lines that were left out */
    int64_t bad_count;
    launch_progress_line line;
} telling;

static void show_progress(void *context, int64_t done, int64_t all) {
    telling *told = context;
    if (done >= MEGABYTE && all >= SHOWN_MEGABYTES * MEGABYTE)
        launch_progress_show(&told->line, done / MEGABYTE, all / MEGABYTE);
}

/* Takes each file as it is packed: a row of the table. */
static void list_file(void *context, const data_pack_row *row) {
    telling *told = context;
    json_t *documents = told->documents;
    launch_progress_clear(&told->line);
    if (!row->lines) {
        list_document(documents, row->name, row->tokens, row->left_out == 0);
        return;
    }
    printf("  ");
    launch_print_name(row->name, 40);
    printf(" %12lld tokens  %lld documents", (long long)(row->tokens - row->left_out_tokens),
           (long long)(row->documents - row->left_out));
    if (row->left_out) printf(", %lld left out", (long long)row->left_out);
    printf("\n");
    launch_json_add(documents,
                    launch_json("{s:o, s:I, s:I, s:I}", "name", launch_json_text(row->name),
                                "tokens", (json_int_t)(row->tokens - row->left_out_tokens),
                                "documents", (json_int_t)(row->documents - row->left_out),
                                "left_out", (json_int_t)row->left_out));
}

static void list_bad_lines(void *context, const data_bad_lines *lines, char *const *path) {
    telling *told = context;
    told->bad_count = lines->count;
    launch_progress_clear(&told->line);
    printf("lines left out: %lld\n", (long long)lines->count);
    for (int64_t i = 0; i < lines->count && i < DATA_BAD_LINES_KEPT; i++) {
        const data_line_fault *fault = &lines->first[i].fault;
        const char *name = data_stream_name(path[lines->first[i].file]);
        train_terminal_say(stdout, "  %s: line %lld, byte %lld: %s", name,
                           (long long)lines->first[i].line, (long long)fault->byte, fault->reason);
        launch_json_add(told->bad,
                        launch_json("{s:o, s:I, s:I, s:o}", "file", launch_json_text(name), "line",
                                    (json_int_t)lines->first[i].line, "byte",
                                    (json_int_t)fault->byte, "reason",
                                    launch_json_text(fault->reason)));
    }
}

/* Which of the words, which end with NULL, an option has. */
static kern_status choose(int *choice, const char *option, const char *given,
                          const char *const *words) {
    *choice = 0;
    while (given && words[*choice] && strcmp(words[*choice], given)) ++*choice;
    if (words[*choice]) return KERN_OK;
    return kern_fail(KERN_ERR_USAGE, "--%s takes %s, %s%s%s, not '%s'", option, words[0], words[1],
                     words[2] ? ", " : "", words[2] ? words[2] : "", given);
}

/* How texts are to be read. */
static kern_status read_how(data_documents_options *how, const choices *chosen) {
    kern_status status = KERN_OK;
    static const char *const inputs[] = {"auto", "text", "jsonl", NULL};
    static const char *const stops[] = {"stop", "skip", NULL};
    int input, bad;
    TRY(choose(&input, "input", chosen->input, inputs));
    TRY(choose(&bad, "bad-lines", chosen->bad_lines, stops));
    *how = (data_documents_options){.field = chosen->field,
                                    .input = (data_input)input,
                                    .skip_bad = bad == 1,
                                    .hint = "--bad-lines skip leaves such lines out, --field names "
                                            "another field, --input text takes files as they are"};
done:
    return status;
}

static kern_status check_places(const choices *chosen, const char *const *files, int64_t count) {
    kern_status status = KERN_OK;
    launch_outputs outputs = {0};
    char *index = NULL, *beside = NULL;
    for (int64_t i = 0; i < count; i++) launch_outputs_read_word(&outputs, files[i]);
    launch_outputs_read(&outputs, chosen->tokenizer);
    if (chosen->tokenizer) beside = data_bpe_find_beside(chosen->tokenizer);
    launch_outputs_read(&outputs, beside);
    if (chosen->shard_tokens) TRY(data_pack_shard_path(&index, chosen->out, -1));
    launch_outputs_write(&outputs, index ? LAUNCH_INDEX : LAUNCH_SHARD,
                         index ? index : chosen->out);
    TRY(launch_outputs_check(&outputs, chosen->force));
done:
    free(index);
    free(beside);
    launch_outputs_clear(&outputs);
    return status;
}

static kern_status pack(const choices *chosen, const char *const *files, int64_t count) {
    kern_status status = KERN_OK;
    json_t *documents = json_array();
    json_t *bad = json_array();
    telling told = {.documents = documents,
                    .bad = bad,
                    .line = {.label = "packing", .unit = "MB", .began = kern_seconds()}};
    data_vocabulary *tokenizer = NULL;
    data_pack_report report;
    data_pack_options options = {
        .out = chosen->out,
        .inputs = files,
        .input_count = count,
        .split = chosen->split,
        .source = chosen->name,
        .min_tokens = chosen->min_tokens,
        .shard_tokens = chosen->shard_tokens,
        .seen = list_file,
        .progress = show_progress,
        .bad = list_bad_lines,
        .threads = chosen->threads,
        .context = &told,
    };
    TRY(read_how(&options.how, chosen));
    TRY(check_places(chosen, files, count));
    if (chosen->tokenizer) {
        TRY(data_bpe_open(&tokenizer, chosen->tokenizer, &chosen->how));
        options.vocabulary = tokenizer;
    } else {
        TRY(data_vocabulary_find(&options.vocabulary, "byte"));
    }
    status = data_pack(&report, &options);
    launch_progress_clear(&told.line);
    TRY(status);
    char left_out[96] = "";
    if (report.left_out)
        snprintf(left_out, sizeof left_out, "; left out, shorter than %lld tokens: %lld",
                 (long long)chosen->min_tokens, (long long)report.left_out);
    train_terminal_say(
        stdout, "%s: split %s, %lld documents, %lld tokens of %lld bytes, %lld shard%s%s",
        chosen->out, chosen->split, (long long)report.documents, (long long)report.tokens,
        (long long)report.bytes, (long long)report.shards, report.shards == 1 ? "" : "s", left_out);
    if (!chosen->json) goto done;
    TRY(launch_print_json(launch_json(
        "{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:O}", "out", launch_json_text(chosen->out),
        "split", launch_json_text(chosen->split), "shards", (json_int_t)report.shards, "documents",
        (json_int_t)report.documents, "tokens", (json_int_t)report.tokens, "bytes",
        (json_int_t)report.bytes, "left_out", (json_int_t)report.left_out, "bad_lines",
        (json_int_t)told.bad_count, "bad_list", bad, "list", documents)));
done:
    data_vocabulary_destroy(tokenizer);
    json_decref(documents);
    json_decref(bad);
    return status;
}

static json_t *list_shard(const data_shard *shard) {
    json_t *documents = json_array();
    for (int64_t i = 0; i < data_shard_describe(shard)->documents; i++) {
        int64_t tokens =
            data_shard_document_begin(shard, i + 1) - data_shard_document_begin(shard, i);
        list_document(documents, data_shard_document_name(shard, i), tokens, true);
    }
    return documents;
}

static kern_status check(const choices *chosen, const char *path) {
    kern_status status = KERN_OK;
    data_shard *shard = NULL;
    json_t *documents = NULL;
    data_pack_statistics found;
    TRY(data_shard_open(&shard, path));
    TRY(data_pack_check(&found, shard));
    const data_shard_about *about = data_shard_describe(shard);
    documents = list_shard(shard);
    train_terminal_say(stdout,
                       "%s: sound; split %s, %lld documents of %lld to %lld tokens, %lld tokens",
                       path, about->split, (long long)about->documents, (long long)found.shortest,
                       (long long)found.longest, (long long)about->tokens);
    train_terminal_say(stdout, "vocabulary %s (%s), %lld of %lld ids occur; source: %s",
                       about->tokenizer, about->tokenizer_hash, (long long)found.distinct,
                       (long long)about->vocabulary, *about->source ? about->source : "not named");
    if (about->bad_lines) {
        printf("lines left out: %lld\n", (long long)about->bad_lines);
        for (const char *line = about->bad_lines_told; *line; line += *line == '\n') {
            int bytes = (int)strcspn(line, "\n");
            train_terminal_say(stdout, "%.*s", bytes, line);
            line += bytes;
        }
    }
    if (!chosen->json) goto done;
    TRY(launch_print_json(launch_json(
        "{s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "shard",
        launch_json_text(path), "split", launch_json_text(about->split), "source",
        launch_json_text(about->source), "tokenizer", launch_json_text(about->tokenizer),
        "tokenizer_hash", about->tokenizer_hash, "vocabulary", (json_int_t)about->vocabulary,
        "documents", (json_int_t)about->documents, "tokens", (json_int_t)about->tokens, "shortest",
        (json_int_t)found.shortest, "longest", (json_int_t)found.longest, "distinct",
        (json_int_t)found.distinct, "bad_lines", (json_int_t)about->bad_lines, "list", documents)));
done:
    json_decref(documents);
    data_shard_destroy(shard);
    return status;
}

static kern_status run(const choices *chosen, const char *const *words, int64_t count) {
    kern_status status = KERN_OK;
    data_files shards = {0};
    if (count == 0)
        return kern_fail(KERN_ERR_USAGE, "no file is named; ttt pack --help has examples");
    if (chosen->check == (chosen->out != NULL))
        return kern_fail(KERN_ERR_USAGE, "give either --out SHARD to pack or --check to verify");
    if (!*chosen->split)
        return kern_fail(KERN_ERR_USAGE, "--split is empty; give train, validation or test");
    if (!chosen->check) return pack(chosen, words, count);
    for (int64_t i = 0; i < count; i++) TRY(data_files_add(&shards, words[i]));
    for (int64_t i = 0; i < shards.count; i++) TRY(check(chosen, shards.paths[i]));
done:
    data_files_clear(&shards);
    return status;
}

int launch_pack(int argc, char **argv) {
    choices chosen = {.split = "train", .name = "", .min_tokens = 2};
    const launch_option options[] = {
        {"out", LAUNCH_TEXT, &chosen.out, "SHARD", "required unless --check: the shard to write"},
        {"split", LAUNCH_TEXT, &chosen.split, "NAME", "train (default), validation or test"},
        {"min-tokens", LAUNCH_COUNT, &chosen.min_tokens, "N", "leave out shorter documents (2)"},
        {"shard-tokens", LAUNCH_COUNT, &chosen.shard_tokens, "N",
         "begin OUT-00001.h5, ... where one would exceed N"},
        {"name", LAUNCH_TEXT, &chosen.name, "TEXT", "what this text is, stored in the shard"},
        {"tokenizer", LAUNCH_TEXT, &chosen.tokenizer, "FILE",
         "how text becomes tokens; without it each byte is one"},
        {"pattern", LAUNCH_TEXT, &chosen.how.pattern, "NAME", "as for ttt tokenize"},
        {"begin", LAUNCH_TEXT, &chosen.how.begin, "NAME", "the token that begins a document"},
        {"input", LAUNCH_TEXT, &chosen.input, "KIND",
         "auto, text (a file a document) or jsonl (a line)"},
        {"field", LAUNCH_TEXT, &chosen.field, "NAME", "the text of a line of JSON (text)"},
        {"bad-lines", LAUNCH_TEXT, &chosen.bad_lines, "HOW", "without a text: stop, or skip them"},
        {"threads", LAUNCH_COUNT, &chosen.threads, "N", "that encode (as many as processors)"},
        {"check", LAUNCH_FLAG, &chosen.check, NULL, "verify the shards that are named"},
        LAUNCH_FORCE(&chosen.force),
        LAUNCH_JSON(&chosen.json),
        {0},
    };
    const launch_syntax syntax = {
        "pack", "--out SHARD FILE... | --check SHARD...", about_pack, options, 0, -1};
    int code = launch_parse(&syntax, &argc, argv);
    if (code >= 0) return code;
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is then an error that names the file */
    return launch_report("pack", run(&chosen, (const char *const *)argv + 1, argc - 1));
}
