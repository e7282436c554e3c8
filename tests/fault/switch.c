/*
 * switch.c - weir-switch: network namespaces, and a network between them that can be made bad
 *
 *     weir-switch [--seed N] NAME ADDRESS [NAME ADDRESS]...
 *
 * Makes a namespace for each NAME, with lo and a device of that IPv4 address (/24), and carries packets from one to the
 * other. It is done here and not by netem, as few kernels of test machines have that. What is dropped is dropped silently,
 * as a router or a cable does it: nobody is told that there is no way. On its output stands a line `NAME FD` for each
 * namespace (/proc/PID/fd/FD, for nsenter and setns), then `ready`. On its input it is told
 *
 *     FROM TO [drop] [loss=PERCENT] [delay=MS] [rate=KBIT]    how packets go from now on, in this one direction
 *
 * and says `ok N`: how many packets it has dropped or kept waiting so far, of all. Nothing named: a good link. What waits on a link when it changes goes at its old time. It ends with its
 * input, and the namespaces with it and the processes inside.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/error.h"
#include "common/memory.h"

#define PORTS_MAX 32
#define MTU       1500
#define BURST     64              /* packets of one port before the others have their turn */
#define SLOW_MAX  (64 * 1024)     /* bytes that wait on a link with a rate: what comes then is dropped, as routers do */
#define FAST_MAX  (8 * 1024 * 1024) /* and with a delay alone */
#define IP_DST    16              /* where the destination stands in an IPv4 header */
#define IP_HEADER 20

struct packet {
    struct packet *next;
    uint64_t due_us;
    size_t len;
    uint8_t bytes[];
};

struct way { /* from one port to another */
    bool drop;
    unsigned loss; /* percent */
    uint64_t delay_us, kbit;
    uint64_t free_us; /* when the last bit of all that wait has left */
    size_t waiting;   /* bytes */
    struct packet *first, **last;
};

struct port {
    const char *name;
    struct in_addr address;
    int tun, namespace;
};

static struct port ports[PORTS_MAX];
static struct way ways[PORTS_MAX][PORTS_MAX];
static size_t port_count;
static uint64_t dice = 1, harmed;

static uint64_t throw_dice(void) /* xorshift64: the same seed, the same packets */
{
    dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
    return dice;
}

/* --- namespaces --- */

static void device_up(int control, const char *name, const struct in_addr *address)
{
    struct ifreq request = { 0 };
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (address != NULL) {
        struct sockaddr_in *to = (struct sockaddr_in *)&request.ifr_addr;
        to->sin_family = AF_INET;
        to->sin_addr = *address;
        if (ioctl(control, SIOCSIFADDR, &request) != 0)
            fatal("%s: cannot set the address: %s", name, strerror(errno));
        to->sin_addr.s_addr = htonl(0xffffff00);
        if (ioctl(control, SIOCSIFNETMASK, &request) != 0)
            fatal("%s: cannot set the mask: %s", name, strerror(errno));
    }
    if (ioctl(control, SIOCGIFFLAGS, &request) != 0)
        fatal("%s: no flags: %s", name, strerror(errno));
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(control, SIOCSIFFLAGS, &request) != 0)
        fatal("%s: cannot bring it up: %s", name, strerror(errno));
}

static void port_make(struct port *port)
{
    if (unshare(CLONE_NEWNET) != 0)
        fatal("no namespace: %s", strerror(errno));
    port->namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    port->tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (port->namespace < 0 || port->tun < 0 || control < 0)
        fatal("no namespace or no /dev/net/tun: %s", strerror(errno));
    struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "weir0" };
    if (ioctl(port->tun, TUNSETIFF, &request) != 0)
        fatal("no tun device: %s", strerror(errno));
    request.ifr_qlen = 10000; /* ours are the queues that drop */
    if (ioctl(control, SIOCSIFTXQLEN, &request) != 0)
        fatal("no longer queue: %s", strerror(errno));
    device_up(control, "weir0", &port->address);
    device_up(control, "lo", NULL);
    close(control);
}

/* --- packets --- */

static void port_put(const struct port *port, const uint8_t *bytes, size_t len)
{
    /* A full device drops, as a network does. */
    if (write(port->tun, bytes, len) < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EIO && errno != EINVAL)
        fatal("%s: %s", port->name, strerror(errno));
}

static void way_carry(struct way *way, const struct port *to, const uint8_t *bytes, size_t len, uint64_t now)
{
    bool good = !way->drop && way->delay_us == 0 && way->kbit == 0 && way->first == NULL;
    if (good && (way->loss == 0 || throw_dice() % 100 >= way->loss)) {
        port_put(to, bytes, len);
        return;
    }
    harmed++;
    if (good || way->drop || (way->loss != 0 && throw_dice() % 100 < way->loss))
        return;
    if (way->waiting + len > (way->kbit != 0 ? SLOW_MAX : FAST_MAX))
        return;
    if (way->free_us < now)
        way->free_us = now;
    if (way->kbit != 0)
        way->free_us += len * 8 * 1000 / way->kbit;
    struct packet *packet = xmalloc(sizeof *packet + len);
    *packet = (struct packet){ .due_us = way->free_us + way->delay_us, .len = len };
    memcpy(packet->bytes, bytes, len);
    if (way->first == NULL)
        way->last = &way->first;
    *way->last = packet;
    way->last = &packet->next;
    way->waiting += len;
}

static void port_read(const struct port *from, uint64_t now)
{
    uint8_t bytes[MTU];
    for (int turn = 0; turn < BURST; turn++) {
        ssize_t len = read(from->tun, bytes, sizeof bytes);
        if (len < IP_HEADER || bytes[0] >> 4 != 4) {
            if (len < 0)
                return;
            continue; /* what IPv6 says about itself */
        }
        for (size_t to = 0; to < port_count; to++)
            if (memcmp(bytes + IP_DST, &ports[to].address, sizeof ports[to].address) == 0)
                way_carry(&ways[from - ports][to], &ports[to], bytes, (size_t)len, now);
    }
}

/* Delivers what is due; returns milliseconds until the next is, -1: none waits. */
static int deliver_due(uint64_t now)
{
    uint64_t next = UINT64_MAX;
    for (size_t from = 0; from < port_count; from++)
        for (size_t to = 0; to < port_count; to++) {
            struct way *way = &ways[from][to];
            while (way->first != NULL && way->first->due_us <= now) {
                struct packet *packet = way->first;
                way->first = packet->next;
                way->waiting -= packet->len;
                port_put(&ports[to], packet->bytes, packet->len);
                free(packet);
            }
            if (way->first != NULL && way->first->due_us < next)
                next = way->first->due_us;
        }
    return next == UINT64_MAX ? -1 : (int)((next - now) / 1000 + 1);
}

/* --- what it is told --- */

static size_t port_named(const char *name)
{
    for (size_t i = 0; i < port_count; i++)
        if (name != NULL && strcmp(ports[i].name, name) == 0)
            return i;
    fatal("no such namespace: %s", name != NULL ? name : "(none)");
}

static void obey(char *line)
{
    size_t from = port_named(strtok(line, " \n"));
    struct way *way = &ways[from][port_named(strtok(NULL, " \n"))];
    way->drop = false, way->loss = 0, way->delay_us = way->kbit = 0;
    for (const char *word; (word = strtok(NULL, " \n")) != NULL;) {
        unsigned value;
        if (strcmp(word, "drop") == 0)
            way->drop = true;
        else if (sscanf(word, "loss=%u", &value) == 1)
            way->loss = value;
        else if (sscanf(word, "delay=%u", &value) == 1)
            way->delay_us = (uint64_t)value * 1000;
        else if (sscanf(word, "rate=%u", &value) == 1)
            way->kbit = value;
        else
            fatal("not understood: %s", word);
    }
    printf("ok %llu\n", (unsigned long long)harmed);
}

int main(int argc, char **argv)
{
    int at = 1;
    if (argc > 2 && strcmp(argv[1], "--seed") == 0) {
        dice = strtoull(argv[2], NULL, 10) | 1;
        at = 3;
    }
    if (argc - at < 2 || (argc - at) % 2 != 0 || argc - at > 2 * PORTS_MAX)
        fatal("usage: weir-switch [--seed N] NAME ADDRESS [NAME ADDRESS]...");
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct pollfd polled[PORTS_MAX + 1] = { { .fd = STDIN_FILENO, .events = POLLIN } };
    for (; at < argc; at += 2) {
        struct port *port = &ports[port_count++];
        port->name = argv[at];
        if (inet_pton(AF_INET, argv[at + 1], &port->address) != 1)
            fatal("%s is no address", argv[at + 1]);
        port_make(port);
        polled[port_count] = (struct pollfd){ .fd = port->tun, .events = POLLIN };
        printf("%s %d\n", port->name, port->namespace);
    }
    puts("ready");
    for (;;) {
        if (poll(polled, port_count + 1, deliver_due(clock_us())) < 0 && errno != EINTR)
            fatal("poll: %s", strerror(errno));
        if (polled[0].revents != 0) {
            char line[256];
            ssize_t len = read(STDIN_FILENO, line, sizeof line - 1); /* who tells waits for `ok`, so it is one line */
            if (len <= 0)
                return 0;
            line[len] = '\0';
            obey(line);
        }
        uint64_t now = clock_us();
        for (size_t i = 0; i < port_count; i++)
            if (polled[i + 1].revents != 0)
                port_read(&ports[i], now);
    }
}
