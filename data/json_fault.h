/* Why a text is no JSON, in words for its user. */
#ifndef DATA_JSON_FAULT_H
#define DATA_JSON_FAULT_H

#include <jansson.h>

/* The parser's reason; where that speaks of a flag of its own, ours. It lives as long as `error`.
 */
static inline const char *data_json_fault(const json_error_t *error) {
    return json_error_code(error) == json_error_null_character ? "a text has the character U+0000"
                                                               : error->text;
}

#endif
