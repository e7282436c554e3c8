/*
 * knock.c - weir-knock: connections that are refused, as many as it gets; and the least that a server must do to refuse them
 *
 *     weir-knock --serve HOST:PORT                            accept, write one line, close, again: until it is ended
 *     weir-knock --connect HOST:PORT --seconds S [--open N]   prints one line of JSON: connections a second that were refused, and those that were not
 *
 * The client comes from 250 addresses, 127.0.1.1 and on, and reads until the server closes: who closes first keeps what is left of a connection, and that is
 * the server's to bear.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/netaddr.h"

#define OPEN_MOST 1000
#define SOURCES   250

struct caller {
    int fd;
    char code; /* the greeting's first byte; 0: none yet */
};

struct knocker {
    struct sockaddr_in to;
    int epoll;
    unsigned next_source;
    uint64_t refused, served, failed;
};

static struct sockaddr_in ipv4(const char *text)
{
    struct netaddr address;
    struct sockaddr_storage storage;
    if (!netaddr_parse_endpoint(&address, text, NULL) || netaddr_to_sockaddr(&address, &storage) == 0 || storage.ss_family != AF_INET)
        fatal("%s: an IPv4 address with its port is needed", text);
    struct sockaddr_in out;
    memcpy(&out, &storage, sizeof out);
    return out;
}

_Noreturn static void serve(const struct sockaddr_in *address)
{
    static const char refusal[] = "421 4.7.0 mx.example.edu Service not available, try again later\r\n";
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (const struct sockaddr *)address, sizeof *address) != 0 || listen(listener, 4096) != 0)
        fatal("cannot listen: %s", strerror(errno));
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0)
            continue;
        ssize_t written = write(client, refusal, sizeof refusal - 1); /* a client that left hears nothing */
        (void)written;
        close(client);
    }
}

static void call(struct knocker *knocker, struct caller *caller)
{
    int yes = 1;
    caller->code = 0;
    caller->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(caller->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes); /* the port is chosen by connect(): each address has all of them */
    struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000101 + knocker->next_source++ % SOURCES) };
    struct epoll_event wanted = { .events = EPOLLIN, .data.ptr = caller };
    if (bind(caller->fd, (const struct sockaddr *)&from, sizeof from) != 0 ||
        (connect(caller->fd, (const struct sockaddr *)&knocker->to, sizeof knocker->to) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(knocker->epoll, EPOLL_CTL_ADD, caller->fd, &wanted) != 0)
        fatal("cannot connect: %s", strerror(errno));
}

static void hear(struct knocker *knocker, struct caller *caller)
{
    char said[512];
    ssize_t len = recv(caller->fd, said, sizeof said, 0);
    if (len < 0 && errno == EAGAIN)
        return;
    if (len > 0 && caller->code == 0)
        caller->code = said[0];
    if (len > 0 && caller->code != '2')
        return; /* until it closes */
    uint64_t *count = caller->code == '2' ? &knocker->served : caller->code == '4' || caller->code == '5' ? &knocker->refused : &knocker->failed;
    ++*count;
    close(caller->fd);
    call(knocker, caller);
}

static void knock(struct knocker *knocker, uint64_t seconds, size_t open)
{
    struct caller *callers = xcalloc(open, sizeof *callers);
    struct epoll_event events[OPEN_MOST];
    knocker->epoll = epoll_create1(EPOLL_CLOEXEC);
    uint64_t began = clock_us(), ends = began + seconds * 1000000;
    for (size_t i = 0; i < open; i++)
        call(knocker, &callers[i]);
    while (clock_us() < ends) {
        int count = epoll_wait(knocker->epoll, events, OPEN_MOST, 100);
        for (int i = 0; i < count; i++)
            hear(knocker, events[i].data.ptr);
    }
    double took = (double)(clock_us() - began) / 1e6;
    printf("{\"rate\": %.1f, \"refused\": %llu, \"served\": %llu, \"failed\": %llu}\n", (double)knocker->refused / took, (unsigned long long)knocker->refused,
           (unsigned long long)knocker->served, (unsigned long long)knocker->failed);
    for (size_t i = 0; i < open; i++)
        close(callers[i].fd);
    close(knocker->epoll);
    free(callers);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "serve", required_argument, NULL, 'l' },
                                             { "connect", required_argument, NULL, 'c' },
                                             { "seconds", required_argument, NULL, 's' },
                                             { "open", required_argument, NULL, 'o' },
                                             { 0 } };
    struct knocker knocker = { 0 };
    struct sockaddr_in listen_at = { 0 };
    uint64_t seconds = 5, open = 50;
    log_open(&(struct log_options){ .ident = "weir-knock", .node = "weir-knock", .level = LOG_WARNING });
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'l': listen_at = ipv4(optarg); break;
        case 'c': knocker.to = ipv4(optarg); break;
        case 's': seconds = strtoull(optarg, NULL, 10); break;
        case 'o': open = strtoull(optarg, NULL, 10); break;
        default: return 64;
        }
    }
    if (listen_at.sin_family != 0)
        serve(&listen_at);
    if (knocker.to.sin_family == 0 || open == 0 || open > OPEN_MOST)
        fatal("--serve HOST:PORT, or --connect HOST:PORT with --open 1..%d", OPEN_MOST);
    knock(&knocker, seconds, (size_t)open);
    return 0;
}
