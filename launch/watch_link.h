/* Connections between the ranks' watches: messages of one size over TCP. Internal to the watch. */
#ifndef LAUNCH_WATCH_LINK_H
#define LAUNCH_WATCH_LINK_H

#include "kernels/comm.h"

enum { WATCH_HOST = 64, WATCH_TEXT = 1024 };

typedef enum { WATCH_HELLO, WATCH_BEAT, WATCH_END, WATCH_LEAVES } watch_kind;
typedef enum { WATCH_WORKS, WATCH_WAITS, WATCH_DEVICE, WATCH_LONG } watch_state;

typedef struct {
    int32_t kind, rank, state, said; /* said: the failure is on the screen */
    int64_t step, change;            /* change: a number more with each change of the state */
    uint64_t key;                    /* of the job, in HELLO */
    char text[WATCH_TEXT];           /* why; or what it waits for, or does for long */
} watch_message;

/* A rank at the other end. */
typedef struct {
    int socket; /* -1: none */
    size_t got; /* bytes of `next` that are there */
    watch_message next;
    char host[WATCH_HOST];
} watch_link;

/* link [ranks]: the first rank gets a connection to each, each other one to the first, and all get
 * every host's name. Collective. */
kern_status launch_watch_connect(const kern_comm *job, watch_link *link);

/* False where it cannot be sent at once. */
bool launch_watch_send(watch_link *link, const watch_message *message);

/* A message that has come: 1; 0: none so far; -1: the other end is gone. */
int launch_watch_receive(watch_link *link, watch_message *message);

#endif
