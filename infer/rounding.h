/* bf16 copies of a flat buffer of f32 parameters, for runs whose products are in bf16. */
#ifndef INFER_ROUNDING_H
#define INFER_ROUNDING_H

#include "autodiff/plan.h"

typedef struct infer_rounding infer_rounding;

/* Of so many elements. Errors: those of ad_plan_compile; *rounding is then NULL. */
kern_status infer_rounding_create(infer_rounding **rounding, int64_t elements, int threads);
void infer_rounding_destroy(infer_rounding *rounding); /* NULL is fine */
size_t infer_rounding_arena_bytes(const infer_rounding *rounding);
/* to [elements] = from, to nearest even. */
void infer_rounding_run(infer_rounding *rounding, uint16_t *to, const float *from, void *arena);

#endif
