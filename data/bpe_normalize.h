/* Text in Unicode's normal form C, as Hugging Face's library makes it. A text is a row of clusters,
 * each of a character that joins nothing before it and what may join that one; the normal form of a
 * text is that of its clusters, one behind the other, and has as many. Any bytes are text: those
 * that are not UTF-8 are a cluster each and stay as they are. */
#ifndef DATA_BPE_NORMALIZE_H
#define DATA_BPE_NORMALIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Memory that is used again; begin with zeros, end it with data_bpe_normal_free. */
typedef struct {
    char *text;
    int64_t bytes, capacity;
    int32_t *codes;
    int64_t codes_capacity;
    uint64_t *marks;
    int64_t marks_capacity;
} data_bpe_normal;

/* The normal form of text [bytes] to to->text [to->bytes]. */
void data_bpe_normalize(data_bpe_normal *to, const char *text, int64_t bytes);
void data_bpe_normal_free(data_bpe_normal *normal);

/* Whether a cluster begins with text [bytes], bytes > 0; how many begin in it; where the one of
 * that number begins, counted from 0: `bytes` where there are fewer. */
bool data_bpe_cluster_begins(const char *text, int64_t bytes);
int64_t data_bpe_clusters(const char *text, int64_t bytes);
int64_t data_bpe_cluster_at(const char *text, int64_t bytes, int64_t number);

/* How many bytes at the beginning of a text that goes on are of whole clusters. */
int64_t data_bpe_whole_clusters(const char *text, int64_t bytes);

#endif
