/* ttt infer: reads a prompt with inner steps, writes on, keeps the adapted state. */
#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infer/generate.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/outputs.h"
#include "launch/prompt.h"
#include "launch/report.h"
#include "launch/together.h"
#include "launch/trained.h"
#include "train/files.h"
#include "train/fit.h"
#include "train/signals.h"

static const char about_infer[] =
    "Reads a text, learning from it, and writes on. After every chunk of the text a run\n"
    "with an inner loop takes one gradient step on its fast weights, also while it\n"
    "writes. RUN is a run directory, whose newest checkpoint is taken, or a checkpoint:\n"
    "    ttt infer runs/e2e --prompt 'It is a truth' --tokens 100\n"
    "    ttt infer runs/e2e --prompt-file book.txt --tokens 0 --save-state book.state\n"
    "    ttt infer runs/e2e --load-state book.state --prompt 'Q: Who is Emma? A:'\n"
    "What was learned is a file: --save-state writes it after reading and writing,\n"
    "--load-state goes on from there as if the text had just been read. It belongs to its\n"
    "checkpoint. Ctrl-C stops, and saves the state if that was asked for.\n"
    "\n"
    "--chat reads prompts from the standard input, one a line, and answers each with\n"
    "one line, which goes on where the prompt ends; one state is kept for all. An answer\n"
    "ends at the line's end unless --stop says otherwise.\n"
    "\n"
    "Only valid UTF-8 is written; other bytes become U+FFFD. Prompts are text: names of\n"
    "special tokens in them mean nothing.";

typedef struct {
    const char *prompt, *prompt_file, *save_state, *load_state, *device;
    int64_t tokens, context;
    infer_sampling sampling;
    launch_texts stop;
    bool force;
    bool no_ttt, chat, json; /* json: the text is not shown as it comes, but in an object */
} choices;

/* Everything that a call holds. */
typedef struct {
    const choices *chosen;
    launch_trained run;
    infer_session *session;
    infer_sampler *sampler;
    infer_stream *stream;
    int64_t read, written; /* tokens */
    double read_seconds, write_seconds;
    infer_end end;
    int broken;   /* errno of the output, 0: it works */
    json_t *text; /* with --json: what was written; counts and times are then of one answer */
} inference;

static kern_status check_choices(const choices *chosen) {
    if (chosen->chat && (chosen->prompt || chosen->prompt_file))
        return kern_fail(KERN_ERR_USAGE, "--chat takes its prompts from the standard input, not "
                                         "from --prompt or --prompt-file");
    if (chosen->prompt && chosen->prompt_file)
        return kern_fail(KERN_ERR_USAGE, "--prompt and --prompt-file are two prompts; give one");
    for (int64_t i = 0; i < chosen->stop.count; i++)
        if (!*chosen->stop.item[i])
            return kern_fail(KERN_ERR_USAGE, "an empty --stop would stop before the first letter");
    return KERN_OK;
}

/* The output works, and nobody asked to stop. */
static bool go_on(const inference *all) {
    return launch_all(!all->broken && !train_signals_received());
}

/* Shows text; with --json it is kept. */
static bool say(void *context, const char *text, int64_t bytes) {
    inference *all = context;
    if (all->text) {
        launch_json_add(all->text, json_stringn(bytes ? text : "", (size_t)bytes));
    } else if (bytes) {
        fwrite(text, 1, (size_t)bytes, stdout);
        if (fflush(stdout)) all->broken = errno;
    }
    return go_on(all);
}

static kern_status interrupted(const inference *all) {
    const char *path = all->chosen->save_state;
    return kern_fail(KERN_ERR_INTERRUPTED, "stopped after %lld tokens; %s%s",
                     (long long)infer_session_position(all->session),
                     path ? "the state is in " : "nothing was saved (--save-state FILE would)",
                     path ? path : "");
}

/* What ended reading or writing early does not cost what was learned until then. */
static kern_status save_state(const inference *all, kern_status met, int64_t began) {
    kern_status status = KERN_OK;
    const char *path = all->chosen->save_state;
    bool failed = met != KERN_OK && met != KERN_ERR_INTERRUPTED;
    char *error = failed ? strdup(kern_error()) : NULL;
    bool sound = met != KERN_ERR_NUMERIC && met != KERN_ERR_DEVICE &&
                 infer_session_position(all->session) > began;
    if (path && (!failed || sound)) TRY(infer_session_save(all->session, path, all->run.identity));
    if (failed && path && sound)
        TRY(kern_fail(met, "%s; the state after %lld tokens is in %s", error,
                      (long long)infer_session_position(all->session), path));
    if (failed) TRY(kern_fail(met, "%s", error));
done:
    free(error);
    return status;
}

static kern_status generate(inference *all) {
    kern_status status = KERN_OK;
    infer_generation generation = {.session = all->session,
                                   .vocabulary = all->run.vocabulary,
                                   .sampler = all->sampler,
                                   .stream = all->stream,
                                   .tokens = all->chosen->tokens,
                                   .say = say,
                                   .context = all};
    int64_t tokens = 0;
    double start = kern_seconds();
    if (infer_session_position(all->session) == 0)
        TRY(kern_fail(KERN_ERR_USAGE, "there is nothing to write on from: the model has no "
                                      "begin-of-document token; give a --prompt"));
    infer_stream_reset(all->stream);
    TRY(infer_generate(&all->end, &tokens, &generation));
done:
    all->written += tokens;
    all->write_seconds += kern_seconds() - start;
    return status;
}

/* The samplers' memory of what was read. */
static kern_status noted(void *context, const int32_t *token, const double *nll, int64_t count) {
    inference *all = context;
    (void)nll;
    for (int64_t i = 0; i < count; i++) infer_sampler_seen(all->sampler, token[i]);
    return KERN_OK;
}

static kern_status read_prompt(inference *all) {
    kern_status status = KERN_OK;
    const choices *chosen = all->chosen;
    int64_t before = infer_session_position(all->session);
    double start = kern_seconds();
    launch_prompt prompt = {
        .session = all->session, .vocabulary = all->run.vocabulary, .read = noted, .context = all};
    if (chosen->prompt_file)
        TRY(launch_prompt_file(&prompt, chosen->prompt_file));
    else if (chosen->prompt || before == 0)
        TRY(launch_prompt_text(&prompt, chosen->prompt ? chosen->prompt : ""));
done:
    all->read += infer_session_position(all->session) - before;
    all->read_seconds += kern_seconds() - start;
    return status;
}

/* Positions that must have room where a block attends to everything. */
static kern_status find_limit(int64_t *limit, const inference *all) {
    kern_status status = KERN_OK;
    const choices *chosen = all->chosen;
    int64_t bytes = 0, loaded = 0, most = INT64_MAX / 4;
    *limit = 0;
    if (!conf_has_full(all->run.conf)) goto done;
    if (chosen->load_state) {
        infer_state state;
        status = infer_state_read(&state, chosen->load_state);
        loaded = state.position;
        infer_state_clear(&state);
        if (status != KERN_OK) return status;
    }
    if (chosen->prompt) bytes = (int64_t)strlen(chosen->prompt);
    if (chosen->prompt_file) TRY(launch_prompt_size(&bytes, chosen->prompt_file));
    /* A token has a byte at least. */
    *limit = loaded + 1 + bytes + (chosen->tokens < most ? chosen->tokens : most);
    if (*limit < all->run.conf->train.context) *limit = all->run.conf->train.context;
    if (chosen->context) *limit = chosen->context;
done:
    return status;
}

static kern_status open_session(inference *all) {
    kern_status status = KERN_OK;
    const choices *chosen = all->chosen;
    const ttt_conf *conf = all->run.conf;
    infer_session_spec spec = {.conf = conf,
                               .inner = conf->inner.mode != CONF_INNER_OFF && !chosen->no_ttt,
                               .device = all->run.device,
                               .tensor = all->run.ranks->tensor,
                               .threads = train_threads(conf)};
    TRY(find_limit(&spec.limit, all));
    omp_set_num_threads(spec.threads);
    spec.memory = train_rank_limit(conf, spec.device, all->run.ranks);
    TRY(infer_session_create(&all->session, &spec));
    TRY(launch_trained_load(&all->run,
                            (infer_readers){.plain = !spec.inner, .stepping = spec.inner}));
    infer_session_set_values(all->session, all->run.values);
    if (chosen->load_state)
        TRY(infer_session_load(all->session, chosen->load_state, all->run.identity));
    int64_t tokens = all->run.vocabulary->size;
    if (tokens > conf->model.vocab) tokens = conf->model.vocab;
    TRY(infer_sampler_create(&all->sampler, &chosen->sampling, tokens));
    static const char *const newline[] = {"\n"};
    bool lines = chosen->chat && chosen->stop.count == 0;
    all->stream = infer_stream_create(lines ? newline : chosen->stop.item,
                                      lines ? 1 : (int)chosen->stop.count);
done:
    return status;
}

static kern_status print_json(const inference *all) {
    static const char *const ends[] = {"tokens", "stop", "end_of_text", "interrupted"};
    size_t i;
    json_t *piece, *object = json_object();
    int64_t length = 0, capacity = 0;
    char *text = NULL;
    json_array_foreach(all->text, i, piece) {
        int64_t more = (int64_t)json_string_length(piece);
        text = kern_grow(text, &capacity, length + more + 1, 1);
        memcpy(text + length, json_string_value(piece), (size_t)more);
        length += more;
    }
    infer_session_progress seen = infer_session_seen(all->session);
    launch_json_set(object, "text", json_stringn(text ? text : "", (size_t)length));
    launch_json_set(object, "end", json_string(ends[all->end]));
    launch_json_set(object, "tokens_read", json_integer(all->read));
    launch_json_set(object, "tokens_written", json_integer(all->written));
    launch_json_set(object, "position", json_integer(infer_session_position(all->session)));
    launch_json_set(object, "read_seconds", launch_json_number(all->read_seconds));
    launch_json_set(object, "write_seconds", launch_json_number(all->write_seconds));
    launch_json_set(object, "inner_steps", json_integer(seen.steps));
    launch_json_set(object, "first_chunk_loss", launch_json_number(seen.first_loss));
    launch_json_set(object, "last_chunk_loss", launch_json_number(seen.last_loss));
    free(text);
    return launch_print_json(object);
}

/* Ends an answer: a line's end, or with --json an object of its own, which begins anew. */
static kern_status end_answer(inference *all) {
    kern_status status = KERN_OK;
    if (all->text) {
        TRY(print_json(all));
        json_array_clear(all->text);
        all->read = all->written = 0;
        all->read_seconds = all->write_seconds = 0;
    } else {
        putchar('\n');
    }
    if (fflush(stdout) || ferror(stdout)) all->broken = errno;
done:
    return status;
}

/* One line of standard input, one line of answer, until the input ends. The answer goes on in the
 * prompt's line; what ends it early is followed by a line's end, as every other line is. */
static kern_status chat(inference *all) {
    kern_status status = KERN_OK;
    launch_lines lines = {0};
    const char *line;
    int64_t bytes;
    bool open = false; /* the last line has no end in what was read */
    launch_prompt prompt = {
        .session = all->session, .vocabulary = all->run.vocabulary, .read = noted, .context = all};
    while (go_on(all)) {
        TRY(launch_prompt_line(&line, &bytes, &lines));
        if (!line) break;
        int64_t before = infer_session_position(all->session);
        double start = kern_seconds();
        if (open) TRY(launch_prompt_text(&prompt, "\n"));
        TRY(launch_prompt_bytes(&prompt, line, bytes));
        all->read += infer_session_position(all->session) - before;
        all->read_seconds += kern_seconds() - start;
        TRY(generate(all));
        open = all->end != INFER_END_STOP;
        TRY(end_answer(all));
    }
done:
    free(lines.bytes);
    return status;
}

static void print_summary(const inference *all) {
    infer_session_progress seen = infer_session_seen(all->session);
    fprintf(stderr, "\nread %lld tokens in %.1f s", (long long)all->read, all->read_seconds);
    if (seen.steps)
        fprintf(stderr, ", %lld inner steps, loss %.4f in the first chunk, %.4f in the last",
                (long long)seen.steps, seen.first_loss, seen.last_loss);
    if (all->written)
        fprintf(stderr, "; wrote %lld, %.1f tokens/s", (long long)all->written,
                (double)all->written / all->write_seconds);
    fputc('\n', stderr);
}

static kern_status check_outputs(const choices *chosen, const char *word, bool keep_loaded) {
    launch_outputs outputs = {0};
    launch_outputs_read_run(&outputs, word);
    if (keep_loaded) launch_outputs_read(&outputs, chosen->load_state);
    launch_outputs_read(&outputs, chosen->prompt_file);
    launch_outputs_write(&outputs, LAUNCH_STATE, chosen->save_state);
    kern_status status = launch_outputs_check(&outputs, chosen->force);
    launch_outputs_clear(&outputs);
    return status;
}

/* A state is replaced when it has been read, so going on with it in its own file does no harm where
 * the user says so. */
static kern_status check_place(const choices *chosen, const char *word) {
    kern_status status = check_outputs(chosen, word, !chosen->force);
    if (status == KERN_OK || chosen->force) return status;
    char *error = train_text("%s", kern_error());
    bool with_force = check_outputs(chosen, word, false) == KERN_OK;
    kern_fail(status, "%s%s", error, with_force ? ", or go on in the same file with --force" : "");
    free(error);
    return status;
}

static kern_status run_all(const choices *chosen, const char *word) {
    kern_status status = KERN_OK;
    train_signals signals;
    inference all = {.chosen = chosen, .text = chosen->json ? json_array() : NULL};
    train_signals_install_saying(&signals, "stopping");
    TRY(check_choices(chosen));
    TRY(check_place(chosen, word));
    TRY(launch_trained_open(&all.run, word, chosen->device, 0));
    TRY(open_session(&all));
    int64_t began = infer_session_position(all.session);
    kern_status met = chosen->chat ? chat(&all) : read_prompt(&all);
    if (met == KERN_OK && !chosen->chat && chosen->tokens && go_on(&all)) met = generate(&all);
    bool asked = launch_asked_to_stop();
    TRY(save_state(&all, met, began));
    if (all.broken && all.broken != EPIPE)
        TRY(kern_fail(KERN_ERR_FILE, "the output could not be written: %s", strerror(all.broken)));
    if (asked) all.end = INFER_END_ASKED;
    if (chosen->json && !chosen->chat) TRY(print_json(&all));
    if (asked) TRY(interrupted(&all));
    if (!chosen->json && !all.broken) print_summary(&all);
done:
    train_signals_restore(&signals);
    if (all.broken == EPIPE) raise(SIGPIPE); /* nobody reads any more: a quiet end */
    json_decref(all.text);
    infer_stream_destroy(all.stream);
    infer_sampler_destroy(all.sampler);
    infer_session_destroy(all.session);
    launch_trained_close(&all.run);
    return status;
}

int launch_infer(int argc, char **argv) {
    choices chosen = {
        .device = "cpu",
        .tokens = 256,
        .sampling = {
            .repetition_penalty = 1, .repetition_window = 64, .temperature = 0.8, .top_p = 0.95}};
    bool greedy = false;
    const launch_option options[] = {
        {"prompt", LAUNCH_TEXT, &chosen.prompt, "TEXT", "read this text"},
        {"prompt-file", LAUNCH_TEXT, &chosen.prompt_file, "FILE",
         "read this file; -: the "
         "standard input"},
        {"chat", LAUNCH_FLAG, &chosen.chat, NULL, "a prompt a line from the standard input"},
        {"tokens", LAUNCH_COUNT, &chosen.tokens, "N", "write at most so many tokens (256)"},
        {"stop", LAUNCH_TEXTS, &chosen.stop, "TEXT", "end before this text; may be repeated"},
        {"greedy", LAUNCH_FLAG, &greedy, NULL, "always the most probable token"},
        {"temperature", LAUNCH_REAL, &chosen.sampling.temperature, "T",
         "divides the scores; 0: greedy (0.8)"},
        {"top-k", LAUNCH_COUNT, &chosen.sampling.top_k, "K", "the K most probable only; 0: all"},
        {"top-p", LAUNCH_REAL, &chosen.sampling.top_p, "P",
         "the fewest that make up probability P (0.95)"},
        {"min-p", LAUNCH_REAL, &chosen.sampling.min_p, "P",
         "those P times as probable as the best (0)"},
        {"repetition-penalty", LAUNCH_REAL, &chosen.sampling.repetition_penalty, "X",
         "lowers scores of recent tokens; 1: not at all (1)"},
        {"repetition-window", LAUNCH_COUNT, &chosen.sampling.repetition_window, "N",
         "tokens that are recent (64)"},
        {"seed", LAUNCH_SEED, &chosen.sampling.seed, "N", "of the choices (0)"},
        {"no-ttt", LAUNCH_FLAG, &chosen.no_ttt, NULL, "take no inner steps"},
        {"save-state", LAUNCH_TEXT, &chosen.save_state, "FILE", "write the state at the end"},
        {"load-state", LAUNCH_TEXT, &chosen.load_state, "FILE", "go on from this state"},
        {"force", LAUNCH_FLAG, &chosen.force, NULL,
         "replace the state that was loaded, or a file of another kind"},
        {"context", LAUNCH_COUNT, &chosen.context, "N",
         "room for N tokens where attention is full"},
        LAUNCH_DEVICE(&chosen.device),
        {"json", LAUNCH_FLAG, &chosen.json, NULL,
         "print an object, of each answer with --chat, not the text"},
        {0},
    };
    const launch_syntax syntax = {"infer", "RUN", about_infer, options, 1, 1};
    int code = launch_parse(&syntax, &argc, argv);
    if (code < 0) {
        if (greedy) chosen.sampling.temperature = 0;
        code = launch_report("infer", run_all(&chosen, argv[1]));
    }
    free(chosen.stop.item);
    return code;
}
