#ifndef WEIR_EDGE_EDGE_H
#define WEIR_EDGE_EDGE_H
/*
 * edge.h - the processes of one edge: a master that holds the sockets, and workers that speak SMTP
 */
#include <signal.h>
#include "common/command.h"
#include "edge/session/census.h"
#include "edge/session/edge_config.h"

/* One address of one listener: a socket for each worker, all bound with SO_REUSEPORT. */
struct edge_socket {
    const char *listener; /* borrowed from the master's configuration */
    struct netaddr address;
    int *fds;             /* by worker */
};

struct edge_process { /* what a worker inherits from its master */
    const struct command *command;
    struct edge_config *config;
    struct edge_socket *sockets;
    size_t socket_count;
    unsigned worker, workers;
    struct census *census;
    const sigset_t *mask; /* signals are blocked until the worker has handlers for them: it sets this mask then */
    int ready_fd; /* the worker writes its index here (one byte of value) when it accepts sessions */
};

/* Runs the edge; the command line is borrowed, the configuration was loaded and is taken over. Returns the exit status. */
int master_run(const struct command *command, struct edge_config *config);
/* Runs one worker in a freshly forked child, and exits. */
_Noreturn void worker_run(const struct edge_process *process);

#endif
