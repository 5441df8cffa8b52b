#include "infer/needle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tokens between two looks at whether to stop. */
enum { PIECE = 4096 };

static kern_status stop_if_asked(const infer_needle_model *model) {
    if (!model->asked_to_stop || !model->asked_to_stop()) return KERN_OK;
    return kern_fail(KERN_ERR_INTERRUPTED, "stopped; ask again for the rest");
}

static kern_status begin(void *context, const int32_t *prompt, int64_t count) {
    kern_status status = KERN_OK;
    infer_needle_model *model = context;
    infer_session_reset(model->session);
    model->last = -1;
    for (int64_t at = 0; at < count; at += PIECE) {
        TRY(stop_if_asked(model));
        int64_t piece = count - at < PIECE ? count - at : PIECE;
        TRY(infer_session_read(model->session, prompt + at, piece, NULL));
    }
done:
    return status;
}

/* A token is read when the one behind it is asked for: the last one never is. */
static kern_status next(void *context, int32_t *token) {
    kern_status status = KERN_OK;
    infer_needle_model *model = context;
    TRY(stop_if_asked(model));
    if (model->last >= 0) TRY(infer_session_read(model->session, &model->last, 1, NULL));
    const float *score = infer_session_logits(model->session);
    int64_t best = 0;
    for (int64_t i = 0; i < model->vocabulary; i++) {
        if (!isfinite(score[i]))
            TRY(kern_fail(KERN_ERR_NUMERIC, "the scores of an answer's token are not finite"));
        if (score[i] > score[best]) best = i;
    }
    *token = model->last = (int32_t)best;
done:
    return status;
}

infer_answerer infer_needle_answerer(infer_needle_model *model) {
    return (infer_answerer){.context = model, .begin = begin, .next = next};
}

kern_status infer_needle_prompt(data_tokens *prompt, const data_needle *sample,
                                const infer_needle_spec *spec) {
    kern_status status = KERN_OK;
    int64_t consumed;
    char *text = data_needle_prompt(sample);
    *prompt = (data_tokens){.count = 0};
    TRY(data_tokens_reserve(prompt, 1));
    if (spec->begin) prompt->ids[prompt->count++] = spec->vocabulary->bos;
    TRY(data_encode(prompt, &consumed, spec->encoder, text, (int64_t)strlen(text), true, false));
done:
    free(text);
    return status;
}

static bool is_special(const data_vocabulary *vocabulary, int32_t token) {
    return token == vocabulary->bos || data_vocabulary_special_name(vocabulary, token);
}

kern_status infer_needle_ask(infer_needle_result *result, const data_needle *sample,
                             const infer_answerer *answerer, const infer_needle_spec *spec) {
    kern_status status = KERN_OK;
    data_tokens prompt;
    result->bytes = result->answer_tokens = 0;
    result->score = 0;
    TRY(infer_needle_prompt(&prompt, sample, spec));
    result->prompt_tokens = prompt.count;
    TRY(answerer->begin(answerer->context, prompt.ids, prompt.count));
    while (result->answer_tokens < spec->answer_tokens && result->score < 1) {
        int32_t token;
        const char *text;
        TRY(answerer->next(answerer->context, &token));
        if (is_special(spec->vocabulary, token)) break;
        int64_t length = spec->vocabulary->decode(&text, spec->vocabulary, token);
        result->answer =
            kern_grow(result->answer, &result->capacity, result->bytes + length + 1, 1);
        memcpy(result->answer + result->bytes, text, (size_t)length);
        result->bytes += length;
        result->answer[result->bytes] = 0;
        result->answer_tokens++;
        result->score = data_needle_score(sample, result->answer, result->bytes);
    }
done:
    free(prompt.ids);
    return status;
}
