/* Pairs of additions, subtractions and multiplications become one step. */
#include "kernels/rows_plan.h"

#include <string.h>

enum { ADD, SUBTRACT, MULTIPLY, SUBTRACT_FROM, NO_LINK = -1 };

static int link_of(const kern_row_step *step) {
    switch (step->op) {
    case KERN_ROW_ADD: return ADD;
    case KERN_ROW_SUB: return SUBTRACT;
    case KERN_ROW_MUL: return MULTIPLY;
    default: return NO_LINK;
    }
}

/* The first step of a pair as a op b with a vector a; false if it cannot be put so. */
static bool as_first(kern_row_step *chain, const kern_row_step *step) {
    int link = link_of(step);
    bool swap = step->sources == KERN_STEP_SV;
    if (link == NO_LINK || (swap && link == SUBTRACT)) return false;
    *chain = *step;
    chain->a = swap ? step->b : step->a;
    chain->b = swap ? step->a : step->b;
    chain->op = KERN_STEP_CHAIN + 4 * link;
    return true;
}

/* Completes the pair with `step`, one source of which is the first step's result. */
static bool as_second(kern_row_step *chain, const kern_row_step *step, bool b_vector) {
    int link = link_of(step), result = chain->d;
    if (link == NO_LINK || step->wide != chain->wide) return false;
    bool swap = step->a != result; /* c op result */
    bool c_vector = step->sources == KERN_STEP_VV;
    if (!c_vector && swap != (step->sources == KERN_STEP_SV)) return false;
    chain->c = swap ? step->a : step->b;
    chain->c_per_row = !c_vector && step->per_row;
    chain->d = step->d;
    chain->op += swap && link == SUBTRACT ? SUBTRACT_FROM : link;
    chain->sources = b_vector ? (c_vector ? KERN_STEP_VV : KERN_STEP_VS)
                              : (c_vector ? KERN_STEP_SV : KERN_STEP_SS);
    return true;
}

static int only_user(const kern_row_plan *plan, int maker) {
    int d = plan->step[maker].d, user = -1;
    for (int t = maker + 1; t < plan->steps; t++) {
        const kern_row_step *step = &plan->step[t];
        if (step->a != d && step->b != d && step->c != d) continue;
        if (user >= 0 || (step->a == d) + (step->b == d) + (step->c == d) > 1) return -1;
        user = t;
    }
    return user;
}

void kern_row_plan_chain(kern_row_plan *plan, const kern_row_shape *shape) {
    const kern_row_arithmetic *arithmetic = kern_row_arithmetic_of(shape->compute);
    for (int t = 0; t < plan->steps; t++) {
        kern_row_step chain;
        if (!as_first(&chain, &plan->step[t])) continue;
        int user = only_user(plan, t);
        bool b_vector = plan->step[t].sources == KERN_STEP_VV;
        if (user < 0 || !as_second(&chain, &plan->step[user], b_vector)) continue;
        chain.run = arithmetic->kernel(chain.op, chain.sources);
        plan->step[user] = chain;
        plan->steps--;
        memmove(plan->step + t, plan->step + t + 1, (size_t)(plan->steps - t) * sizeof chain);
        t--;
    }
}
