#include "kernels/matmul_bf16.h"

#include <dnnl.h>
#include <omp.h>
#include <stdlib.h>

enum { A, B, C, MATRICES };

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t layout;
typedef const_dnnl_memory_desc_t layout_ref;
static layout_ref ref(const layout *description) {
    return *description;
}
#else
typedef dnnl_memory_desc_t layout;
typedef const dnnl_memory_desc_t *layout_ref;
static layout_ref ref(const layout *description) {
    return description;
}
#endif

struct kern_bf16_product {
    dnnl_engine_t engine;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    layout layouts[MATRICES];
    bool described[MATRICES];
};

static dnnl_status_t describe(layout *description, int64_t rows, int64_t columns, bool transpose,
                              int64_t stride, dnnl_data_type_t type) {
    dnnl_dims_t dims = {rows, columns};
    dnnl_dims_t strides = {transpose ? 1 : stride, transpose ? stride : 1};
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_strides(description, 2, dims, type, strides);
#else
    return dnnl_memory_desc_init_by_strides(description, 2, dims, type, strides);
#endif
}

static dnnl_status_t add_attributes(dnnl_primitive_attr_t attributes, bool accumulate) {
    dnnl_status_t status =
        dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (status != dnnl_success || !accumulate) return status;
    dnnl_post_ops_t after;
    status = dnnl_post_ops_create(&after);
    if (status != dnnl_success) return status;
#if DNNL_VERSION_MAJOR >= 3
    status = dnnl_post_ops_append_sum(after, 1.0f, 0, dnnl_data_type_undef);
#else
    status = dnnl_post_ops_append_sum(after, 1.0f);
#endif
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attributes, after);
    dnnl_post_ops_destroy(after);
    return status;
}

static dnnl_status_t make_primitive(kern_bf16_product *product, bool accumulate) {
    dnnl_primitive_attr_t attributes;
    dnnl_status_t status = dnnl_primitive_attr_create(&attributes);
    if (status != dnnl_success) return status;
    status = add_attributes(attributes, accumulate);
    const layout *l = product->layouts;
#if DNNL_VERSION_MAJOR >= 3
    if (status == dnnl_success)
        status = dnnl_matmul_primitive_desc_create(&product->description, product->engine, l[A],
                                                   l[B], NULL, l[C], attributes);
#else
    dnnl_matmul_desc_t operation;
    if (status == dnnl_success)
        status = dnnl_matmul_desc_init(&operation, &l[A], &l[B], NULL, &l[C]);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&product->description, &operation, attributes,
                                            product->engine, NULL);
#endif
    if (status == dnnl_success)
        status = dnnl_primitive_create(&product->primitive, product->description);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

static dnnl_status_t make(kern_bf16_product *product, const kern_matmul_shape *shape,
                          kern_bf16_rows rows) {
    layout *l = product->layouts;
    dnnl_status_t status = dnnl_engine_create(&product->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = describe(&l[A], shape->m, shape->k, shape->transpose_a, rows.a, dnnl_bf16);
    product->described[A] = status == dnnl_success;
    if (status == dnnl_success)
        status = describe(&l[B], shape->k, shape->n, shape->transpose_b, rows.b, dnnl_bf16);
    product->described[B] = status == dnnl_success;
    if (status == dnnl_success)
        status = describe(&l[C], shape->m, shape->n, false, rows.c, dnnl_f32);
    product->described[C] = status == dnnl_success;
    if (status == dnnl_success) status = make_primitive(product, shape->accumulate);
    return status;
}

kern_status kern_bf16_create(kern_bf16_product **product, const kern_matmul_shape *shape,
                             kern_bf16_rows rows) {
    *product = NULL;
    if (shape->m > INT32_MAX || shape->n > INT32_MAX || shape->k > INT32_MAX)
        return kern_fail(KERN_ERR_GRAPH,
                         "a bf16 product of m=%lld n=%lld k=%lld: oneDNN counts an axis in 32 "
                         "bits; use f32 products or a smaller model",
                         (long long)shape->m, (long long)shape->n, (long long)shape->k);
    kern_bf16_product *made = calloc(1, sizeof *made);
    if (!made)
        return kern_fail(KERN_ERR_MEMORY, "no memory for a bf16 product; use a smaller model");
    dnnl_status_t status = dnnl_success;
    /* oneDNN asks OpenMP for the number of threads it may use; here that is one. */
#pragma omp parallel num_threads(1)
    {
        omp_set_num_threads(1);
        status = make(made, shape, rows);
    }
    if (status == dnnl_success) {
        *product = made;
        return KERN_OK;
    }
    kern_bf16_destroy(made);
    return kern_fail(status == dnnl_out_of_memory ? KERN_ERR_MEMORY : KERN_ERR_GRAPH,
                     "oneDNN refused a bf16 product of m=%lld n=%lld k=%lld (status %d); use f32 "
                     "products or another oneDNN",
                     (long long)shape->m, (long long)shape->n, (long long)shape->k, (int)status);
}

void kern_bf16_destroy(kern_bf16_product *product) {
    if (!product) return;
    if (product->primitive) dnnl_primitive_destroy(product->primitive);
    if (product->description) dnnl_primitive_desc_destroy(product->description);
#if DNNL_VERSION_MAJOR >= 3
    for (int i = 0; i < MATRICES; i++)
        if (product->described[i]) dnnl_memory_desc_destroy(product->layouts[i]);
#endif
    if (product->engine) dnnl_engine_destroy(product->engine);
    free(product);
}

static layout_ref scratch_layout(const kern_bf16_product *product) {
    return dnnl_primitive_desc_query_md(product->description, dnnl_query_scratchpad_md, 0);
}

size_t kern_bf16_workspace(const kern_bf16_product *product) {
    return dnnl_memory_desc_get_size(scratch_layout(product));
}

void kern_bf16_run(const kern_bf16_product *product, float *c, const uint16_t *a, const uint16_t *b,
                   void *workspace) {
    dnnl_engine_t engine = product->engine;
    const layout *l = product->layouts;
    dnnl_exec_arg_t arguments[] = {{.arg = DNNL_ARG_SRC},
                                   {.arg = DNNL_ARG_WEIGHTS},
                                   {.arg = DNNL_ARG_DST},
                                   {.arg = DNNL_ARG_SCRATCHPAD}};
    enum { ARGUMENTS = sizeof arguments / sizeof *arguments };
    layout_ref layouts[ARGUMENTS] = {ref(&l[A]), ref(&l[B]), ref(&l[C]), scratch_layout(product)};
    void *data[ARGUMENTS] = {(void *)(uintptr_t)a, (void *)(uintptr_t)b, c, workspace};
    dnnl_stream_t stream;
    ASSERT(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success);
    for (int i = 0; i < ARGUMENTS; i++)
        ASSERT(dnnl_memory_create(&arguments[i].memory, layouts[i], engine, data[i]) ==
               dnnl_success);
    ASSERT(dnnl_primitive_execute(product->primitive, stream, ARGUMENTS, arguments) ==
           dnnl_success);
    for (int i = 0; i < ARGUMENTS; i++) dnnl_memory_destroy(arguments[i].memory);
    dnnl_stream_destroy(stream);
}
