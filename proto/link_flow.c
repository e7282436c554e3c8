/*
 * link_flow.c - ends connections that send more of one message than a message may have
 *
 * libzmq hands over a multipart message when it is whole and limits frames, not messages, so a peer that never sends
 * the last part would fill our memory. What such a peer does can be seen from outside: its connection receives bytes
 * (the kernel counts them, TCP_INFO) while no message of it arrives. Parts of two messages are never mixed on a
 * connection, so that is one message growing. Shutting the descriptor down is all it takes: libzmq's own thread sees
 * the end of the stream and forgets the parts.
 *
 * Descriptors come from the socket monitors and may be stale: each is looked at anew (its peer's address) before use.
 */
#include "proto/link_internal.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/tcp.h> /* not netinet/tcp.h: its tcp_info has no bytes_received */
#include "common/log.h"
#include "common/memory.h"

#define CHECK_MS  100
#define CHECK_MAX 2000 /* connections looked at each time: a system call each */

struct flow {
    bool open, moved;  /* moved: a message arrived since the last check */
    bool over;         /* was over the limit at the last check: a queue of whole messages would have moved since */
    socklen_t len;     /* of address */
    uint64_t received; /* by the kernel, when last a message had arrived */
    struct sockaddr_storage address;
};

struct link_flows {
    struct link_hub *hub;
    struct flow *flows; /* by descriptor */
    size_t count, next;
    struct event *timer;
};

static bool same_connection(const struct flow *flow, int fd)
{
    struct sockaddr_storage address = { 0 };
    socklen_t len = sizeof address;

    return getpeername(fd, (struct sockaddr *)&address, &len) == 0 && len == flow->len &&
           memcmp(&address, &flow->address, len) == 0;
}

static bool bytes_received(int fd, uint64_t *received)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return false;
    *received = info.tcpi_bytes_received;
    return true;
}

static void check(struct link_flows *flows, int fd)
{
    struct flow *flow = &flows->flows[fd];
    uint64_t received;

    if (!bytes_received(fd, &received)) { /* closed; the monitor's word is on its way */
        flow->open = false;
        return;
    }
    if (flow->moved || received < flow->received)
        flow->received = received;
    flow->moved = false;
    bool over = received - flow->received > flows->hub->message_max;
    if (over && flow->over && same_connection(flow, fd)) {
        link_hub_dropped(flows->hub, LINK_DROP_UNFINISHED, "a peer", "a message that does not end; connection ended");
        shutdown(fd, SHUT_RDWR);
        flow->open = false;
    }
    flow->over = over;
}

static void on_check(evutil_socket_t fd, short what, void *arg)
{
    struct link_flows *flows = arg;

    (void)fd, (void)what;
    for (size_t i = 0, checked = 0; i < flows->count && checked < CHECK_MAX; i++) {
        flows->next = flows->next + 1 < flows->count ? flows->next + 1 : 0;
        if (flows->flows[flows->next].open) {
            check(flows, (int)flows->next);
            checked++;
        }
    }
}

struct link_flows *link_flows_new(struct link_hub *hub)
{
    struct link_flows *flows = xcalloc(1, sizeof *flows);

    flows->hub = hub;
    flows->timer = event_new(hub->base, -1, EV_PERSIST, on_check, flows);
    if (flows->timer == NULL || event_add(flows->timer, &(struct timeval){ 0, CHECK_MS * 1000 }) != 0)
        fatal("out of memory");
    return flows;
}

void link_flows_free(struct link_flows **taken)
{
    event_free((*taken)->timer);
    free((*taken)->flows);
    free(*taken);
    *taken = NULL;
}

void link_flow_open(struct link_flows *flows, int fd)
{
    if (fd < 0)
        return;
    if ((size_t)fd >= flows->count) {
        size_t count = (size_t)fd * 2 + 64;
        flows->flows = xrealloc(flows->flows, count * sizeof *flows->flows);
        memset(flows->flows + flows->count, 0, (count - flows->count) * sizeof *flows->flows);
        flows->count = count;
    }
    struct flow *flow = &flows->flows[fd];
    memset(flow, 0, sizeof *flow);
    flow->len = sizeof flow->address;
    flow->open = getpeername(fd, (struct sockaddr *)&flow->address, &flow->len) == 0;
}

void link_flow_close(struct link_flows *flows, int fd)
{
    if (fd >= 0 && (size_t)fd < flows->count)
        flows->flows[fd].open = false;
}

void link_flow_moved(struct link_flows *flows, int fd)
{
    if (fd >= 0 && (size_t)fd < flows->count)
        flows->flows[fd].moved = true;
}
