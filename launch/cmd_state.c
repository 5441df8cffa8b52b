/* ttt state: what a session's saved state has learned. */
#include <stdio.h>
#include <string.h>

#include "infer/session.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/report.h"
#include "train/terminal.h"

static const char about_state[] =
    "Shows a state that ttt infer --save-state wrote: what was read, the loss of its first\n"
    "and of its last chunk before the step on it, and how far each fast weight has moved\n"
    "(the norm of the change, and as a fraction of the norm of the weight that it began\n"
    "as).\n"
    "    ttt state show book.state";

static void print_state(const char *path, const infer_state *state) {
    const infer_session_progress *seen = &state->seen;
    train_terminal_say(stdout, "%s", path);
    printf("weights       %s\n", state->weights);
    printf("options       %s\n", state->options);
    printf("tokens        %lld", (long long)state->position);
    if (state->moves)
        printf(", of which %lld wait for their chunk's end", (long long)state->pending);
    printf("\ninner steps   %lld\n", (long long)seen->steps);
    if (seen->counted)
        printf("loss          %.4f nats per token over %lld tokens\n",
               seen->nll / (double)seen->counted, (long long)seen->counted);
    if (seen->steps)
        printf("              %.4f in the first chunk, %.4f in the last\n"
               "gradient      norm %.4f in the first chunk, %.4f in the last\n",
               seen->first_loss, seen->last_loss, seen->first_norm, seen->last_norm);
    if (state->moves == 0) return;
    printf("\nfast weight                     moved    of its size\n");
    for (int i = 0; i < state->moves; i++) {
        const infer_state_move *move = &state->move[i];
        printf("%-28s %8.4f", move->name, move->moved);
        if (move->size > 0) printf("       %6.2f %%", 100 * move->moved / move->size);
        putchar('\n');
    }
}

static kern_status print_state_json(const infer_state *state) {
    const infer_session_progress *seen = &state->seen;
    json_t *object = json_object(), *moves = json_object();
    launch_json_set(object, "weights", launch_json_text(state->weights));
    launch_json_set(object, "options", launch_json_text(state->options));
    launch_json_set(object, "tokens", json_integer(state->position));
    launch_json_set(object, "waiting", json_integer(state->pending));
    launch_json_set(object, "inner_steps", json_integer(seen->steps));
    launch_json_set(object, "loss", launch_json_number(seen->nll / (double)seen->counted));
    launch_json_set(object, "first_chunk_loss", launch_json_number(seen->first_loss));
    launch_json_set(object, "last_chunk_loss", launch_json_number(seen->last_loss));
    launch_json_set(object, "first_chunk_norm", launch_json_number(seen->first_norm));
    launch_json_set(object, "last_chunk_norm", launch_json_number(seen->last_norm));
    for (int i = 0; i < state->moves; i++) {
        json_t *move = json_object();
        launch_json_set(move, "moved", launch_json_number(state->move[i].moved));
        launch_json_set(move, "size", launch_json_number(state->move[i].size));
        launch_json_set(moves, state->move[i].name, move);
    }
    launch_json_set(object, "fast_weights", moves);
    return launch_print_json(object);
}

static kern_status show(const char *verb, const char *path, bool json) {
    kern_status status = KERN_OK;
    infer_state state = {.moves = 0};
    if (strcmp(verb, "show"))
        TRY(kern_fail(KERN_ERR_USAGE, "ttt state knows no '%s'; ttt state show FILE", verb));
    TRY(infer_state_read(&state, path));
    print_state(path, &state);
    if (json) TRY(print_state_json(&state));
done:
    infer_state_clear(&state);
    return status;
}

int launch_state(int argc, char **argv) {
    bool json = false;
    const launch_option options[] = {LAUNCH_JSON(&json), {0}};
    const launch_syntax syntax = {"state", "show FILE", about_state, options, 2, 2};
    int code = launch_parse(&syntax, &argc, argv);
    if (code >= 0) return code;
    return launch_report("state", show(argv[1], argv[2], json));
}
