/* The array of mixers, and nothing else (infer/mixer.h). */
#include "infer/mixer.h"

#define DECLARE(name) extern const infer_mixer infer_mixer_##name;
INFER_MIXERS(DECLARE)

#define ENTRY(name) &infer_mixer_##name,
const infer_mixer *const infer_mixers[] = {INFER_MIXERS(ENTRY) NULL};
