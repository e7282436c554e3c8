/*
 * notice.c - see notice.h
 *
 * Once a day without anybody to remember it: each edge makes the notice's queue id of client, owner and day (UTC), and the spool takes an id once, also
 * after the first copy was delivered (coordinator/spool). The worker's own memory of the last one only saves questions.
 */
#include "edge/session/notice.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/delivery/delivery.h"
#include "edge/message/message.h"
#include "edge/session/internal.h"
#include "edge/spool/store.h"

#define UNDER_WAY_MAX 16 /* more hosts at once: their next virus tells */
#define DAY_MS        86400000ull
#define TEXT_MAX      4096

struct notice {
    struct server *server;
    struct message *message;
    struct spool_store *store;
    struct queue_id id;
    struct notice *next;
};

/* A network's name may be a mail address. */
static bool owner_of(char out[SMTP_ADDRESS_MAX], const char *name)
{
    struct smtp_address parsed;
    if (name == NULL || strchr(name, '@') == NULL || smtp_mailbox_parse(&parsed, name, strlen(name), false) != SMTP_ADDRESS_OK)
        return false;
    snprintf(out, SMTP_ADDRESS_MAX, "%s", name);
    return true;
}

static struct queue_id notice_id(const char *client, const char *owner, uint64_t now_ms)
{
    struct queue_id_source source;
    char *key = xasprintf("virus notice %s %s", client, owner);
    queue_id_source_init(&source, key, 0, 0);
    free(key);
    return queue_id_next(&source, now_ms - now_ms % DAY_MS);
}

static void notice_free(struct notice *notice)
{
    struct notice **link = &notice->server->notices;
    while (*link != notice)
        link = &(*link)->next;
    *link = notice->next;
    notice->server->notice_count--;
    if (notice->store != NULL)
        spool_store_cancel(&notice->store);
    message_free(&notice->message);
    free(notice);
}

void notices_cancel(struct server *server)
{
    while (server->notices != NULL)
        notice_free(server->notices);
}

static void on_stored(void *arg, enum spool_stored stored, const char *why)
{
    struct notice *notice = arg;
    notice->store = NULL; /* freed right after this */
    if (stored == SPOOL_STORED) {
        notice->server->last_notice = notice->id;
        metric_add(notice->server->notices_stored, 1);
    } else {
        log_write(LOG_WARNING, "%s: the notice of a virus was not stored: %s", notice->id.text, why);
    }
    notice_free(notice);
}

static void make_plain(char *text) /* peers chose it: no header of theirs, and nothing that needs SMTPUTF8 */
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static bool write_message(struct notice *notice, const char *client, const char *owner, const char *about, const char *sender, const char *signature)
{
    const struct server *server = notice->server;
    const char *contact = server->config->cluster.contact;
    char text[TEXT_MAX], date[40], *from = xstrdup(sender), *found = xstrdup(signature);
    struct error why;
    make_plain(from);
    make_plain(found);
    int len = snprintf(text, sizeof text,
                       "Date: %s\r\nFrom: Mail Delivery System <MAILER-DAEMON@%s>\r\nTo: <%s>\r\nSubject: %s sent a virus\r\n"
                       "Message-ID: <%s@%s>\r\nAuto-Submitted: auto-generated\r\nX-Weir-Queue-ID: %s\r\n\r\n"
                       "A message from the host %s had a virus and went no further.\r\n\r\n"
                       "    found:   %.200s\r\n    sender:  <%.600s>\r\n    message: %s\r\n\r\n"
                       "You are told because your address stands at the host's network. Others may\r\n"
                       "follow; of this host you will hear no more today.\r\n%s%.600s%s",
                       clock_rfc5322(date), server->config->hostname, owner, client, notice->id.text, server->config->hostname, about,
                       client, *found != '\0' ? found : "(unnamed)", from, about, contact != NULL && *contact != '\0' ? "\r\nFor help: " : "",
                       contact != NULL ? contact : "", contact != NULL && *contact != '\0' ? "\r\n" : "");
    free(from);
    free(found);
    return message_append(notice->message, text, len < (int)sizeof text ? (size_t)len : sizeof text - 1, &why) == MESSAGE_OK;
}

static void store(struct notice *notice, const char *listener, const struct readers *readers)
{
    struct server *server = notice->server;
    Weir__SpoolEnvelope envelope = WEIR__SPOOL_ENVELOPE__INIT;
    Weir__SpoolRecipients recipients = readers_list(readers);
    envelope.id = wire_text(notice->id.text);
    envelope.listener = wire_text(listener);
    envelope.node = wire_text(server->node_name);
    envelope.time_ms = clock_wall_ms();
    envelope.policy_epoch = server->policy_epoch;
    envelope.dsn = true;
    struct spool_store_options options = {
        .base = server->base,
        .node = server->node,
        .ahead = &server->ahead,
        .envelope = &envelope,
        .recipients = &recipients,
        .prefix = "",
        .message = notice->message,
        .timeout_ms = server->config->edge.spool_timeout,
    };
    notice->store = spool_store_new(&options, on_stored, notice);
}

static bool is_under_way(const struct server *server, const struct queue_id *id)
{
    const struct notice *notice = server->notices;
    while (notice != NULL && strcmp(notice->id.text, id->text) != 0)
        notice = notice->next;
    return notice != NULL;
}

void notice_of_virus(struct server *server, const struct netaddr *client, const char *listener, const char *id, const char *sender,
                     const char *signature)
{
    char client_text[NETADDR_TEXT_MAX], owner[SMTP_ADDRESS_MAX];
    struct readers readers = { 0 };
    if (!server->config->edge.virus_notice || server->policy == NULL || server->node == NULL || !policy_is_inside(server->policy, client))
        return;
    const struct network *network = policy_network(server->policy, client);
    if (network == NULL || !owner_of(owner, network->name))
        return;
    struct queue_id notice_queue_id = notice_id(netaddr_format(client, client_text), owner, clock_wall_ms());
    if (strcmp(notice_queue_id.text, server->last_notice.text) == 0 || is_under_way(server, &notice_queue_id) || server->notice_count >= UNDER_WAY_MAX ||
        !node_is_connected(server->node))
        return;
    if (server_readers(server, owner, &readers) != READERS_FOUND) { /* the host's next virus tells */
        log_write(LOG_WARNING, "%s: <%s> cannot be told of the virus: no route", id, owner);
        return;
    }
    struct notice *notice = xcalloc(1, sizeof *notice);
    *notice = (struct notice){ .server = server, .message = message_new(&server->budget), .id = notice_queue_id, .next = server->notices };
    server->notices = notice;
    server->notice_count++;
    if (write_message(notice, client_text, owner, id, sender, signature))
        store(notice, listener, &readers);
    else
        notice_free(notice);
    readers_fini(&readers);
}
