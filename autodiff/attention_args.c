#include "autodiff/attention_args.h"

#include <stdlib.h>

static kern_attention_shape shape_of(const ad_graph *graph, const ad_node *node) {
    ad_type q = ad_type_at(graph, node->input[ATTN_Q]), k = ad_type_at(graph, node->input[ATTN_K]);
    return (kern_attention_shape){.dtype = q.dtype,
                                  .batch = q.dim[0],
                                  .rows = q.dim[1],
                                  .heads = q.dim[2],
                                  .groups = k.dim[2],
                                  .head_size = q.dim[3],
                                  .window = node->attrs.i[0],
                                  .scale = node->attrs.f};
}

static int64_t past_capacity(const ad_graph *graph, const ad_node *node) {
    ad_value past = node->input[ATTN_PAST_K];
    return ad_is_none(past) ? 0 : ad_type_at(graph, past).dim[1];
}

static const char *check_past(const ad_graph *graph, const ad_node *node, ad_type k) {
    ad_type past_k = ad_type_at(graph, node->input[ATTN_PAST_K]);
    ad_type past_v = ad_type_at(graph, node->input[ATTN_PAST_V]);
    ad_type rows = ad_type_at(graph, node->input[ATTN_PAST_ROWS]);
    k.dim[1] = past_k.dim[1];
    if (!ad_type_same(past_k, k) || !ad_type_same(past_v, k))
        return "past keys and values must be [B, P, G, K]";
    return ad_type_same(rows, AD_TYPE(KERN_I32, 1)) ? NULL : "past_rows must be i32 [1]";
}

const char *ad_attention_check(const ad_graph *graph, const ad_node *node, int inputs) {
    ad_type q = ad_type_at(graph, node->input[ATTN_Q]), k = ad_type_at(graph, node->input[ATTN_K]);
    if (q.rank != 4 || k.rank != 4 || q.dtype == KERN_I32) return "q must be [B, C, H, K]";
    if (!ad_type_same(k, ad_type_at(graph, node->input[ATTN_V]))) return "k and v differ";
    if (k.dtype != q.dtype || k.dim[0] != q.dim[0] || k.dim[1] != q.dim[1] ||
        k.dim[3] != q.dim[3] || q.dim[2] % k.dim[2])
        return "k must be [B, C, G, K] with G dividing H";
    if (node->attrs.i[0] < 1) return "the window must be at least 1";
    int absent = 0;
    for (int i = ATTN_PAST_K; i <= ATTN_PAST_ROWS; i++) absent += ad_is_none(node->input[i]);
    if (absent != 0 && absent != 3) return "past_k, past_v and past_rows go together";
    const char *reason = absent ? NULL : check_past(graph, node, k);
    if (reason) return reason;
    for (int i = ATTN_CT_O; i < inputs; i++) {
        if (i != ATTN_CT_O && ad_is_none(node->input[i])) continue;
        ad_type expected = i == ATTN_B || i == ATTN_C ? k : q;
        if (!ad_type_same(expected, ad_type_at(graph, node->input[i])))
            return "a cotangent's type is not its operand's";
    }
    return NULL;
}

void ad_attention_cotangents(const ad_graph *graph, const ad_node *node, ad_type *type) {
    for (int i = ATTN_Q; i <= ATTN_PAST_V; i++)
        type[i] = ad_is_none(node->input[i]) ? AD_TYPE(KERN_F32, 1)
                                             : ad_cotangent_type(ad_type_at(graph, node->input[i]));
}

ad_value ad_attention_round(ad_graph *graph, const ad_node *node, ad_value ct) {
    return ad_is_none(ct) ? ct : ad_cast(graph, ct, ad_type_at(graph, node->input[ATTN_Q]).dtype);
}

typedef struct {
    int stage;
    void *prepared; /* the device's */
} attention_state;

kern_status ad_attention_create(void **state, const kern_device *device, const ad_graph *graph,
                                const ad_node *node, int stage, int threads, size_t *workspace) {
    kern_attention_shape shape = shape_of(graph, node);
    attention_state *at = kern_array(1, sizeof *at);
    at->stage = stage;
    *state = at;
    return device->attention->create(&at->prepared, &shape, stage, past_capacity(graph, node),
                                     threads, workspace);
}

void ad_attention_destroy(const kern_device *device, void *state) {
    attention_state *at = state;
    if (at->prepared) device->attention->destroy(at->prepared);
    free(at);
}

/* The operands that the stage has. */
static kern_attention_arguments call_of(int stage, const ad_buffer *input, void *workspace) {
    kern_attention_arguments call = {.q = input[ATTN_Q].data,
                                     .k = input[ATTN_K].data,
                                     .v = input[ATTN_V].data,
                                     .past_k = input[ATTN_PAST_K].data,
                                     .past_v = input[ATTN_PAST_V].data,
                                     .past_rows = input[ATTN_PAST_ROWS].data,
                                     .past_stride = input[ATTN_PAST_K].stride,
                                     .workspace = workspace};
    ASSERT(input[ATTN_PAST_K].stride == input[ATTN_PAST_V].stride);
    if (stage == 0) return call;
    call.o = input[ATTN_O].data;
    call.lse = input[ATTN_LSE].data;
    call.ct_o = input[ATTN_CT_O].data;
    if (stage == 1) return call;
    call.a = input[ATTN_A].data;
    call.b = input[ATTN_B].data;
    call.c = input[ATTN_C].data;
    return call;
}

void ad_attention_run(const void *state, kern_stream *stream, const ad_buffer *output,
                      const ad_buffer *input, void *workspace) {
    const attention_state *at = state;
    kern_attention_arguments call = call_of(at->stage, input, workspace);
    if (at->stage == 0) {
        call.o = output[0].data;
        call.lse = output[1].data;
    } else {
        ad_buffer k = output[ATTN_PAST_K], v = output[ATTN_PAST_V];
        ASSERT(!k.data || !v.data || k.stride == v.stride);
        call.ct_q = output[ATTN_Q].data;
        call.ct_k = output[ATTN_K].data;
        call.ct_v = output[ATTN_V].data;
        call.ct_past_k = k.data;
        call.ct_past_v = v.data;
        call.ct_past_stride = k.data ? k.stride : v.stride;
        if (at->stage == 2) call.ct_ct_o = output[ATTN_PAST_V + 1].data;
    }
    stream->device->attention->run(stream, at->prepared, &call);
}

double ad_attention_flops(const ad_graph *graph, const ad_node *node, int64_t before, double own,
                          double past) {
    kern_attention_shape shape = shape_of(graph, node);
    int64_t capacity = past_capacity(graph, node), rows = before < capacity ? before : capacity;
    double pair = 2.0 * (double)shape.head_size;
    return pair * (own * kern_attention_pairs(&shape, rows, false) +
                   past * kern_attention_pairs(&shape, rows, true));
}
