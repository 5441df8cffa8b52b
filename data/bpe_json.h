/* What the readers of tokenizer.json share; for the files bpe_*.c alone. */
#ifndef DATA_BPE_JSON_H
#define DATA_BPE_JSON_H

#include "data/bpe_model.h"

#include <jansson.h>

/* The text of a key, NULL where it has none. */
static inline const char *data_bpe_text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* Absent, null, false, 0 and "" ask for nothing. */
bool data_bpe_asks(const json_t *object, const char *key);

/* "the WHAT NAME is not supported". */
kern_status data_bpe_unsupported(const char *called, const char *what, const char *name);

/* Says what a JSON file without a model is: KERN_ERR_DATA. */
kern_status data_bpe_no_model(const json_t *root, const char *called);

/* Normalizer and pre_tokenizer of the file `root`; `pattern` instead of the latter's, unless NULL.
 */
kern_status data_bpe_read_stages(data_bpe *bpe, const json_t *root, const char *pattern,
                                 const char *called);

/* A class of all punctuation, as a regular expression; free() it. */
char *data_bpe_punctuation(void);

#endif
