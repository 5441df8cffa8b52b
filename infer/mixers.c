/* The table of mixers, and nothing else: see infer/mixer.h. */
#include "infer/mixer.h"

const infer_mixer *const infer_mixers[] = {
    &infer_mixer_attention,
    NULL,
};
