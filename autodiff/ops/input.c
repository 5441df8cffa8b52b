#include "autodiff/op.h"

/* attrs.i[0]: number of the input's name; i[1]: a scalar. Built by ad_input, whose memory comes
 * from the plan's caller, and ad_scalar. */
const ad_op_def ad_op_input = {.orders = AD_SMOOTH};
