#ifndef WEIR_EDGE_DELIVERY_H
#define WEIR_EDGE_DELIVERY_H
/*
 * delivery.h - the edge as SMTP client: pooled connections to next hops, and one transaction on one of them
 *
 * Direct hand-over runs beside the client's own transaction: recipients are offered to the next hop as the client names them, so each gets
 * the next hop's own answer; DATA is sent only when delivery_send() is called, after the verdict. A connection that is lost before DATA, or was
 * given back because the client was slow (next_hop_hold, sooner while others wait), is replaced and the envelope repeated; when the answers then differ for an accepted
 * recipient the result is a 4xx for all. Nothing here decides policy.
 */
#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>
#include "common/metrics.h"
#include "common/settings.h"
#include "edge/delivery/egress.h"
#include "edge/dns/dns.h"
#include "edge/message/message.h"
#include "edge/net/net.h"
#include "edge/smtp/reply.h"

struct delivery_pool;
struct delivery;

/* Or, of a recipient who cannot be refused any more, what its sender is to hear: port 0, and host is "550 5.1.1 User unknown". Nothing connects to that. */
struct next_hop {
    char host[256]; /* as routed: a host's name or address; mx: a domain, or the address of an address literal */
    uint16_t port;
    bool mx;        /* mail goes to the MX hosts of the domain, never to ourselves */
};

#define NEXT_HOP_TEXT_MAX 272

bool next_hop_is_same(const struct next_hop *a, const struct next_hop *b);
/* "[host]:port", with mx "domain:port", "error:550 5.1.1 User unknown", "expanded:": the spool's name for it (Weir__SpoolRecipient.destination). Returns out. */
char *next_hop_format(char out[NEXT_HOP_TEXT_MAX], const struct next_hop *hop);
/* false: no such text. */
bool next_hop_parse(struct next_hop *hop, const char *text);
/* In place of a next hop: nothing is sent, only told, of an alias that stands for several addresses; list: of one that has an owner. */
void next_hop_set_expansion(struct next_hop *hop, bool list);
bool next_hop_is_expansion(const struct next_hop *hop, bool *list);
/* The words of a refusal that is to be kept for whoever sent it; text is cut when it has no room. */
void next_hop_set_refusal(struct next_hop *hop, int code, const char *enhanced, const char *text);
/* false: it is a host. out: a reply of ours. */
bool next_hop_refusal(const struct next_hop *hop, struct smtp_reply *out);

struct delivery_handlers {
    /* The next hop's answer to recipient `index` (numbered from 0 in the order of delivery_rcpt). Code 4xx/5xx of MAIL, of the connection,
     * or "next hop unreachable" (451 4.4.1) are given for every recipient. A 421 becomes 450 here. In order of index. */
    void (*recipient)(void *arg, unsigned index, const struct smtp_reply *reply);
    /* After delivery_send(): the final answer for all accepted recipients. maybe_delivered: the connection was lost after the final dot was
     * sent and before the answer, so that a repeat may be a duplicate (logged as such). The delivery is freed right after it returns. */
    void (*done)(void *arg, const struct smtp_reply *reply, bool maybe_delivered);
};

/* Whose attempt it is: a session's direct hand-over, the spool's, or the question whether a recipient exists. */
enum delivery_class { DELIVERY_SESSION, DELIVERY_SPOOL, DELIVERY_PROBE, DELIVERY_CLASSES };

struct delivery_envelope {
    const char *sender;    /* canonical, without brackets; "" is the null sender */
    uint64_t size;         /* SIZE= to the next hop; 0 not known */
    bool eightbit, smtputf8;
    char ret;              /* RFC 3461, to next hops that offer DSN: 'F', 'H' or 0 */
    const char *envid;     /* decoded; "" or NULL: none */
    enum delivery_class class; /* a label of its metrics, nothing else */
    const char *egress;    /* the pool of addresses that it goes out from; "" or NULL: the kernel chooses. One that this edge does not have: 451 4.3.5 for all */
    uint64_t source;       /* whose mail it is (fair_source()): where a line waits for a connection, these take turns */
};

struct delivery_recipient {
    const char *address;   /* canonical */
    unsigned notify;       /* SMTP_NOTIFY_*, 0: not said; to next hops that offer DSN */
    const char *orcpt;     /* decoded: "rfc822;a@b"; "" or NULL: none */
};

/* dns, settings and tls are borrowed. All deliveries are cancelled or done before the pool is freed; their connections say QUIT then. NULL: why. */
struct delivery_pool *delivery_pool_new(struct event_base *base, struct dns *dns, const struct edge_settings *settings,
                                        const struct tls_settings *tls, struct metrics *metrics, struct error *why);
/* Where our own listeners are, with ports: hosts there are ourselves (as MX hosts named hostname or own_names): 554 5.4.6 without a connection.
 * Borrowed. */
void delivery_pool_set_own_addresses(struct delivery_pool *pool, const struct netaddr *addresses, size_t count);
/* What our cluster's edges offer as XWEIR: a host that offers the same is one of them, or ourselves by way of others: 554 5.4.6. "" or too long: none. */
void delivery_pool_set_cluster(struct delivery_pool *pool, const char *mark);
/* The pools that there are, copied. For what begins from now on; idle connections from others end. */
void delivery_pool_set_egresses(struct delivery_pool *pool, const struct egress *egresses, size_t count);
/* For what begins from now on; the same as above. false, and nothing is changed: why. */
bool delivery_pool_reload(struct delivery_pool *pool, const struct edge_settings *settings, const struct tls_settings *tls,
                          struct error *why);
void delivery_pool_free(struct delivery_pool **pool);

/* All strings are copied. Handlers are never called from inside these functions. */
struct delivery *delivery_new(struct delivery_pool *pool, const struct next_hop *hop, const struct delivery_envelope *envelope,
                              const struct delivery_handlers *handlers, void *arg);
void delivery_rcpt(struct delivery *delivery, const struct delivery_recipient *recipient);
/* Sends header_prefix (the Received header and what else is added, CRLF-terminated lines; copied) and then the message from its byte `skip` on (0, or behind
 * its header, where the prefix has an edited one); it is borrowed until `done`. At least one recipient must have been accepted. A message that does not end in CRLF gets one. */
void delivery_send(struct delivery *delivery, const char *header_prefix, size_t prefix_len, const struct message *message, uint64_t skip);
/* Ends the transaction with RSET and gives the connection back (from DATA on: closes it); no event follows. May be called in `recipient`. */
void delivery_cancel(struct delivery **delivery);
/* The same for a message handed over by delivery_send(), while it can still be taken back: before the last byte of its final dot has left, by
 * closing the connection, so that the next hop discards what it has. false: too late, nothing is changed, `done` follows. */
bool delivery_take_back(struct delivery **delivery);
/* "host[192.0.2.9]:25", "" before the first connection; the last one's after it. Borrowed. */
const char *delivery_next_hop_text(const struct delivery *delivery);
/* The right to deliver ends at this time of clock_ms() (a lease): the final dot does not leave after it, the message is answered 451 then. May be
 * moved while the delivery runs. 0: it does not end. */
void delivery_set_deadline(struct delivery *delivery, uint64_t deadline_ms);
/* The next hop offers DSN: what is to be notified is its business from its 250 on (RFC 3461 5.2.1). Of the last connection. */
bool delivery_hop_takes_dsn(const struct delivery *delivery);
/* Bytes of a message that the next hop takes at most (SIZE, RFC 1870), as its last connection said; 0: not known, or any. */
uint64_t delivery_size_limit(const struct delivery *delivery);
/* Inside `recipient`: the next hop said this to RCPT. false: it is about MAIL, the connection or the DNS. */
bool delivery_is_of_rcpt(const struct delivery *delivery);
/* "TLSv1.3 ..." of the connection to the next hop, or "". */
const char *delivery_tls_text(const struct delivery *delivery);

#endif
