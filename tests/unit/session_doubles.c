/*
 * session_doubles.c - see session_doubles.h
 */
#include "tests/unit/session_doubles.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/dns/client_name.h"
#include "edge/dns/dnsbl.h"
#include "edge/smtp/xtext.h"

struct doubles doubles;

/* ---- the DNS ---- */

struct client_name_query *client_name_lookup(struct dns *dns, const struct netaddr *client, void (*done)(void *arg, const char *name),
                                             void *arg)
{
    (void)dns, (void)client;
    doubles.name_done = done;
    doubles.name_arg = arg;
    static char some_query;
    return (struct client_name_query *)&some_query;
}

void client_name_cancel(struct client_name_query **query)
{
    if (*query != NULL) {
        doubles.names_cancelled++;
        doubles.name_done = NULL;
    }
    *query = NULL;
}

struct dnsbl *dnsbl_new(const struct config_list *lists, uint64_t pause_ms, struct error *why)
{
    (void)lists, (void)why;
    doubles.dnsbl_pause_ms = pause_ms;
    return xcalloc(1, 1);
}

void dnsbl_free(struct dnsbl **dnsbl)
{
    free(*dnsbl);
    *dnsbl = NULL;
}

struct dnsbl_query *dnsbl_lookup(struct dnsbl *dnsbl, struct dns *dns, struct metrics *metrics, const struct netaddr *client, uint64_t timeout_ms,
                                 void (*done)(void *arg, const struct dnsbl_verdict *verdict), void *arg)
{
    (void)dnsbl, (void)dns, (void)metrics, (void)client, (void)timeout_ms;
    doubles.lists_done = done;
    doubles.lists_arg = arg;
    static char some_query;
    return (struct dnsbl_query *)&some_query;
}

void dnsbl_cancel(struct dnsbl_query **query)
{
    if (*query != NULL)
        doubles.lists_done = NULL;
    *query = NULL;
}

void dnsbl_says(int score, int missing, const char *zones)
{
    void (*done)(void *, const struct dnsbl_verdict *) = doubles.lists_done;
    struct dnsbl_verdict verdict = { .score = score, .missing = missing };
    snprintf(verdict.zones, sizeof verdict.zones, "%s", zones);
    doubles.lists_done = NULL;
    done(doubles.lists_arg, &verdict);
}

void dns_says_name(const char *name)
{
    void (*done)(void *, const char *) = doubles.name_done;
    doubles.name_done = NULL;
    done(doubles.name_arg, name);
}

/* ---- clock ---- */

uint64_t clock_ms(void)
{
    return doubles.now_ms;
}
uint64_t clock_us(void)
{
    return doubles.now_ms * 1000;
}
uint64_t clock_wall_ms(void)
{
    return 1795286928000u + doubles.now_ms;
}
char *clock_rfc5322(char out[40])
{
    return strcpy(out, "Sat, 21 Nov 2026 18:48:48 +0000");
}

/* ---- net ---- */

struct net_conn {
    const struct net_handlers *handlers;
    void *arg;
    char *in;
    size_t in_len;
    bool paused, resumed, tls, start_tls, busy, freed;
};

struct net_conn *net_accept(struct event_base *base, int fd, const struct net_handlers *handlers, void *arg)
{
    (void)base, (void)fd;
    struct net_conn *conn = xcalloc(1, sizeof *conn);
    conn->handlers = handlers;
    conn->arg = arg;
    doubles.conn = conn;
    doubles.most = SIZE_MAX;
    return conn;
}

static void conn_destroy(struct net_conn *conn)
{
    free(conn->in);
    free(conn);
}

void net_free(struct net_conn **conn)
{
    if (*conn != NULL) {
        doubles.conn = NULL;
        (*conn)->freed = true;
        if (!(*conn)->busy)
            conn_destroy(*conn);
    }
    *conn = NULL;
}

void net_close_after_flush(struct net_conn **conn)
{
    doubles.closed = true;
    net_free(conn);
}

void net_write(struct net_conn *conn, const void *data, size_t len)
{
    (void)conn;
    if (doubles.out_len + len > sizeof doubles.out)
        abort();
    memcpy(doubles.out + doubles.out_len, data, len);
    doubles.out_len += len;
}

void net_set_source(struct net_conn *conn, uint64_t source)
{
    (void)conn, (void)source;
}

void net_offer_most(struct net_conn *conn, size_t most)
{
    (void)conn;
    doubles.most = most;
}

size_t net_unsent(const struct net_conn *conn)
{
    (void)conn;
    return doubles.choke ? doubles.out_len : 0;
}

void net_pause(struct net_conn *conn)
{
    conn->paused = true;
}

void net_resume(struct net_conn *conn)
{
    conn->resumed |= conn->paused;
    conn->paused = false;
}

bool net_start_tls(struct net_conn *conn, struct net_tls *tls, bool server, const char *host_name)
{
    (void)tls, (void)server, (void)host_name;
    conn->start_tls = true;
    return true;
}

bool net_is_tls(const struct net_conn *conn)
{
    return conn->tls;
}

const char *net_tls_text(const struct net_conn *conn)
{
    return conn->tls ? "TLSv1.3 TLS_AES_256_GCM_SHA384" : "";
}

struct net_tls *net_tls_server(const char *certificate, const char *key, struct error *why)
{
    (void)certificate, (void)key, (void)why;
    static int some_tls;
    return (struct net_tls *)&some_tls;
}

void net_tls_unref(struct net_tls **tls)
{
    *tls = NULL;
}

/* Once: at most as many bytes as are wanted. true: there are more, and they are wanted, too. */
static bool conn_offer_some(struct net_conn *conn)
{
    size_t len = conn->in_len < doubles.most ? conn->in_len : doubles.most, behind = conn->in_len - len;
    char *all = conn->in, *offered = xmemdup(all, len); /* exactly as long as it is, so that a sanitizer sees a byte read too far */
    conn->in = NULL;
    conn->in_len = 0;
    conn->busy = true;
    size_t used = conn->handlers->bytes(conn->arg, offered, len);
    conn->busy = false;
    free(offered);
    if (used > len)
        abort();
    conn->in_len = behind + len - used;
    conn->in = xmemdup(all + used, conn->in_len);
    free(all);
    if (conn->freed) {
        conn_destroy(conn);
        return false;
    }
    if (conn->start_tls) {
        conn->start_tls = false;
        if (used < len) { /* what was not offered yet is in the kernel, for the handshake */
            conn->handlers->gone(conn->arg, NET_TLS_FAILED, "bytes in clear behind STARTTLS");
            return false;
        }
        conn->tls = true;
        conn->handlers->secured(conn->arg);
    }
    return doubles.conn == conn && behind > 0 && (used > 0 || doubles.most > len);
}

static void conn_offer(struct net_conn *conn)
{
    while (!conn->paused && conn->in_len > 0 && conn_offer_some(conn))
        ;
}

void client_sends(const char *bytes, size_t len)
{
    struct net_conn *conn = doubles.conn;
    if (conn == NULL)
        return;
    conn->in = xrealloc(conn->in, conn->in_len + len);
    memcpy(conn->in + conn->in_len, bytes, len);
    conn->in_len += len;
    conn_offer(conn);
}

void client_goes(void)
{
    if (doubles.conn != NULL)
        doubles.conn->handlers->gone(doubles.conn->arg, NET_CLOSED, "connection closed");
}

void client_ends(void)
{
    if (doubles.conn != NULL)
        doubles.conn->handlers->ended(doubles.conn->arg);
}

void doubles_settle(struct event_base *base)
{
    for (int turn = 0; turn < 16; turn++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        if (doubles.conn != NULL && doubles.conn->resumed) {
            doubles.conn->resumed = false;
            conn_offer(doubles.conn);
        }
    }
}

/* ---- scan ---- */

struct scan {
    const struct scan_handlers *handlers;
    void *arg;
};

bool scan_farm_has_live(const struct scan_farm *farm)
{
    (void)farm;
    return doubles.farm_live;
}

bool scan_farm_has_room(const struct scan_farm *farm)
{
    (void)farm;
    return true;
}

struct scan *scan_start(struct scan_farm *farm, const struct queue_id *id, const struct message *message,
                        const struct scan_facts *facts, const struct scan_handlers *handlers, void *arg)
{
    (void)farm, (void)id, (void)message;
    doubles.names_attachments = facts->attachments;
    struct scan *scan = xcalloc(1, sizeof *scan);
    scan->handlers = handlers;
    scan->arg = arg;
    doubles.scan = scan;
    doubles.scans_started++;
    return scan;
}

void scan_feed(struct scan *scan)
{
    (void)scan;
}

void scan_finish(struct scan *scan)
{
    (void)scan;
    doubles.scans_finished++;
}

static struct scan *take_scan(void)
{
    struct scan *scan = doubles.scan;
    if (scan == NULL) {
        fprintf(stderr, "no scan is under way\n");
        abort();
    }
    doubles.scan = NULL;
    return scan;
}

void scan_cancel(struct scan **scan)
{
    free(*scan);
    *scan = NULL;
    doubles.scan = NULL;
    doubles.scans_cancelled++;
}

void scanner_says(Weir__Verdict verdict, Weir__UnknownReason reason, const char *signature)
{
    struct scan *scan = take_scan();
    struct scan_result result = { .verdict = verdict, .reason = reason, .scanner = "scanner-1", .engine = "ClamAV 1.4.6", .signatures = "42" };
    snprintf(result.signature, sizeof result.signature, "%s", signature);
    scan->handlers->done(scan->arg, &result);
    free(scan);
}

void farm_is_busy(void)
{
    struct scan *scan = take_scan();
    scan->handlers->busy(scan->arg, "every scanner said BUSY");
    free(scan);
}

void farm_presses(bool full)
{
    doubles.scan->handlers->pressure(doubles.scan->arg, full);
}

/* ---- delivery ---- */

struct delivery {
    const struct delivery_handlers *handlers;
    void *arg;
    unsigned asked, answered;
    bool sent;
};

struct delivery *delivery_new(struct delivery_pool *pool, const struct next_hop *hop, const struct delivery_envelope *envelope,
                              const struct delivery_handlers *handlers, void *arg)
{
    (void)pool;
    snprintf(doubles.hop_sender, sizeof doubles.hop_sender, "%s", envelope->sender);
    struct delivery *delivery = xcalloc(1, sizeof *delivery);
    delivery->handlers = handlers;
    delivery->arg = arg;
    doubles.delivery = delivery;
    doubles.deliveries++;
    snprintf(doubles.hop_host, sizeof doubles.hop_host, "%s:%u", hop->host, hop->port);
    return delivery;
}

void delivery_rcpt(struct delivery *delivery, const struct delivery_recipient *recipient)
{
    delivery->asked++;
    doubles.hop_rcpts++;
    strncat(doubles.hop_recipients, recipient->address, sizeof doubles.hop_recipients - strlen(doubles.hop_recipients) - 2);
    strcat(doubles.hop_recipients, " ");
}

uint64_t delivery_size_limit(const struct delivery *delivery)
{
    (void)delivery;
    return doubles.hop_size;
}

bool delivery_hop_takes_dsn(const struct delivery *delivery)
{
    (void)delivery;
    return false;
}

void delivery_send(struct delivery *delivery, const char *header_prefix, size_t prefix_len, const struct message *message, uint64_t skip)
{
    struct error why;
    delivery->sent = true;
    snprintf(doubles.sent_prefix, sizeof doubles.sent_prefix, "%.*s", (int)prefix_len, header_prefix);
    doubles.sent_len = (size_t)(message_size(message) - skip);
    doubles.sent_body = xrealloc(doubles.sent_body, doubles.sent_len + 1);
    if (message_read(message, skip, doubles.sent_body, doubles.sent_len, &why) != (ssize_t)doubles.sent_len)
        abort();
    doubles.sent_body[doubles.sent_len] = '\0';
}

void delivery_cancel(struct delivery **delivery)
{
    if (*delivery == NULL)
        return;
    if (doubles.delivery == *delivery)
        doubles.delivery = NULL;
    free(*delivery);
    *delivery = NULL;
    doubles.deliveries_cancelled++;
}

bool delivery_take_back(struct delivery **delivery)
{
    if (doubles.dot_sent)
        return false;
    delivery_cancel(delivery);
    return true;
}

const char *delivery_next_hop_text(const struct delivery *delivery)
{
    (void)delivery;
    return "sink.example.edu[192.0.2.9]:2525";
}

static struct smtp_reply reply_of(int code, const char *enhanced, const char *text)
{
    struct smtp_reply reply = { .code = code };
    snprintf(reply.enhanced, sizeof reply.enhanced, "%s", enhanced);
    snprintf(reply.text, sizeof reply.text, "%s", text);
    return reply;
}

bool next_hop_owes_recipients(void)
{
    return doubles.delivery != NULL && doubles.delivery->answered < doubles.delivery->asked;
}

bool next_hop_has_message(void)
{
    return doubles.delivery != NULL && doubles.delivery->sent;
}

void next_hop_answers_rcpt(int code, const char *enhanced, const char *text, bool own)
{
    struct smtp_reply reply = reply_of(code, enhanced, text);
    reply.own = own;
    reply.closing = code == 421; /* as the delivery says it */
    reply.code = code == 421 ? 450 : code;
    struct delivery *delivery = doubles.delivery;
    if (delivery == NULL || delivery->answered == delivery->asked) {
        fprintf(stderr, "no recipient was offered to the next hop\n");
        abort();
    }
    delivery->handlers->recipient(delivery->arg, delivery->answered++, &reply);
}

void next_hop_answers(int code, const char *enhanced, const char *text, bool maybe)
{
    struct smtp_reply reply = reply_of(code, enhanced, text);
    struct delivery *delivery = doubles.delivery;
    if (delivery == NULL || !delivery->sent) {
        fprintf(stderr, "no message was handed over\n");
        abort();
    }
    doubles.delivery = NULL;
    delivery->handlers->done(delivery->arg, &reply, maybe);
    free(delivery);
}

/* ---- coordinator ---- */

void node_report(struct node *node, const Weir__AuditRow *row)
{
    (void)node;
    size_t len = strlen(doubles.rows);
    snprintf(doubles.rows + len, sizeof doubles.rows - len, "%.*s %.*s %u%s%.*s\n", (int)row->recipient.len, (const char *)row->recipient.data,
             (int)row->disposition.len, (const char *)row->disposition.data, row->reply_code, row->given.len > 0 ? " for " : "",
             (int)row->given.len, (const char *)row->given.data);
    doubles.row_policy_epoch = row->policy_epoch;
    wire_string(doubles.row_rule, sizeof doubles.row_rule, &row->rule);
}

bool node_is_connected(const struct node *node)
{
    (void)node;
    return doubles.spool_up;
}

bool node_spool_is_full(const struct node *node)
{
    (void)node;
    return doubles.spool_up && doubles.spool_full;
}

/* ---- spool ---- */

struct spool_store {
    spool_stored_handler stored;
    void *arg;
};

struct spool_store *spool_store_new(const struct spool_store_options *options, spool_stored_handler stored, void *arg)
{
    struct spool_store *store = xcalloc(1, sizeof *store);
    store->stored = stored;
    store->arg = arg;
    doubles.store = store;
    doubles.stores++;
    size_t len = (size_t)snprintf(doubles.stored_as, sizeof doubles.stored_as, "%s", options->envelope->scanned ? "scanned" : "unscanned");
    if (options->envelope->stopped.len > 0)
        len += (size_t)snprintf(doubles.stored_as + len, sizeof doubles.stored_as - len, ", to rest for %.*s,", (int)options->envelope->stopped.len, (const char *)options->envelope->stopped.data);
    if (options->envelope->sender.len > 6 && memcmp(options->envelope->sender.data, "owner-", 6) == 0)
        len += (size_t)snprintf(doubles.stored_as + len, sizeof doubles.stored_as - len, " of %.*s", (int)options->envelope->sender.len, (const char *)options->envelope->sender.data);
    if (options->envelope->envid.len > 0)
        len += (size_t)snprintf(doubles.stored_as + len, sizeof doubles.stored_as - len, " envid=%.*s", (int)options->envelope->envid.len, (const char *)options->envelope->envid.data);
    if (options->envelope->ret != 0)
        len += (size_t)snprintf(doubles.stored_as + len, sizeof doubles.stored_as - len, " ret=%u", options->envelope->ret);
    size_t count = options->recipients->n_recipients, packed;
    uint8_t *bytes = wire_recipients_encode(options->recipients, &packed);
    doubles.stored_fits = bytes != NULL && packed + 7 * count <= WIRE_LIST_MAX; /* as the coordinator wants it, for a lease */
    free(bytes);
    for (size_t i = 0; i < count && len < sizeof doubles.stored_as; i++) {
        const Weir__SpoolRecipient *recipient = options->recipients->recipients[i];
        ProtobufCBinaryData given = wire_recipient_given(recipient);
        len += (size_t)snprintf(doubles.stored_as + len, sizeof doubles.stored_as - len, " %.*s%s%.*s>%.*s%s%s", (int)given.len,
                                (const char *)given.data, given.len > 0 ? ">" : "", (int)recipient->address.len,
                                (const char *)recipient->address.data, (int)recipient->destination.len,
                                (const char *)recipient->destination.data, recipient->quarantine != WEIR__QUARANTINE__QUARANTINE_NOT ? " for " : "",
                                wire_quarantine_name(recipient->quarantine));
        char notify[SMTP_NOTIFY_TEXT_MAX];
        if (recipient->notify != 0 && len < sizeof doubles.stored_as)
            len += (size_t)snprintf(doubles.stored_as + len, sizeof doubles.stored_as - len, " notify=%s", smtp_notify_format(notify, recipient->notify));
        ProtobufCBinaryData sender = wire_recipient_sender(options->envelope, recipient);
        if ((sender.len != options->envelope->sender.len || memcmp(sender.data, options->envelope->sender.data, sender.len) != 0) && len < sizeof doubles.stored_as)
            len += (size_t)snprintf(doubles.stored_as + len, sizeof doubles.stored_as - len, " as %.*s", (int)sender.len, (const char *)sender.data);
    }
    return store;
}

bool spool_store_let_in(const struct spool_store *store, uint32_t index)
{
    return store != NULL && (doubles.let_in >> index & 1) == 1;
}

bool spool_store_is_late(const struct spool_store *store)
{
    return store != NULL;
}

void spool_store_cancel(struct spool_store **store)
{
    if (*store != NULL)
        doubles.store = NULL;
    free(*store);
    *store = NULL;
}

void spool_answers(enum spool_stored stored)
{
    struct spool_store *store = doubles.store;
    if (store == NULL) {
        fprintf(stderr, "nothing is being stored\n");
        abort();
    }
    doubles.store = NULL;
    store->stored(store->arg, stored, "");
    free(store);
}

/* ---- verifier ---- */

struct verify_wait {
    verify_handler handler;
    void *arg;
};

/* "known@...": at once. */
struct verify_wait *verifier_ask(struct verifier *verifier, const struct next_hop *hop, const char *address, struct verify_opinion *opinion,
                                 verify_handler handler, void *arg)
{
    (void)verifier, (void)hop;
    size_t at = 0;
    if (strncmp(address, "known@", 6) == 0 || strncmp(address, "nobody@", 7) == 0) {
        *opinion = (struct verify_opinion){ .result = address[0] == 'k' ? VERIFY_EXISTS : VERIFY_MISSING, .code = 550, .text = "remembered" };
        return NULL;
    }
    while (doubles.waits[at] != NULL)
        at++;
    doubles.waits[at] = calloc(1, sizeof *doubles.waits[at]);
    *doubles.waits[at] = (struct verify_wait){ handler, arg };
    return doubles.waits[at];
}

static struct verify_wait wait_out(size_t at)
{
    struct verify_wait wait = *doubles.waits[at];
    free(doubles.waits[at]);
    for (; doubles.waits[at] != NULL; at++)
        doubles.waits[at] = doubles.waits[at + 1];
    return wait;
}

void verify_wait_cancel(struct verify_wait **wait)
{
    size_t at = 0;
    if (*wait == NULL)
        return;
    while (doubles.waits[at] != *wait)
        at++;
    wait_out(at);
    *wait = NULL;
}

void verifier_says(enum verify_result result, const char *text, bool later)
{
    struct verify_opinion opinion = { .result = result, .code = result == VERIFY_EXISTS ? 250 : 550 };
    const struct verify_wait *which = doubles.waits[later];
    if (which == NULL) {
        fprintf(stderr, "no recipient is being verified\n");
        abort();
    }
    snprintf(opinion.text, sizeof opinion.text, "%s", text);
    struct verify_wait wait = wait_out(later);
    wait.handler(wait.arg, which, &opinion);
}

/* ---- reputation ---- */

struct book_entry *feed_client(const struct feed *feed, const struct netaddr *client)
{
    (void)feed, (void)client;
    return doubles.client_entry;
}

struct book_entry *feed_host(const struct feed *feed, const struct netaddr_prefix *host)
{
    (void)feed, (void)host;
    return doubles.host_entry;
}

struct book_entry *feed_login(const struct feed *feed, const char *login)
{
    (void)feed, (void)login;
    return doubles.login_entry;
}

/* ---- limiter ---- */

struct limit_query {
    limit_handler handler;
    void *arg;
};

struct limit_query *limiter_take(struct limiter *limiter, const struct limit_cost *costs, size_t count, struct limit_verdict *verdict, limit_handler handler, void *arg)
{
    (void)limiter;
    char *out = doubles.limit_asked;
    size_t cap = sizeof doubles.limit_asked;
    *out = '\0';
    for (size_t i = 0; i < count; i++) {
        char bucket[LIMIT_BUCKET_MAX];
        size_t len = strlen(out);
        snprintf(out + len, cap - len, "%s%s %llu", i > 0 ? ", " : "", limit_bucket_name(bucket, costs[i].rule, costs[i].subject), (unsigned long long)costs[i].cost);
    }
    doubles.limit_first = *costs[0].rule;
    snprintf(doubles.limit_subject, sizeof doubles.limit_subject, "%s", costs[0].subject);
    *verdict = (struct limit_verdict){ .refused = false };
    doubles.limit = calloc(1, sizeof *doubles.limit);
    *doubles.limit = (struct limit_query){ handler, arg };
    return doubles.limit;
}

void limit_query_cancel(struct limit_query **query)
{
    if (*query == NULL)
        return;
    doubles.limit = NULL;
    free(*query);
    *query = NULL;
}

void limiter_says(bool refused)
{
    struct limit_verdict verdict = { .refused = refused, .rule = doubles.limit_first };
    if (doubles.limit == NULL) {
        fprintf(stderr, "no limit is asked\n");
        abort();
    }
    struct limit_query query = *doubles.limit;
    snprintf(verdict.subject, sizeof verdict.subject, "%s", doubles.limit_subject);
    free(doubles.limit);
    doubles.limit = NULL;
    query.handler(query.arg, &verdict);
}

/* ---- questions ---- */

struct node_question {
    node_answer_handler answer;
    void *arg;
};

struct node_question *node_ask(struct node *node, Weir__Question *question, const struct link_payload *payloads, size_t count,
                               uint64_t timeout_ms, node_answer_handler answer, void *arg)
{
    (void)node, (void)payloads, (void)count;
    doubles.question_ms = timeout_ms;
    if (question->body_case == WEIR__QUESTION__BODY_OUTBREAK_ASK) { /* what counts */
        doubles.suspects = 0;
        for (size_t i = 0; i < question->outbreak_ask->n_attachments; i++)
            doubles.suspects += question->outbreak_ask->attachments[i]->counts;
    } else if (question->body_case == WEIR__QUESTION__BODY_PERSONAL_ASK) { /* "of the envelope, in From" */
        char senders[2][120] = { "", "" };
        for (size_t i = 0; i < question->personal_ask->n_senders; i++)
            wire_string(senders[i], sizeof senders[i], &question->personal_ask->senders[i]);
        snprintf(doubles.login, sizeof doubles.login, "%s %s", senders[0], senders[1]);
        *doubles.password = '\0';
    } else {
        wire_string(doubles.login, sizeof doubles.login, &question->auth_check->login);
        wire_string(doubles.password, sizeof doubles.password, &question->auth_check->password);
    }
    doubles.question = calloc(1, sizeof *doubles.question);
    *doubles.question = (struct node_question){ answer, arg };
    return doubles.question;
}

void node_question_cancel(struct node_question **question)
{
    if (*question == NULL)
        return;
    doubles.questions_cancelled++;
    doubles.question = NULL;
    free(*question);
    *question = NULL;
}

void coordinator_says(Weir__AuthOutcome outcome, const char *account, const char *sender)
{
    struct node_question question = *doubles.question;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__AuthResult result = WEIR__AUTH_RESULT__INIT;
    ProtobufCBinaryData senders[] = { wire_text(sender) };
    result.outcome = outcome;
    result.account = wire_text(account);
    result.senders = senders;
    result.n_senders = sender != NULL ? 1 : 0;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_AUTH_RESULT;
    answer.auth_result = &result;
    free(doubles.question);
    doubles.question = NULL;
    question.answer(question.arg, outcome != 0 ? &answer : NULL, NULL, 0);
}

void coordinator_knows_blocks(uint32_t *blocked, size_t count)
{
    struct node_question question = *doubles.question;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__PersonalKnown known = WEIR__PERSONAL_KNOWN__INIT;
    known.blocked = blocked;
    known.n_blocked = count;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_PERSONAL_KNOWN;
    answer.personal_known = &known;
    free(doubles.question);
    doubles.question = NULL;
    question.answer(question.arg, blocked != NULL ? &answer : NULL, NULL, 0);
}

void doubles_reset(void)
{
    free(doubles.sent_body);
    memset(&doubles, 0, sizeof doubles);
    doubles.farm_live = doubles.spool_up = true;
    doubles.now_ms = 1000000;
    doubles.row_at = doubles.rows;
}
