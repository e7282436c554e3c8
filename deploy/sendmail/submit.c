/* submit.c - see submit.h */
#include "deploy/sendmail/submit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "common/memory.h"
#include "deploy/sendmail/internal.h"

#define CHUNK 32768

int submit_status_of_refusal(const char *enhanced)
{
    static const struct {
        const char *enhanced;
        int status;
    } known[] = { { "5.1.0", EX_NOUSER }, { "5.1.1", EX_NOUSER }, { "5.1.2", EX_NOHOST }, { "5.1.3", EX_NOUSER },
                  { "5.1.6", EX_NOUSER }, { "5.1.10", EX_NOHOST }, { "5.2.1", EX_NOUSER } };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].enhanced, enhanced) == 0)
            return known[i].status;
    return strncmp(enhanced, "5.7.", 4) == 0 ? EX_NOPERM : EX_UNAVAILABLE;
}

static size_t count_in(const struct recipients *recipients, enum recipient_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < recipients->count; i++)
        count += recipients->items[i].state == state;
    return count;
}

/* All in one state get another, with the words of a reply. */
static void settle_all(struct recipients *recipients, enum recipient_state from, enum recipient_state to, const struct smtp_reply *reply)
{
    for (size_t i = 0; i < recipients->count; i++)
        if (recipients->items[i].state == from)
            recipient_settle(&recipients->items[i], to, reply->code, reply->enhanced, reply->text);
}

static void settle_by_reply(struct recipients *recipients, enum recipient_state from, const struct smtp_reply *reply)
{
    settle_all(recipients, from, reply->code < 300 ? RECIPIENT_SENT : reply->code < 500 ? RECIPIENT_PENDING : RECIPIENT_REFUSED, reply);
}

/* No reply, so nobody knows what this host thinks; another one may take them. */
static void settle_lost(struct recipients *recipients, const char *words)
{
    struct smtp_reply none = { .code = 0 };
    snprintf(none.text, sizeof none.text, "%s", words);
    settle_all(recipients, RECIPIENT_PENDING, RECIPIENT_PENDING, &none);
    settle_all(recipients, RECIPIENT_TAKEN, RECIPIENT_PENDING, &none);
}

static bool send_stuffed(struct wire *wire, const char *bytes, size_t len, bool *at_line_start, struct error *why)
{
    char out[2 * CHUNK];
    while (len > 0) {
        size_t piece = len < CHUNK ? len : CHUNK;
        if (!wire_send(wire, out, smtp_dot_stuff(out, bytes, piece, at_line_start), why))
            return false;
        bytes += piece, len -= piece;
    }
    return true;
}

/* The message and its final dot; false: the connection is of no use any more, *maybe says whether the message may have arrived. */
static bool send_message(struct host *host, const struct submission *submission, struct smtp_reply *reply, bool *maybe, struct error *why)
{
    const struct mail *mail = submission->mail;
    bool at_line_start = true;

    *maybe = false;
    if (!send_stuffed(&host->wire, mail->header.bytes, mail->header.len, &at_line_start, why) ||
        !send_stuffed(&host->wire, mail->body, mail->body_len, &at_line_start, why)) {
        host->dialog.state = HOP_CLOSED;
        return false;
    }
    *maybe = true;
    hop_dialog_body_sent(&host->dialog);
    if (!wire_send(&host->wire, ".\r\n", 3, why)) {
        host->dialog.state = HOP_CLOSED;
        return false;
    }
    return host_step(host, reply, why) == HOP_ANSWER;
}

static bool offer_recipients(struct host *host, struct submission *submission, struct smtp_reply *reply, struct error *why)
{
    struct recipients *recipients = submission->recipients;
    for (size_t i = 0; i < recipients->count; i++) {
        struct recipient *one = &recipients->items[i];
        if (one->state != RECIPIENT_PENDING)
            continue;
        if (one->utf8 && !host->dialog.extensions.smtputf8) {
            recipient_settle(one, RECIPIENT_REFUSED, 553, "5.6.7", "the host takes no addresses beyond ASCII");
            continue;
        }
        hop_dialog_rcpt(&host->dialog, &(struct hop_rcpt){ .address = one->address, .notify = submission->notify });
        if (host_step(host, reply, why) != HOP_RECIPIENT)
            return false;
        recipient_settle(one, reply->code < 300 ? RECIPIENT_TAKEN : reply->code < 500 ? RECIPIENT_PENDING : RECIPIENT_REFUSED, reply->code,
                         reply->enhanced, reply->text);
    }
    return true;
}

/* One transaction with all that are pending. true: the host is there for another one. */
static bool transaction(struct host *host, struct submission *submission)
{
    struct recipients *recipients = submission->recipients;
    struct smtp_reply reply;
    struct error why;
    bool maybe = false;

    hop_dialog_mail(&host->dialog, &submission->envelope);
    enum hop_event event = host_step(host, &reply, &why);
    if (event == HOP_SENDER_REFUSED) {
        settle_by_reply(recipients, RECIPIENT_PENDING, &reply);
        return false;
    }
    bool going = event == HOP_SENDER_OK && offer_recipients(host, submission, &reply, &why);
    if (going && count_in(recipients, RECIPIENT_TAKEN) == 0)
        return false;
    if (going) {
        hop_dialog_data(&host->dialog);
        event = host_step(host, &reply, &why);
        if (event == HOP_GO_AHEAD) {
            going = send_message(host, submission, &reply, &maybe, &why);
            event = HOP_ANSWER;
        }
        going = going && event == HOP_ANSWER;
    }
    if (going) {
        settle_by_reply(recipients, RECIPIENT_TAKEN, &reply);
        return reply.code < 300 && host->dialog.state == HOP_READY;
    }
    host_tell(host->name, why.text);
    if (maybe)
        settle_all(recipients, RECIPIENT_TAKEN, RECIPIENT_DEFERRED,
                   &(struct smtp_reply){ .text = "no answer to the message, which may have been delivered" });
    settle_lost(recipients, why.text);
    return false;
}

static bool submit_to(struct host *host, void *arg)
{
    struct submission *submission = arg;
    while (transaction(host, submission) && count_in(submission->recipients, RECIPIENT_PENDING) > 0)
        continue;
    host_close(host);
    return count_in(submission->recipients, RECIPIENT_PENDING) > 0;
}

enum host_trouble submit(struct submission *submission)
{
    struct recipients *recipients = submission->recipients;
    enum host_trouble trouble = host_visit_all(submission->settings, submit_to, submission);

    for (size_t i = 0; i < recipients->count; i++)
        if (recipients->items[i].state == RECIPIENT_PENDING) {
            struct recipient *one = &recipients->items[i];
            char *words = xstrdup(one->words[0] != '\0' ? one->words : "no host takes mail");
            recipient_settle(one, RECIPIENT_DEFERRED, one->code, one->enhanced, words);
            free(words);
        }
    return trouble;
}
