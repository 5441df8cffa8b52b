#include "configs/options.h"

#include <string.h>

enum { COMPARED = 63 }; /* letters of a name that count */

/* Letters to insert, remove, replace or swap with their neighbour to turn a into b (optimal string
 * alignment): swapped letters are the commonest slip and must not cost two. */
static int64_t slips(const char *a, const char *b) {
    int64_t rows[3][COMPARED + 1];
    int64_t length_a = (int64_t)strnlen(a, COMPARED), length_b = (int64_t)strnlen(b, COMPARED);
    for (int64_t j = 0; j <= length_b; j++) rows[0][j] = j;
    for (int64_t i = 1; i <= length_a; i++) {
        int64_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int64_t j = 1; j <= length_b; j++) {
            row[j] = kern_min(above[j] + 1, row[j - 1] + 1);
            row[j] = kern_min(row[j], above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = kern_min(row[j], above2[j - 2] + 1);
        }
    }
    return rows[length_a % 3][length_b];
}

const char *conf_nearest(const char *word, const char *const *names, int64_t count) {
    int64_t best = kern_min(4, (int64_t)strlen(word) / 3 + 1);
    const char *nearest = NULL;
    for (int64_t i = 0; i < count; i++) {
        const char *dot = strchr(names[i], '.');
        int64_t distance = slips(word, names[i]);
        if (dot) distance = kern_min(distance, slips(word, dot + 1));
        if (distance < best || (distance == best && !nearest)) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}
