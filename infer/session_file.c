/* The state of a session as a safetensors file (docs/reading.md). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/checksum.h"
#include "data/safetensors.h"
#include "infer/session_entries.h"

#define FORMAT "ttt-state-2"
#define FIRST_FORMAT "ttt-state-1"

enum { TEXT = 512 };
static const int64_t MOST_POSITIONS = INT64_C(1) << 53; /* angles are made of doubles */

/* The numbers of a state, one line of text: they are covered by the checksum, too. */
static void write_numbers(char text[TEXT], const infer_session *s) {
    const infer_session_progress *p = &s->seen;
    snprintf(text, TEXT,
             "%" PRId64 " %" PRId64 " %d %.17g %" PRId64 " %.17g %.17g %.17g %.17g %.17g %" PRId64,
             s->position, s->pending, (int)s->score, s->next_nll, p->steps, p->first_loss,
             p->last_loss, p->first_norm, p->last_norm, p->nll, p->counted);
}

typedef struct {
    int64_t position, pending;
    int score;
    double next_nll;
    infer_session_progress seen;
} numbers;

static bool read_numbers(numbers *n, const char *text) {
    infer_session_progress *p = &n->seen;
    int end = 0;
    int got =
        sscanf(text, "%" SCNd64 " %" SCNd64 " %d %lf %" SCNd64 " %lf %lf %lf %lf %lf %" SCNd64 "%n",
               &n->position, &n->pending, &n->score, &n->next_nll, &p->steps, &p->first_loss,
               &p->last_loss, &p->first_norm, &p->last_norm, &p->nll, &p->counted, &end);
    return got == 11 && text[end] == 0 && n->pending >= 0 && n->position >= n->pending &&
           n->position <= MOST_POSITIONS;
}

/* The first error of two. */
static kern_status first(kern_status a, kern_status b) {
    return a != KERN_OK ? a : b;
}

static kern_status add_to_checksum(void *crc, const session_entry *e, const void *bytes,
                                   size_t count) {
    (void)e;
    *(uint32_t *)crc = data_crc32(*(uint32_t *)crc, bytes, count);
    return KERN_OK;
}

static kern_status write_piece(void *file, const session_entry *e, const void *bytes,
                               size_t count) {
    return data_safetensors_write(file, e->name, bytes, count);
}

static const char *const keys[] = {"format", "weights", "options", "text"};
enum { FORMAT_KEY, WEIGHTS_KEY, OPTIONS_KEY, TEXT_KEY, KEYS };

static kern_status declare(data_safetensors_writer *file, const infer_session *s,
                           const session_entries *list, const char *identity, uint32_t *crc) {
    kern_status status = KERN_OK;
    char *options = infer_session_options(s), text[TEXT];
    const char *const value[KEYS] = {FORMAT, identity, options, text};
    write_numbers(text, s);
    for (int i = 0; i < KEYS; i++) {
        TRY(data_safetensors_put_metadata(file, keys[i], value[i]));
        *crc = data_crc32(*crc, value[i], strlen(value[i]));
    }
    for (int i = 0; i < list->count; i++) {
        const session_entry *e = &list->item[i];
        TRY(data_safetensors_declare(file, e->name, data_dtype_of(e->dtype), e->rank, e->shape));
    }
done:
    free(options);
    return status;
}

static kern_status put_checksum(data_safetensors_writer *file, uint32_t crc) {
    char checksum[16];
    snprintf(checksum, sizeof checksum, "%08" PRIx32, crc);
    return data_safetensors_put_metadata(file, "checksum", checksum);
}

/* The first rank writes; what it is not told of does not end the others' telling. */
kern_status infer_session_save(const infer_session *s, const char *path, const char *identity) {
    const kern_comm *tensor = s->spec.tensor ? s->spec.tensor : kern_comm_alone();
    data_safetensors_writer *file = NULL;
    uint32_t crc = 0;
    ASSERT(s->score != SCORE_KNOWN);
    session_entries list =
        infer_session_entries(s, s->position, s->pending, s->score == SCORE_LOGITS, false);
    kern_status status = infer_session_moves(s, s->moved);
    bool writes = tensor->rank == 0;
    if (writes && status == KERN_OK) status = data_safetensors_create(&file, path);
    if (writes && status == KERN_OK) status = declare(file, s, &list, identity, &crc);
    for (int i = 0; i < list.count; i++) {
        session_taker take = writes && status == KERN_OK ? add_to_checksum : NULL;
        status = first(status, infer_session_each_piece(s, &list.item[i], take, &crc));
    }
    if (writes && status == KERN_OK) status = put_checksum(file, crc);
    for (int i = 0; i < list.count; i++) {
        session_taker take = writes && status == KERN_OK ? write_piece : NULL;
        status = first(status, infer_session_each_piece(s, &list.item[i], take, file));
    }
    if (writes && status == KERN_OK) status = data_safetensors_finish(file, NULL, NULL);
    data_safetensors_writer_destroy(file);
    free(list.item);
    return kern_comm_meet(tensor, status);
}

/* Opens a state: the values under the keys, the numbers, and a checksum that is right. */
static kern_status open_state(data_safetensors **result, const char *value[KEYS], numbers *found,
                              const char *path) {
    kern_status status = KERN_OK;
    data_safetensors *file = NULL;
    uint32_t crc = 0;
    char checksum[16];
    *result = NULL;
    TRY(data_safetensors_open(&file, path));
    for (int i = 0; i < KEYS; i++) {
        value[i] = data_safetensors_metadata(file, keys[i]);
        if (!value[i] ||
            (i == FORMAT_KEY && strcmp(value[i], FORMAT) && strcmp(value[i], FIRST_FORMAT)))
            TRY(kern_fail(KERN_ERR_DATA,
                          "%s is not the state of a session (" FIRST_FORMAT " or " FORMAT
                          "); ttt infer --save-state "
                          "writes one",
                          path));
        crc = data_crc32(crc, value[i], strlen(value[i]));
    }
    const data_tensor *tensor = data_safetensors_tensors(file);
    for (int64_t i = 0; i < data_safetensors_count(file); i++)
        crc = data_crc32(crc, tensor[i].data, tensor[i].bytes);
    snprintf(checksum, sizeof checksum, "%08" PRIx32, crc);
    const char *stored = data_safetensors_metadata(file, "checksum");
    if (!stored || strcmp(stored, checksum) || !read_numbers(found, value[TEXT_KEY]))
        TRY(kern_fail(KERN_ERR_DATA, "%s is damaged: its checksum is wrong; read the text anew",
                      path));
    *result = file;
    file = NULL;
done:
    data_safetensors_destroy(file);
    return status;
}

/* Whether such numbers come about by reading: as many tokens wait as are left after whole chunks,
 * and never none, because the last chunk waits for the token after it. */
static bool make_sense(const numbers *found, int64_t chunk) {
    if (found->position == 0) return found->score == SCORE_NONE;
    return found->score == SCORE_LOGITS && found->pending >= 1 && found->pending <= chunk &&
           (found->position - found->pending) % chunk == 0;
}

/* Whether the state is one of this session's. */
static kern_status check_fits(const infer_session *s, const char *path, const char *const *value,
                              const numbers *found, const char *identity) {
    kern_status status = KERN_OK;
    if (strcmp(value[WEIGHTS_KEY], identity))
        return kern_fail(KERN_ERR_CONFIG,
                         "%s is the state of other weights (%s, these are %s); it goes on with the "
                         "checkpoint that it was read with only",
                         path, value[WEIGHTS_KEY], identity);
    bool first = !strcmp(value[FORMAT_KEY], FIRST_FORMAT);
    TRY(infer_session_check_options(s, path, value[OPTIONS_KEY], first));
    if (!make_sense(found, s->chunk))
        return kern_fail(KERN_ERR_DATA,
                         "%s is damaged: its numbers make no sense; read the text "
                         "anew",
                         path);
    if (s->full && found->position > s->spec.limit)
        return kern_fail(KERN_ERR_USAGE,
                         "%s holds %lld tokens, this session has room for %lld; allow a longer "
                         "context (--context N)",
                         path, (long long)found->position, (long long)s->spec.limit);
done:
    return status;
}

static kern_status check_tokens(const data_safetensors *file, const data_tensor *waiting,
                                int64_t vocabulary) {
    for (int64_t i = 0; i < waiting->elements; i++) {
        int32_t token;
        memcpy(&token, (const char *)waiting->data + (size_t)i * sizeof token, sizeof token);
        if (token < 0 || token >= vocabulary)
            return kern_fail(KERN_ERR_DATA,
                             "%s is damaged: it has the token %d; read the text anew",
                             data_safetensors_path(file), (int)token);
    }
    return KERN_OK;
}

/* Finds every tensor of the list, and no other: tensor[list->count] */
static kern_status find_tensors(const data_tensor **tensor, const data_safetensors *file,
                                const session_entries *list) {
    kern_status status = KERN_OK;
    if (data_safetensors_count(file) != list->count)
        TRY(kern_fail(KERN_ERR_DATA, "%s has %lld tensors instead of %d; read the text anew",
                      data_safetensors_path(file), (long long)data_safetensors_count(file),
                      list->count));
    for (int i = 0; i < list->count; i++) {
        const session_entry *e = &list->item[i];
        TRY(data_safetensors_expect(&tensor[i], file, e->name, data_dtype_of(e->dtype), e->rank,
                                    e->shape));
    }
done:
    return status;
}

/* Finds what is to be loaded, and that it can be. tensor[list->count] is the caller's to free. */
static kern_status look_into(const data_tensor ***tensor, session_entries *list, numbers *found,
                             const infer_session *s, data_safetensors **file, const char *path,
                             const char *identity) {
    kern_status status = KERN_OK;
    const char *value[KEYS];
    TRY(open_state(file, value, found, path));
    TRY(check_fits(s, path, value, found, identity));
    *list = infer_session_entries(s, found->position, found->pending, found->score == SCORE_LOGITS,
                                  true);
    *tensor = kern_array(list->count, sizeof(const data_tensor *));
    TRY(find_tensors(*tensor, *file, list));
    const data_tensor *waiting = data_safetensors_find(*file, INFER_WAITING);
    if (waiting) TRY(check_tokens(*file, waiting, s->spec.conf->model.vocab));
done:
    return status;
}

kern_status infer_session_load(infer_session *s, const char *path, const char *identity) {
    data_safetensors *file = NULL;
    const data_tensor **tensor = NULL;
    session_entries list = {NULL, 0};
    numbers found;
    kern_status status = look_into(&tensor, &list, &found, s, &file, path, identity);
    TRY(kern_comm_meet(s->spec.tensor ? s->spec.tensor : kern_comm_alone(), status));
    infer_session_reset(s);
    for (int i = 0; i < list.count; i++) infer_session_load_entry(s, &list.item[i], tensor[i]);
    for (int i = 0; i < s->states; i++) {
        session_state *state = &s->state[i];
        state->used = infer_session_kept_rows(s, state, found.position, found.pending);
        state->begin = state->now = found.position ? LOADED_NOW : 0;
        if (infer_session_fast(s) && conf_suffix_block(s->spec.conf, state->block))
            state->begin = LOADED_BEGIN;
    }
    infer_session_round(s);
    TRY(kern_finish(s->spec.device->stream)); /* the file is closed */
    s->position = found.position;
    s->pending = found.pending;
    s->score = (infer_score)found.score;
    s->next_nll = found.next_nll;
    s->seen = found.seen;
done:
    free(tensor);
    free(list.item);
    data_safetensors_destroy(file);
    return status;
}

kern_status infer_state_read(infer_state *state, const char *path) {
    kern_status status = KERN_OK;
    data_safetensors *file = NULL;
    const char *value[KEYS];
    numbers found;
    *state = (infer_state){.moves = 0};
    TRY(open_state(&file, value, &found, path));
    const data_tensor *tensor = data_safetensors_tensors(file);
    int64_t count = data_safetensors_count(file);
    state->move = kern_array(count, sizeof *state->move);
    for (int64_t i = 0; i < count; i++) {
        double pair[2];
        if (strncmp(tensor[i].name, INFER_MOVED, strlen(INFER_MOVED)) ||
            tensor[i].bytes != sizeof pair)
            continue;
        memcpy(pair, tensor[i].data, sizeof pair);
        infer_state_move *move = &state->move[state->moves++];
        *move = (infer_state_move){.moved = pair[0], .size = pair[1]};
        snprintf(move->name, sizeof move->name, "%s", tensor[i].name + strlen(INFER_MOVED));
    }
    snprintf(state->weights, sizeof state->weights, "%s", value[WEIGHTS_KEY]);
    state->options = strdup(value[OPTIONS_KEY]);
    ASSERT(state->options);
    state->position = found.position;
    state->pending = found.pending;
    state->seen = found.seen;
done:
    data_safetensors_destroy(file);
    return status;
}

void infer_state_clear(infer_state *state) {
    free(state->options);
    free(state->move);
}
