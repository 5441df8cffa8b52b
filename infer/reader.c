#include "infer/reader.h"

#include <stdlib.h>
#include <string.h>

struct infer_reader {
    infer_reader_spec spec;
    data_encoder *encoder;
    char *bytes;                       /* not yet encoded */
    int64_t held, capacity, undecided; /* of them, as many as the encoder last left */
    data_tokens tokens;                /* not yet read */
    double *nll;
    int64_t nll_capacity;
};

kern_status infer_reader_create(infer_reader **result, const infer_reader_spec *spec) {
    kern_status status = KERN_OK;
    infer_reader *r = kern_array(1, sizeof *r);
    *result = NULL;
    r->spec = *spec;
    TRY(data_encoder_create(&r->encoder, spec->vocabulary));
    *result = r;
    r = NULL;
done:
    infer_reader_destroy(r);
    return status;
}

void infer_reader_destroy(infer_reader *r) {
    if (!r) return;
    data_encoder_destroy(r->encoder);
    free(r->bytes);
    free(r->tokens.ids);
    free(r->nll);
    free(r);
}

static kern_status encode(infer_reader *r, const char *bytes, int64_t count, bool last) {
    kern_status status = KERN_OK;
    int64_t consumed;
    if (count) {
        r->bytes = kern_grow(r->bytes, &r->capacity, r->held + count, 1);
        memcpy(r->bytes + r->held, bytes, (size_t)count);
        r->held += count;
    }
    /* Tried anew at twice the length: work on one endless word stays proportional to it. */
    if (!last && r->held < 2 * r->undecided) goto done;
    TRY(data_encode(&r->tokens, &consumed, r->encoder, r->bytes ? r->bytes : "", r->held, last,
                    false));
    r->held -= consumed;
    r->undecided = r->held;
    if (r->held) memmove(r->bytes, r->bytes + consumed, (size_t)r->held);
done:
    return status;
}

/* Reads what can be read of the tokens that are there. */
static kern_status read_tokens(infer_reader *r, bool last) {
    kern_status status = KERN_OK;
    int64_t at = 0, n = 1;
    if (r->spec.losses)
        r->nll = kern_grow(r->nll, &r->nll_capacity, infer_session_stride(r->spec.session) + 1,
                           sizeof *r->nll);
    while (n > 0 && at < r->tokens.count) {
        const int32_t *token = r->tokens.ids + at;
        TRY(infer_session_read_some(&n, r->spec.session, token, r->tokens.count - at, last,
                                    r->nll));
        at += n;
        if (n && r->spec.seen) TRY(r->spec.seen(r->spec.context, token, r->nll, n));
    }
done:
    r->tokens.count -= at;
    if (r->tokens.count)
        memmove(r->tokens.ids, r->tokens.ids + at, (size_t)r->tokens.count * sizeof(int32_t));
    if (status != KERN_OK) r->tokens.count = r->held = r->undecided = 0;
    return status;
}

kern_status infer_reader_push(infer_reader *r, const char *bytes, int64_t count, bool last) {
    kern_status status = KERN_OK;
    int32_t bos = infer_session_bos(r->spec.session);
    if (infer_session_position(r->spec.session) == 0 && r->tokens.count == 0 && bos >= 0) {
        TRY(data_tokens_reserve(&r->tokens, 1));
        r->tokens.ids[r->tokens.count++] = bos;
    }
    TRY(encode(r, bytes, count, last));
    TRY(read_tokens(r, last));
done:
    return status;
}
