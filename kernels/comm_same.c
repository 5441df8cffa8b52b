/* What all ranks must have alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/comm.h"

enum { HOST_BYTES = 64, LINE_BYTES = 400, MESSAGE_BYTES = 1024 };

/* The first line of `a` that is not so in `b`, and what stands there; "" where lines end. */
static void first_difference(char line_a[LINE_BYTES], char line_b[LINE_BYTES], const char *a,
                             const char *b) {
    for (;;) {
        size_t length_a = strcspn(a, "\n"), length_b = strcspn(b, "\n");
        bool same = length_a == length_b && !memcmp(a, b, length_a);
        if (!same || (!a[length_a] && !b[length_b])) {
            snprintf(line_a, LINE_BYTES, "%.*s", (int)kern_min(LINE_BYTES, (int64_t)length_a), a);
            snprintf(line_b, LINE_BYTES, "%.*s", (int)kern_min(LINE_BYTES, (int64_t)length_b), b);
            return;
        }
        a += length_a + (a[length_a] != '\0');
        b += length_b + (b[length_b] != '\0');
    }
}

static const char *or_nothing(const char *line) {
    return *line ? line : "nothing";
}

static kern_status compare(char message[MESSAGE_BYTES], const kern_comm *comm, const char *text) {
    kern_status status = KERN_OK;
    char first_host[HOST_BYTES] = "", host[HOST_BYTES] = "", *first = NULL;
    int64_t bytes = (int64_t)strlen(text) + 1;
    (void)gethostname(host, HOST_BYTES - 1);
    memcpy(first_host, host, HOST_BYTES);
    TRY(comm->tell(comm, &bytes, sizeof bytes, 0));
    TRY(comm->tell(comm, first_host, HOST_BYTES, 0));
    first = kern_array(bytes, 1);
    if (comm->rank == 0) memcpy(first, text, (size_t)bytes);
    TRY(comm->tell(comm, first, (size_t)bytes, 0));
    if (strcmp(first, text) != 0) {
        char here[LINE_BYTES], there[LINE_BYTES];
        first_difference(here, there, text, first);
        snprintf(message, MESSAGE_BYTES,
                 "ranks differ: %s on rank %d (%s), but %s on rank 0 (%s); all must have the same",
                 or_nothing(here), comm->rank, host, or_nothing(there), first_host);
    }
done:
    free(first);
    return status;
}

kern_status kern_comm_same(const kern_comm *comm, const char *text) {
    kern_status status = KERN_OK;
    char message[MESSAGE_BYTES] = "";
    if (comm->ranks == 1) return KERN_OK;
    TRY(compare(message, comm, text));
    int64_t differs = *message ? comm->rank : INT64_MAX;
    TRY(comm->agree_i64(comm, &differs, 1, KERN_MIN));
    if (differs == INT64_MAX) return KERN_OK;
    TRY(comm->tell(comm, message, MESSAGE_BYTES, (int)differs));
    status = kern_fail(KERN_ERR_RANKS, "%s", message);
done:
    return status;
}
