/* What Unicode 16 knows of characters and Unicode 14, which PCRE2 has up to 10.42, does not: with
 * it, patterns cut a text into the same pieces with every PCRE2 whose Unicode is from 14 to 16. */
#ifndef DATA_BPE_UNICODE_H
#define DATA_BPE_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

enum { DATA_BPE_UNICODE = 16 };

/* `name`: a general category ("Lu"), or the script "Han". */
typedef struct {
    int32_t first, last;
    char name[4];
} data_bpe_unicode_range;

/* Characters that became members of what `name` says, [*count], in ascending order.
 * All were unassigned (Cn), but U+1171E, which was Mn and became Mc; no other character that was
 * assigned has changed its category, and none its being of the script Han. */
const data_bpe_unicode_range *data_bpe_unicode_later(int64_t *count);
enum { DATA_BPE_UNICODE_WAS_MN = 0x1171e };

/* Whether any of them is in text [bytes], which is UTF-8. */
bool data_bpe_unicode_has_later(const char *text, int64_t bytes);

#endif
