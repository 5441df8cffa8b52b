#include "autodiff/attention_args.h"

typedef struct {
    kern_attention_shape shape;
    int64_t past_capacity;
} attention_state;

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

kern_status ad_attention_create(void **state, const ad_graph *graph, const ad_node *node, int stage,
                                int threads, size_t *workspace) {
    kern_status status = kern_alloc(state, sizeof(attention_state), "attention");
    if (status != KERN_OK) return status;
    attention_state *call = *state;
    call->shape = shape_of(graph, node);
    call->past_capacity = past_capacity(graph, node);
    *workspace = kern_attention_workspace(&call->shape, stage, call->past_capacity, threads);
    return KERN_OK;
}

const kern_attention_shape *ad_attention_shape(const void *state) {
    return &((const attention_state *)state)->shape;
}

kern_attention_past ad_attention_past(const void *state, const ad_buffer *input) {
    if (!input[ATTN_PAST_K].data) return (kern_attention_past){0};
    int64_t rows = *(const int32_t *)input[ATTN_PAST_ROWS].data;
    ASSERT(rows >= 0 && rows <= ((const attention_state *)state)->past_capacity);
    ASSERT(input[ATTN_PAST_K].stride == input[ATTN_PAST_V].stride);
    return (kern_attention_past){.k = input[ATTN_PAST_K].data,
                                 .v = input[ATTN_PAST_V].data,
                                 .past = rows,
                                 .stride = input[ATTN_PAST_K].stride};
}

kern_attention_past_ct ad_attention_past_ct(const ad_buffer *output) {
    ad_buffer k = output[ATTN_PAST_K], v = output[ATTN_PAST_V];
    ASSERT(!k.data || !v.data || k.stride == v.stride);
    return (kern_attention_past_ct){k.data, v.data, k.data ? k.stride : v.stride};
}

double ad_attention_flops(const ad_graph *graph, const ad_node *node, int64_t before, double own,
                          double past) {
    kern_attention_shape shape = shape_of(graph, node);
    int64_t capacity = past_capacity(graph, node), rows = before < capacity ? before : capacity;
    double pair = 2.0 * (double)shape.head_size;
    return pair * (own * kern_attention_pairs(&shape, rows, false) +
                   past * kern_attention_pairs(&shape, rows, true));
}
