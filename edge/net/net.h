#ifndef WEIR_EDGE_NET_H
#define WEIR_EDGE_NET_H
/*
 * net.h - sockets and TLS: the only room of the edge that knows sockets on the event loop and OpenSSL
 *
 * One connection offers six events up. Whoever owns it decides on bytes and never sees libevent. Handlers may call any net function on
 * their connection, net_free() included: the object stays until the loop's next turn.
 */
#include <stdbool.h>
#include <stddef.h>
#include <event2/event.h>
#include "common/error.h"
#include "common/netaddr.h"

struct net_conn;
struct net_tls; /* one TLS configuration: certificate (server) or trust (client); shared, counted */

enum net_end { NET_CLOSED /* by peer */, NET_RESET, NET_TIMEOUT /* idle */, NET_TLS_FAILED, NET_CONNECT_FAILED,
               NET_NO_SOURCE /* nobody was asked: the address to connect from is not to be had, or not for there */ };

/* What TLSA records say about a server's certificate (RFC 6698, RFC 7672); everything is borrowed for the call. */
struct net_tlsa {
    uint8_t usage, selector, matching;
    const uint8_t *data;
    size_t len;
};

struct net_dane {
    const char *base;                                       /* the name the records were found at; sent as SNI */
    const char *others[3];                                  /* other names the certificate may have (usage 2); NULL: none */
    const struct net_tlsa *records;
    size_t count;
};

struct net_handlers {
    void (*connected)(void *arg);                           /* net_connect() only */
    void (*secured)(void *arg);                             /* the handshake that net_start_tls() began is done */
    /* Returns how many were used; the rest comes again with more, or after resume. An owner that uses nothing of
     * as much as is ever offered at once is paused. */
    size_t (*bytes)(void *arg, const char *buf, size_t len);
    void (*drained)(void *arg);                             /* the output buffer is empty; may be NULL, as connected and secured */
    void (*ended)(void *arg);                               /* the peer sends no more but may still read; NULL: that is `gone`, NET_CLOSED */
    void (*gone)(void *arg, enum net_end end, const char *why); /* the last event; the owner calls net_free() */
};

/* Handlers are borrowed (static tables). The program ignores SIGPIPE: OpenSSL writes with write(). Takes fd. */
struct net_conn *net_accept(struct event_base *base, int fd, const struct net_handlers *handlers, void *arg);
/* Connects (no DNS here), from an address of this machine, or (NULL) as the kernel chooses. timeout_ms: for the connection to be there, 0 none. What is
 * written before `connected` waits for it. */
struct net_conn *net_connect(struct event_base *base, const struct netaddr *address, const struct netaddr *source, unsigned timeout_ms,
                             const struct net_handlers *handlers, void *arg);
void net_free(struct net_conn **conn);                      /* drops unsent output; no events after this */
/* Sends what is queued (10 s at most), close_notify, waits for the peer to close (2 s at most), closes; no events after this. */
void net_close_after_flush(struct net_conn **conn);
/* The end of the process, after the last callback: drops what net_close_after_flush() still has to do. */
void net_fini(void);
void net_write(struct net_conn *conn, const void *data, size_t len); /* copies */
/* The peer hears the end of our output (TLS: close_notify, then FIN) when all that is queued is sent, and nothing may be written any more; reading
 * goes on until `ended` or `gone`. */
void net_end_output(struct net_conn *conn);
size_t net_unsent(const struct net_conn *conn);             /* bytes that cannot have reached the peer yet; kept true in `gone` */
/* No bytes events until resume: back-pressure to the peer's TCP. While bytes are left that way, what is written waits for what will be
 * written about them, up to 200 ms, so that answers to pipelined commands arrive together. */
void net_pause(struct net_conn *conn);
void net_resume(struct net_conn *conn);                     /* bytes already here are offered again in the next loop turn */
/* Idle times, 0 none: without a byte read (not while paused), and with output that does not move. */
void net_set_timeout(struct net_conn *conn, unsigned read_ms, unsigned write_ms);
/* Whose connection it is (fair_source()): input is taken in turns among sources, so that who sends most has no more of the loop than others who want it.
 * 0, as it begins: nobody's, and nothing waits. */
void net_set_source(struct net_conn *conn, uint64_t source);
/* Offers so many bytes at once, at most and until this is said otherwise (128 KiB): what the owner does not use is copied, so this is what a
 * connection that is kept waiting costs. The rest stays in the kernel. */
void net_offer_most(struct net_conn *conn, size_t most);
size_t net_buffered(const struct net_conn *conn);           /* input bytes not used yet; inside `bytes`: all that are offered */
/* Output queued before this call is sent in clear first, what is written later goes encrypted. Input still buffered is an error: false,
 * and the caller closes; called from inside `bytes`, which then leaves some of them: `gone` with NET_TLS_FAILED. */
bool net_start_tls(struct net_conn *conn, struct net_tls *tls, bool server, const char *host_name);
/* The same as a client, with a server whose certificate must match the records: else `gone` with NET_TLS_FAILED. What the configuration says about
 * trust does not count. false: why; *unusable: it is that none of the records can be used, and nothing has begun. */
bool net_start_tls_dane(struct net_conn *conn, struct net_tls *tls, const struct net_dane *dane, bool *unusable, struct error *why);
bool net_is_tls(const struct net_conn *conn);
const char *net_tls_text(const struct net_conn *conn);      /* "TLSv1.3 TLS_AES_256_GCM_SHA384" or "" */
bool net_tls_verified(const struct net_conn *conn);         /* the peer's certificate matches host_name and chain */
const struct netaddr *net_peer(const struct net_conn *conn);
const struct netaddr *net_local(const struct net_conn *conn);

struct net_tls *net_tls_server(const char *certificate, const char *key, struct error *why); /* TLS 1.2+ */
struct net_tls *net_tls_client(const char *ca_file, bool verify, struct error *why);
struct net_tls *net_tls_ref(struct net_tls *tls);
void net_tls_unref(struct net_tls **tls);

/* A socket bound with SO_REUSEPORT in the master, for a worker to listen() on. -1: why. */
int net_bind(const struct netaddr *address, struct error *why);
/* false: another program listens there (SO_REUSEPORT would share the port with it without a word), or the address is not ours. */
bool net_is_free(const struct netaddr *address, struct error *why);
/* Clients are refused at once, but the port stays taken: net_is_free() says no. Whoever listened on fd is freed already; net_listen() may begin again. */
void net_stop_listening(int fd);
struct net_listener;
/* Takes fd, listens and accepts; NULL: it cannot (errno), and fd is still the caller's. `accepted` takes its fd (net_accept). When descriptors run out it rests for 100 ms at a time. */
struct net_listener *net_listen(struct event_base *base, int fd, void (*accepted)(void *arg, int fd, const struct netaddr *peer,
                                                                                 const struct netaddr *local), void *arg);
void net_listener_enable(struct net_listener *listener, bool on);
void net_listener_free(struct net_listener **listener);

#endif
