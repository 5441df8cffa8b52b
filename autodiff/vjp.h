/* Reverse-mode differentiation, graph to graph. All local. */
#ifndef AUTODIFF_VJP_H
#define AUTODIFF_VJP_H

#include "autodiff/graph.h"

/* Appends nodes that compute the cotangents of `wrt` from those of `outputs`:
 *     result[j] = sum over i of ct[i]^T d outputs[i] / d wrt[j]
 * ct[i] has the shape of outputs[i] and its cotangent type (f32 for bf16) and varies as it does, or
 * is AD_NONE for zero;
 * result[j] is AD_NONE where nothing flows. A graph that already contains gradients is
 * differentiated like any other: that is the second derivative. On failure (a rule that does not
 * exist) the graph is poisoned and so are the results. `result` may be any of the other arrays. */
void ad_vjp(ad_graph *graph, int outputs, const ad_value *output, const ad_value *ct, int wrts,
            const ad_value *wrt, ad_value *result);

#endif
