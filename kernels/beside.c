#include "kernels/beside.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct call {
    struct call *next;
    kern_stream *stream;
    void (*run)(kern_stream *stream, void *arguments);
    _Alignas(16) char arguments[];
} call;

/* One thread a process. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    call *first, *last;
    bool there, running;
    char message[1024]; /* of the first failure; kern_error() is a thread's own */
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void make(call *next) {
    bool fine = next->stream->status == KERN_OK;
    next->run(next->stream, next->arguments);
    if (fine && next->stream->status != KERN_OK)
        snprintf(queue.message, sizeof queue.message, "%s", kern_error());
    free(next);
}

static void *run(void *context) {
    (void)context;
    pthread_mutex_lock(&queue.lock);
    for (;;) {
        while (!queue.first) pthread_cond_wait(&queue.changed, &queue.lock);
        call *next = queue.first;
        queue.first = next->next;
        queue.running = true;
        pthread_mutex_unlock(&queue.lock);
        make(next);
        pthread_mutex_lock(&queue.lock);
        queue.running = false;
        pthread_cond_broadcast(&queue.changed);
    }
    return NULL;
}

/* Without a thread the calls are made at once. */
static void begin(void) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all); /* signals are for threads that know what to do */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    queue.there = pthread_create(&thread, NULL, run, NULL) == 0;
    if (queue.there) pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void kern_beside(kern_stream *stream, void (*run_call)(kern_stream *stream, void *arguments),
                 const void *arguments, size_t bytes) {
    call *made = kern_array(1, sizeof *made + bytes);
    *made = (call){.stream = stream, .run = run_call};
    memcpy(made->arguments, arguments, bytes);
    if (!queue.there) begin();
    if (!queue.there) {
        make(made);
        return;
    }
    pthread_mutex_lock(&queue.lock);
    if (queue.first)
        queue.last->next = made;
    else
        queue.first = made;
    queue.last = made;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
}

kern_status kern_beside_finish(kern_stream *stream) {
    pthread_mutex_lock(&queue.lock);
    while (queue.first || queue.running) pthread_cond_wait(&queue.changed, &queue.lock);
    pthread_mutex_unlock(&queue.lock);
    kern_status status = stream->status;
    stream->status = KERN_OK;
    return status == KERN_OK ? status : kern_fail(status, "%s", queue.message);
}
