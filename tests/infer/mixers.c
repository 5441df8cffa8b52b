/* The program's array of mixers and one more, tests/infer/ema.c (infer/mixer.h). */
#include "infer/mixer.h"

#define MIXERS(ROW) INFER_MIXERS(ROW) ROW(ema)

#define DECLARE(name) extern const infer_mixer infer_mixer_##name;
MIXERS(DECLARE)

#define ENTRY(name) &infer_mixer_##name,
const infer_mixer *const infer_mixers[] = {MIXERS(ENTRY) NULL};
