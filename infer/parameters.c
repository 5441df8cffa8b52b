#include "infer/parameters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *suffix;
    bool norm;
} role_row;

static const role_row roles[INFER_ROLES] = {
    [INFER_EMBED] = {"embed.weight", false},
    [INFER_FINAL_NORM] = {"final_norm.weight", true},
    [INFER_LM_HEAD] = {"lm_head.weight", false},
    [INFER_ATTN_NORM] = {"attn_norm.weight", true},
    [INFER_WQ] = {"attn.wq", false},
    [INFER_WK] = {"attn.wk", false},
    [INFER_WV] = {"attn.wv", false},
    [INFER_WO] = {"attn.wo", false},
    [INFER_Q_NORM] = {"attn.q_norm.weight", true},
    [INFER_K_NORM] = {"attn.k_norm.weight", true},
    [INFER_ATTN_POST_NORM] = {"attn_post_norm.weight", true},
    [INFER_FAST_NORM] = {"fast_norm.weight", true},
    [INFER_FAST_W1] = {"fast.w1", false},
    [INFER_FAST_W2] = {"fast.w2", false},
    [INFER_FAST_W3] = {"fast.w3", false},
    [INFER_FAST_POST_NORM] = {"fast_post_norm.weight", true},
    [INFER_MLP_NORM] = {"mlp_norm.weight", true},
    [INFER_MLP_W1] = {"mlp.w1", false},
    [INFER_MLP_W2] = {"mlp.w2", false},
    [INFER_MLP_W3] = {"mlp.w3", false},
    [INFER_MLP_POST_NORM] = {"mlp_post_norm.weight", true},
};

static infer_parameter *add(infer_parameters *p, int64_t *capacity, infer_role role, int block,
                            int64_t rows, int64_t cols) {
    p->item = kern_grow(p->item, capacity, p->count + 1, sizeof *p->item);
    infer_parameter *item = &p->item[p->count];
    *item = (infer_parameter){.role = role, .rank = cols ? 2 : 1};
    if (block < 0)
        snprintf(item->name, sizeof item->name, "%s", roles[role].suffix);
    else
        snprintf(item->name, sizeof item->name, "blocks.%d.%s", block, roles[role].suffix);
    item->dim[0] = rows;
    item->dim[1] = cols ? cols : 1;
    item->elements = item->dim[0] * item->dim[1];
    item->offset = p->elements;
    p->elements += (item->elements + 15) / 16 * 16;
    p->weights += item->elements;
    p->index[(1 + block) * INFER_ROLES + (int)role] = p->count++;
    return item;
}

static void add_mlp(infer_parameters *p, int64_t *capacity, const ttt_conf *conf, int block,
                    bool separate, bool fast) {
    const conf_model *m = &conf->model;
    int role = separate ? INFER_FAST_NORM : INFER_MLP_NORM;
    if (m->pre_norm) add(p, capacity, (infer_role)role, block, m->dim, 0);
    add(p, capacity, (infer_role)(role + 1), block, m->dim, m->mlp)->fast = fast;
    add(p, capacity, (infer_role)(role + 2), block, m->mlp, m->dim)->fast = fast;
    add(p, capacity, (infer_role)(role + 3), block, m->dim, m->mlp)->fast = fast;
    if (m->post_norm) add(p, capacity, (infer_role)(role + 4), block, m->dim, 0);
}

static void add_attention(infer_parameters *p, int64_t *capacity, const ttt_conf *conf, int block) {
    const conf_model *m = &conf->model;
    int64_t size = conf_head_size(conf), queries = m->heads * size,
            keys = conf_kv_heads(conf) * size;
    if (m->pre_norm) add(p, capacity, INFER_ATTN_NORM, block, m->dim, 0);
    add(p, capacity, INFER_WQ, block, m->dim, queries);
    add(p, capacity, INFER_WK, block, m->dim, keys);
    add(p, capacity, INFER_WV, block, m->dim, keys);
    add(p, capacity, INFER_WO, block, queries, m->dim);
    if (m->qk_norm) {
        add(p, capacity, INFER_Q_NORM, block, size, 0);
        add(p, capacity, INFER_K_NORM, block, size, 0);
    }
    if (m->post_norm) add(p, capacity, INFER_ATTN_POST_NORM, block, m->dim, 0);
}

infer_parameters *infer_parameters_create(const ttt_conf *conf) {
    const conf_model *m = &conf->model;
    infer_parameters *p = kern_array(1, sizeof *p);
    p->blocks = (int)m->blocks;
    int64_t slots = (int64_t)(1 + p->blocks) * INFER_ROLES;
    p->index = kern_array(slots, sizeof *p->index);
    memset(p->index, -1, (size_t)slots * sizeof *p->index);
    int64_t capacity = 0;
    add(p, &capacity, INFER_EMBED, -1, m->vocab, m->dim);
    for (int block = 0; block < p->blocks; block++) {
        bool fast = conf_fast_block(conf, block);
        if (m->attention != CONF_ATTN_NONE) add_attention(p, &capacity, conf, block);
        if (fast && conf->inner.separate_mlp) add_mlp(p, &capacity, conf, block, true, true);
        add_mlp(p, &capacity, conf, block, false, fast && !conf->inner.separate_mlp);
    }
    add(p, &capacity, INFER_FINAL_NORM, -1, m->dim, 0);
    if (!m->tied) add(p, &capacity, INFER_LM_HEAD, -1, m->dim, m->vocab);
    p->elements = (p->elements + INFER_ROW - 1) / INFER_ROW * INFER_ROW;
    return p;
}

void infer_parameters_destroy(infer_parameters *parameters) {
    if (!parameters) return;
    free(parameters->item);
    free(parameters->index);
    free(parameters);
}

const infer_parameter *infer_parameter_of(const infer_parameters *p, infer_role role, int block) {
    ASSERT(block >= -1 && block < p->blocks);
    int at = p->index[(1 + block) * INFER_ROLES + (int)role];
    return at < 0 ? NULL : &p->item[at];
}

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double next_normal(uint64_t *state) { /* Box-Muller, one of the pair */
    double u = ((double)(next_random(state) >> 11) + 1) * 0x1p-53;
    double v = (double)(next_random(state) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586477 * v);
}

void infer_parameters_init(const infer_parameters *p, const ttt_conf *conf, kern_dtype dtype,
                           const kern_device *device, void *buffer) {
    enum { PIECE = 4096 };
    size_t element = kern_dtype_bytes(dtype), bytes = (size_t)p->elements * element;
    ASSERT(dtype == KERN_F32 || dtype == KERN_F64);
    device->zero(device->stream, buffer, bytes, bytes, 1);
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < p->count; i++) {
        const infer_parameter *item = &p->item[i];
        double piece[PIECE];
        uint64_t state = 0xcbf29ce484222325u ^ conf->train.seed;
        for (const char *at = item->name; *at; at++)
            state = (state ^ (uint64_t)(unsigned char)*at) * 0x100000001b3u;
        for (int64_t first = 0; first < item->elements; first += PIECE) {
            int64_t count = item->elements - first < PIECE ? item->elements - first : PIECE;
            for (int64_t j = 0; j < count; j++)
                kern_real_put(piece, dtype, j,
                              roles[item->role].norm ? 1.0
                                                     : conf->model.init_std * next_normal(&state));
#pragma omp critical(upload)
            kern_upload(device, (char *)buffer + (size_t)(item->offset + first) * element, piece,
                        (size_t)count * element);
        }
    }
}
