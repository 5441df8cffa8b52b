#include "infer/mixer.h"

#include <stdio.h>
#include <string.h>

/* The letter of blocks without a mixer. */
static const char NONE = 'n';

static const infer_mixer *find(char letter) {
    for (const infer_mixer *const *row = infer_mixers; *row; row++)
        if (strchr((*row)->letters, letter)) return *row;
    return NULL;
}

const infer_mixer *infer_mixer_of(const ttt_conf *conf, int64_t block) {
    char letter = conf_block_letter(conf, block);
    const infer_mixer *mixer = find(letter);
    ASSERT(mixer || letter == NONE);
    return mixer;
}

int64_t infer_mixer_chunk(const ttt_conf *conf) {
    int64_t chunk = 0;
    for (int64_t block = 0; block < conf->model.blocks; block++) {
        const infer_mixer *mixer = infer_mixer_of(conf, block);
        if (!mixer || !mixer->chunk) continue;
        ASSERT(!chunk || chunk == mixer->chunk(conf));
        chunk = mixer->chunk(conf);
    }
    return chunk;
}

int infer_states_of(infer_mixer_state state[INFER_STATES], const ttt_conf *conf, int64_t block,
                    int ranks) {
    const infer_mixer *mixer = infer_mixer_of(conf, block);
    int count = mixer && mixer->states ? mixer->states(state, conf, (int)block) : 0;
    ASSERT(count <= INFER_STATES);
    for (int i = 0; i < count; i++)
        if (state[i].placing == INFER_PARTED) {
            infer_span span[INFER_RANGES];
            int spans = infer_spans(span, &state[i].split, INFER_ALL_RANGES, 0, ranks);
            state[i].dim[state[i].split.axis] = 0;
            for (int s = 0; s < spans; s++) state[i].dim[state[i].split.axis] += span[s].count;
        }
    return count;
}

/* "s, f (attention), n (none)" */
static kern_status refuse(const char *pattern, char letter) {
    char known[512];
    size_t used = 0;
    for (const infer_mixer *const *row = infer_mixers; *row; row++) {
        for (const char *at = (*row)->letters; *at; at++)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%c",
                                     at == (*row)->letters ? "" : ", ", *at);
        used += (size_t)snprintf(known + used, sizeof known - used, " (%s), ", (*row)->name);
        ASSERT(used < sizeof known);
    }
    return kern_fail(KERN_ERR_CONFIG,
                     "model.pattern '%.200s' has the letter %c, which is no mixer; there are "
                     "%s%c (none)",
                     pattern, letter, known, NONE);
}

kern_status infer_check(const ttt_conf *conf) {
    for (int64_t block = 0; block < conf->model.blocks; block++) {
        char letter = conf_block_letter(conf, block);
        if (letter != NONE && !find(letter)) return refuse(conf->model.pattern, letter);
    }
    for (int64_t block = 0; block < conf->model.blocks; block++) {
        const infer_mixer *mixer = infer_mixer_of(conf, block);
        kern_status status = mixer && mixer->check ? mixer->check(conf) : KERN_OK;
        if (status != KERN_OK) return status;
    }
    return KERN_OK;
}

kern_status infer_load(ttt_conf **conf, const char *source, int overrides,
                       const char *const *override) {
    kern_status status = conf_load(conf, source, overrides, override);
    if (status != KERN_OK) return status;
    status = infer_check(*conf);
    if (status == KERN_OK) return status;
    conf_destroy(*conf);
    *conf = NULL;
    return status;
}
