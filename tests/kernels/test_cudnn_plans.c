/* Graphs of attention as cuDNN itself takes them: it has a plan for each on GPUs that a text
 * describes, none of them here. What they compute is cuda-bench's business. Skipped where the
 * library is not there. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/attention_cudnn.h"
#include "tests/sanitized.h"

typedef struct {
    const char *name;
    int version, multiprocessors, shared_bytes;
} gpu;

static const gpu gpus[] = {{"NVIDIA A100-SXM4-80GB", 800, 108, 166912},
                           {"NVIDIA H200", 900, 132, 232448},
                           {"NVIDIA B200", 1000, 148, 232448}};

static void describe(char *text, size_t bytes, const gpu *g) {
    snprintf(text, bytes,
             "{\"cudaDeviceId\":0,\"deviceName\":\"%s\",\"deviceVer\":%d,\"driverVer\":13000,"
             "\"isTccDriver\":0,\"l2CacheSize\":52428800,\"maxBlockSize\":[1024,1024,64],"
             "\"maxCtasPerSM\":32,\"maxGridSize\":[2147483647,65535,65535],"
             "\"maxRegistersPerSM\":65536,\"maxSharedMemoryPerBlock\":49152,"
             "\"maxSharedMemoryPerBlockOptin\":%d,\"maxThreadsPerBlock\":1024,"
             "\"maxThreadsPerSM\":2048,\"memClockRateKHz\":2619000,\"multiProcessorCount\":%d,"
             "\"pciDeviceId\":0,\"regsPerBlock\":65536,\"reservedSharedMemoryPerBlock\":1024,"
             "\"smClockRateKHz\":1980000,\"supportCoopLaunch\":1,\"totalGlobalMem\":80000000000,"
             "\"warpSize\":32}",
             g->name, g->version, g->shared_bytes, g->multiprocessors);
}

/* Bytes of scratch of the plan for this. */
static size_t plan(const gpu *g, const kern_attention_shape *shape, int stage) {
    char text[2048];
    kern_cudnn_graph graph = {.status = KERN_OK};
    describe(text, sizeof text, g);
    kern_cudnn_attention_graph(&graph, shape, stage);
    kern_status status = kern_cudnn_plan(&graph, NULL, text);
    if (status) fail_msg("%s: %s", g->name, kern_error());
    size_t workspace = graph.workspace;
    kern_cudnn_destroy(&graph);
    return workspace;
}

/* Heads of own keys, all of them, in rows that fill no tile; grouped heads in a window; a batch of
 * few rows. Scratch of rows times keys is what shows that nothing adds into the cotangent of the
 * queries from several blocks, in whatever order they come; plans without a device count with more,
 * though not with twice that. */
static void test_plans(void **state) {
    (void)state;
    static const kern_attention_shape shape[] = {{KERN_BF16, 2, 512, 4, 2, 64, 200, 0.125},
                                                 {KERN_BF16, 1, 300, 2, 2, 128, 300, 0.125},
                                                 {KERN_BF16, 5, 65, 3, 1, 24, 65, 0.125}};
    for (int i = 0; i < 3; i++) {
        const kern_attention_shape *s = &shape[(i + 1) % 3];
        size_t products = (size_t)(s->batch * s->heads * s->rows * s->rows * 2);
        size_t forward = plan(&gpus[i], s, 0), vjp = plan(&gpus[i], s, 1);
        assert_in_range(vjp, products, kern_cudnn_most_workspace(s, 1));
        assert_true(kern_cudnn_most_workspace(s, 1) < 2 * vjp);
        assert_true(forward <= kern_cudnn_most_workspace(s, 0));
    }
}

/* What cuDNN refuses is told in its words: values of keys for another number of rows. */
static void test_refusal(void **state) {
    (void)state;
    char text[2048];
    kern_cudnn_graph graph = {.status = KERN_OK};
    kern_cudnn_shape rows = {{1, 2, 64, 64}, {8192, 64, 128, 1}};
    void *a = kern_cudnn_memory(&graph, 1, KERN_CUDNN_BF16, rows);
    void *c = kern_cudnn_memory(&graph, 2, KERN_CUDNN_BF16, rows);
    rows.dim[2] = 32;
    kern_cudnn_multiply(&graph, c, a, kern_cudnn_memory(&graph, 3, KERN_CUDNN_BF16, rows));
    describe(text, sizeof text, &gpus[0]);
    assert_int_equal(kern_cudnn_plan(&graph, NULL, text), KERN_ERR_DEVICE);
    assert_non_null(strstr(kern_error(), "cudnnBackendFinalize: CUDNN_STATUS_BAD_PARAM"));
    kern_cudnn_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans),
                                       cmocka_unit_test(test_refusal)};
    if (SANITIZED) {
        printf("skipped: what there is to find is cuDNN's\n");
        return 77;
    }
    bool driver = dlopen(CUDNN_TEST_DRIVER, RTLD_NOW | RTLD_GLOBAL) != NULL;
    if (!driver || kern_cudnn_open(&kern_cudnn_table)) {
        printf("skipped: %s\n", driver ? kern_error() : dlerror());
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
