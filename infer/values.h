/* The values of a model's parameters as its readers compute with them, and no more than that: where
 * products are in bf16, matrices are there as their bf16 copies alone (docs/model.md, Precision).
 * What is only looked at here and there stays in the file that it is read from: the beginnings of
 * fast weights, and the embedding's rows where the device reads the host's memory. All local. */
#ifndef INFER_VALUES_H
#define INFER_VALUES_H

#include "data/safetensors.h"
#include "infer/parameters.h"
#include "kernels/device.h"

/* Who reads: a model without inner steps, whose fast weights are weights as others are; one with
 * them, which begins from those and changes copies of its own. */
typedef struct {
    bool plain, stepping;
} infer_readers;

typedef struct infer_values infer_values;

/* The rank's parts (tensor: as in infer_model_spec) of the parameters in a file of tensors in the
 * configuration's real type (f32, or f64 in f64 runs). Copies what is held to the device, a few MB
 * at a time, and leaves the file mapped: it must not be shortened or written over as long as the
 * values are used. Takes `file` over, also where it fails. Errors: KERN_ERR_DATA where a parameter
 * is missing, of another type or shape, or not aligned, or where the file's size has changed since
 * it was opened; KERN_ERR_FILE, KERN_ERR_MEMORY; *values is then NULL. */
kern_status infer_values_open(infer_values **values, const ttt_conf *conf, const kern_comm *tensor,
                              infer_readers readers, const kern_device *device,
                              data_safetensors *file);

/* The rank's parameters in a flat buffer of the device by infer_parameters' layout, in the real
 * type, borrowed; only rounded copies are made. For readers of both kinds. Errors: KERN_ERR_MEMORY;
 * *values is then NULL. */
kern_status infer_values_view(infer_values **values, const ttt_conf *conf, const kern_comm *tensor,
                              const kern_device *device, const void *flat);
void infer_values_destroy(infer_values *values); /* NULL is fine */

/* Whether they are this rank's parts (tensor: as above). */
bool infer_values_are_of(const infer_values *values, const kern_comm *tensor);

/* Bytes of the device's memory that infer_values_open allocates. */
size_t infer_values_bytes(const infer_parameters *parameters, const ttt_conf *conf,
                          infer_readers readers, const kern_device *device);

/* Where the device has the parameter with this index, in a type in which its readers need it. */
const void *infer_values_at(const infer_values *values, int index, kern_dtype dtype);

/* Its values in the real type, wherever they are: to memory of the device; or of the host, where
 * they are when this returns. */
void infer_values_copy(const infer_values *values, void *to, int index);
kern_status infer_values_fetch(const infer_values *values, void *to, int index);

/* A parameter that lies in the file need not stay in memory; it may be looked at again. */
void infer_values_release(const infer_values *values, int index);

#endif
