#include "infer/generate.h"

#include <stddef.h>

static bool say(const infer_generation *g, const char *bytes, int64_t count, bool last) {
    const char *text;
    int64_t shown;
    infer_stream_push(g->stream, bytes, count, last, &text, &shown);
    return g->say(g->context, text, shown);
}

kern_status infer_generate(infer_end *end, int64_t *tokens, const infer_generation *g) {
    kern_status status = KERN_OK;
    bool asked = false;
    *end = INFER_END_TOKENS;
    *tokens = 0;
    while (*tokens < g->tokens && *end == INFER_END_TOKENS) {
        int32_t token = infer_sampler_choose(g->sampler, infer_session_logits(g->session));
        if (token < 0)
            TRY(kern_fail(KERN_ERR_NUMERIC,
                          "the scores of token %lld are not finite; a smaller inner.lr or "
                          "inner.clip may help, if the weights are sound",
                          (long long)infer_session_position(g->session)));
        if (token == g->vocabulary->bos || data_vocabulary_special_name(g->vocabulary, token)) {
            *end = INFER_END_TEXT;
            break;
        }
        TRY(infer_session_read(g->session, &token, 1, NULL));
        infer_sampler_seen(g->sampler, token);
        ++*tokens;
        const char *bytes = NULL;
        int64_t count = g->vocabulary->decode(&bytes, g->vocabulary, token);
        asked = !say(g, bytes, count, false);
        if (infer_stream_stopped(g->stream)) *end = INFER_END_STOP;
        if (asked) *end = INFER_END_ASKED;
    }
    if (!asked && !say(g, NULL, 0, true)) *end = INFER_END_ASKED;
done:
    return status;
}
