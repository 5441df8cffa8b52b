#include "data/safetensors.h"

#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} dtypes[DATA_DTYPES] = {
    [DATA_BOOL] = {"BOOL", 1},       [DATA_U8] = {"U8", 1},           [DATA_I8] = {"I8", 1},
    [DATA_F8_E5M2] = {"F8_E5M2", 1}, [DATA_F8_E4M3] = {"F8_E4M3", 1}, [DATA_I16] = {"I16", 2},
    [DATA_U16] = {"U16", 2},         [DATA_F16] = {"F16", 2},         [DATA_BF16] = {"BF16", 2},
    [DATA_I32] = {"I32", 4},         [DATA_U32] = {"U32", 4},         [DATA_F32] = {"F32", 4},
    [DATA_F64] = {"F64", 8},         [DATA_I64] = {"I64", 8},         [DATA_U64] = {"U64", 8},
};

size_t data_dtype_bytes(data_dtype dtype) {
    ASSERT((unsigned)dtype < DATA_DTYPES);
    return dtypes[dtype].bytes;
}

const char *data_dtype_name(data_dtype dtype) {
    ASSERT((unsigned)dtype < DATA_DTYPES);
    return dtypes[dtype].name;
}

data_dtype data_dtype_find(const char *name) {
    data_dtype dtype = 0;
    while (dtype < DATA_DTYPES && strcmp(name, dtypes[dtype].name)) dtype++;
    return dtype;
}

data_dtype data_dtype_of(kern_dtype dtype) {
    static const data_dtype stored[KERN_DTYPES] = {DATA_F32, DATA_F64, DATA_BF16, DATA_I32};
    ASSERT((unsigned)dtype < KERN_DTYPES);
    return stored[dtype];
}
