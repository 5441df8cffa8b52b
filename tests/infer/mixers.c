/* The table of mixers, and nothing else (infer/mixer.h): the row NAME is infer/NAME.c. */
#include "infer/mixer.h"

#define MIXERS(ROW) ROW(attention) ROW(ema)

#define DECLARE(name) extern const infer_mixer infer_mixer_##name;
MIXERS(DECLARE)

#define ENTRY(name) &infer_mixer_##name,
const infer_mixer *const infer_mixers[] = {MIXERS(ENTRY) NULL};
