#include "autodiff/op.h"

/* attrs.i[0]: number of the input's name. Built by ad_input; memory comes from the plan's caller.
 */
const ad_op_def ad_op_input = {.orders = AD_SMOOTH};
