#include "launch/watch_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ADDRESSES = 16, ADDRESS_MS = 3000, ALL_SECONDS = 60 };

/* Where the first rank listens: its machine's own address, then those by which others may reach it.
 */
typedef struct {
    uint64_t key; /* who does not know it is no rank of the job */
    int count;
    in_port_t port;
    struct in_addr address[ADDRESSES];
} meeting_place;

bool launch_watch_send(watch_link *link, const watch_message *message) {
    return send(link->socket, message, sizeof *message, MSG_DONTWAIT | MSG_NOSIGNAL) ==
           (ssize_t)sizeof *message;
}

int launch_watch_receive(watch_link *link, watch_message *message) {
    ssize_t got = recv(link->socket, (char *)&link->next + link->got, sizeof link->next - link->got,
                       MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) return -1;
    link->got += (size_t)got;
    if (link->got < sizeof link->next) return 0;
    link->got = 0;
    *message = link->next;
    message->text[WATCH_TEXT - 1] = '\0';
    return 1;
}

static void set_up(int fd) {
    int yes = 1;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

/* Waits for something to read. */
static bool readable(int fd, int milliseconds) {
    struct pollfd at = {.fd = fd, .events = POLLIN};
    return poll(&at, 1, milliseconds) > 0;
}

static void list_addresses(meeting_place *place) {
    struct ifaddrs *all = NULL;
    place->address[place->count++].s_addr = htonl(INADDR_LOOPBACK);
    if (getifaddrs(&all)) return;
    for (struct ifaddrs *at = all; at && place->count < ADDRESSES; at = at->ifa_next) {
        if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || at->ifa_flags & IFF_LOOPBACK ||
            !(at->ifa_flags & IFF_UP))
            continue;
        struct sockaddr_in address;
        memcpy(&address, at->ifa_addr, sizeof address);
        place->address[place->count++] = address.sin_addr;
    }
    freeifaddrs(all);
}

/* Sets *fd to a socket that listens at `place`; -1 and false where there is none. */
static bool open_place(int *fd, meeting_place *place, int ranks) {
    struct sockaddr_in own = {.sin_family = AF_INET};
    socklen_t size = sizeof own;
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    if (*fd < 0 || bind(*fd, (const struct sockaddr *)&own, sizeof own) || listen(*fd, ranks) ||
        getsockname(*fd, (struct sockaddr *)&own, &size))
        return false;
    place->port = own.sin_port;
    list_addresses(place);
    return getrandom(&place->key, sizeof place->key, 0) == (ssize_t)sizeof place->key;
}

/* Waits for a whole message. */
static bool wait_for(watch_link *link, watch_message *message, int milliseconds) {
    int got = 0;
    while (!got && readable(link->socket, milliseconds)) got = launch_watch_receive(link, message);
    return got == 1;
}

static void accept_one(int fd, uint64_t key, watch_link *link, int ranks) {
    watch_link other = {.socket = accept(fd, NULL, NULL)};
    watch_message hello;
    if (other.socket < 0) return;
    set_up(other.socket);
    bool known = wait_for(&other, &hello, ADDRESS_MS) && hello.kind == WATCH_HELLO &&
                 hello.key == key && hello.rank > 0 && hello.rank < ranks &&
                 link[hello.rank].socket < 0;
    if (known && launch_watch_send(&other, &hello))
        link[hello.rank].socket = other.socket;
    else
        close(other.socket);
}

static bool try_address(watch_link *link, const meeting_place *place, int i, int rank) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = place->port, .sin_addr = place->address[i]};
    watch_message hello = {.kind = WATCH_HELLO, .rank = rank, .key = place->key}, answer;
    link->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    link->got = 0;
    if (link->socket < 0) return false;
    set_up(link->socket);
    (void)connect(link->socket, (const struct sockaddr *)&to, sizeof to);
    struct pollfd at = {.fd = link->socket, .events = POLLOUT};
    if (poll(&at, 1, ADDRESS_MS) > 0 && launch_watch_send(link, &hello) &&
        wait_for(link, &answer, ALL_SECONDS * 1000) && answer.kind == WATCH_HELLO &&
        answer.key == place->key)
        return true;
    close(link->socket);
    link->socket = -1;
    return false;
}

/* Its own machine's address is for those on the same one. */
static void reach_first(watch_link *first, const meeting_place *place, int rank,
                        const char *own_host) {
    bool same = !strcmp(first->host, own_host);
    for (int i = same ? 0 : 1; i < place->count && first->socket < 0; i++)
        (void)try_address(first, place, i, rank);
}

static kern_status share_hosts(const kern_comm *job, watch_link *link) {
    kern_status status = KERN_OK;
    for (int r = 0; r < job->ranks; r++) {
        if (r == job->rank) (void)gethostname(link[r].host, WATCH_HOST - 1);
        TRY(job->tell(job, link[r].host, WATCH_HOST, r));
    }
done:
    return status;
}

kern_status launch_watch_connect(const kern_comm *job, watch_link *link) {
    kern_status status = KERN_OK;
    meeting_place place = {0};
    int fd = -1;
    for (int r = 0; r < job->ranks; r++) link[r] = (watch_link){.socket = -1};
    TRY(share_hosts(job, link));
    if (job->rank == 0 && !open_place(&fd, &place, job->ranks)) place.count = 0;
    TRY(job->tell(job, &place, sizeof place, 0));
    if (job->rank) {
        reach_first(&link[0], &place, job->rank, link[job->rank].host);
    } else {
        double until = kern_seconds() + ALL_SECONDS;
        for (int r = 1; r < job->ranks; r++)
            while (place.count && link[r].socket < 0 && kern_seconds() < until)
                if (readable(fd, 1000)) accept_one(fd, place.key, link, job->ranks);
    }
    int64_t missing = job->rank && link[0].socket < 0 ? job->rank : INT64_MAX;
    TRY(job->agree_i64(job, &missing, 1, KERN_MIN));
    if (missing < INT64_MAX)
        TRY(kern_fail(KERN_ERR_RANKS,
                      "rank %lld on %s cannot reach rank 0 on %s: it needs TCP connections between "
                      "the machines, on any port",
                      (long long)missing, link[missing].host, link[0].host));
done:
    if (fd >= 0) close(fd);
    return status;
}
