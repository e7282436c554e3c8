/*
 * dsn.c - see dsn.h
 *
 * Three parts: words for a person, fields for a program, and what is returned. Replies of other hosts stand in the first two: their control bytes
 * are gone already (reply.h), what is not ASCII becomes '?', and no line gets longer than RFC 5322 allows.
 */
#include "edge/spool/dsn.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "edge/smtp/command.h"

#define LINE_WRAP 900 /* octets; RFC 5322 2.1.1 allows 998 */
#define WORDS_MAX 1024 /* octets of one reply as it is written, each time: a report of many recipients has an end */

struct out {
    char *bytes;
    size_t len, cap;
};

static void put_bytes(struct out *out, const char *bytes, size_t len)
{
    if (out->len + len > out->cap) {
        out->cap = 2 * (out->len + len);
        out->bytes = xrealloc(out->bytes, out->cap);
    }
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

static void put(struct out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct out *out, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put_bytes(out, text, len < (int)sizeof text ? (size_t)len : sizeof text - 1);
}

/* Another host's words: '\n' and long lines go on in a line that begins with white space. Cut at WORDS_MAX. */
static void put_words(struct out *out, const char *words)
{
    size_t column = 0, end = out->len + WORDS_MAX;
    for (; *words != '\0' && out->len < end; words++) {
        char c = *words;
        if (c == '\n' || column >= LINE_WRAP) {
            put(out, "\r\n    ");
            column = 0;
            if (c == '\n')
                continue;
        }
        if (c < ' ' || c > '~')
            c = '?';
        put_bytes(out, &c, 1);
        column++;
    }
}

static bool is_ascii(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)bytes[i] > 0x7f)
            return false;
    return true;
}

bool dsn_needs_smtputf8(const struct dsn *dsn)
{
    bool ascii = is_ascii(dsn->sender, strlen(dsn->sender));
    for (size_t i = 0; i < dsn->count; i++)
        ascii &= is_ascii(dsn->recipients[i].address, strlen(dsn->recipients[i].address)) &&
                 is_ascii(dsn->recipients[i].original, strlen(dsn->recipients[i].original));
    return !ascii;
}

bool dsn_needs_8bit(const struct dsn *dsn)
{
    return dsn_needs_smtputf8(dsn) || !is_ascii(dsn->returned, dsn->returned_len);
}

bool dsn_is_due(unsigned notify, enum dsn_action action)
{
    static const unsigned asked[DSN_ACTIONS] = {
        [DSN_FAILED] = SMTP_NOTIFY_FAILURE,
        [DSN_DELAYED] = SMTP_NOTIFY_DELAY,
        [DSN_RELAYED] = SMTP_NOTIFY_SUCCESS,
        [DSN_EXPANDED] = SMTP_NOTIFY_SUCCESS,
        [DSN_DELIVERED] = SMTP_NOTIFY_SUCCESS,
    };
    if (notify == 0) /* RFC 3461 4.1: failures, and delays as the host sees fit */
        return action < DSN_RELAYED;
    return (notify & asked[action]) != 0;
}

size_t dsn_header_length(const char *bytes, size_t len, size_t max)
{
    size_t end = 0, most = len < max ? len : max;
    while (end < most) {
        const char *newline = memchr(bytes + end, '\n', most - end);
        if (newline == NULL)
            break;
        size_t next = (size_t)(newline - bytes) + 1;
        if (next - end <= 2 && (next - end == 1 || bytes[end] == '\r'))
            break;
        end = next;
    }
    return end;
}

static enum dsn_action worst(const struct dsn *dsn)
{
    enum dsn_action action = DSN_DELIVERED;
    for (size_t i = 0; i < dsn->count; i++)
        if (dsn->recipients[i].action < action)
            action = dsn->recipients[i].action;
    return action;
}

/* A boundary that what is returned does not contain: its writer may have guessed the id. */
static void choose_boundary(char out[64], const struct dsn *dsn)
{
    unsigned turn = 0;
    do
        snprintf(out, 64, "=_%s.%u", dsn->id, turn++);
    while (dsn->returned_len > 0 && memmem(dsn->returned, dsn->returned_len, out, strlen(out)) != NULL);
}

static void put_header(struct out *out, const struct dsn *dsn, const char *boundary)
{
    static const char *const subjects[DSN_ACTIONS] = {
        [DSN_FAILED] = "Undelivered Mail Returned to Sender",
        [DSN_DELAYED] = "Delayed Mail (still being retried)",
        [DSN_RELAYED] = "Mail Relayed (delivery report)",
        [DSN_EXPANDED] = "Mail Passed on to an Alias (delivery report)",
        [DSN_DELIVERED] = "Mail Delivered to a List (delivery report)",
    };
    put(out, "Date: %s\r\nFrom: Mail Delivery System <MAILER-DAEMON@%s>\r\nTo: <%s>\r\nSubject: %s\r\n", dsn->date, dsn->hostname,
        dsn->sender, subjects[worst(dsn)]);
    put(out, "Message-ID: <%s@%s>\r\nAuto-Submitted: auto-replied\r\nX-Weir-Queue-ID: %s\r\nMIME-Version: 1.0\r\n", dsn->id, dsn->hostname,
        dsn->about);
    put(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n", boundary);
    if (dsn_needs_8bit(dsn))
        put(out, "Content-Transfer-Encoding: 8bit\r\n");
    put(out, "\r\nThis is a MIME-encapsulated message.\r\n");
}

static void put_part(struct out *out, const char *boundary, const char *type, const char *description, bool eightbit)
{
    put(out, "\r\n--%s\r\nContent-Description: %s\r\nContent-Type: %s\r\n%s\r\n", boundary, description, type,
        eightbit ? "Content-Transfer-Encoding: 8bit\r\n" : "");
}

static void put_notification(struct out *out, const struct dsn *dsn)
{
    static const char *const openings[DSN_ACTIONS] = {
        [DSN_FAILED] = "I'm sorry to have to inform you that your message could not\r\n"
                       "be delivered to one or more recipients. It's attached below.\r\n",
        [DSN_DELAYED] = "Your message could not be delivered yet. It is still tried:\r\n"
                        "THIS IS A WARNING ONLY. YOU DO NOT NEED TO SEND IT AGAIN.\r\n",
        [DSN_RELAYED] = "Your message was given to a mail system that does not tell\r\n"
                        "what becomes of it, so this is the last report about it.\r\n",
        [DSN_EXPANDED] = "Your message goes to all whom the address stands for, which\r\n"
                         "are several; what becomes of each is not reported.\r\n",
        [DSN_DELIVERED] = "Your message goes to the members of the mailing list. What\r\n"
                          "becomes of each is told to the owner of the list.\r\n",
    };
    static const char *const actions[DSN_ACTIONS] = {
        [DSN_FAILED] = "not delivered", [DSN_DELAYED] = "not delivered yet", [DSN_RELAYED] = "relayed", [DSN_EXPANDED] = "expanded", [DSN_DELIVERED] = "delivered"
    };
    put(out, "This is the mail system at host %s.\r\n\r\n%s", dsn->hostname, openings[worst(dsn)]);
    if (*dsn->contact != '\0') {
        put(out, "\r\nFor help: ");
        put_words(out, dsn->contact);
        put(out, "\r\n");
    }
    put(out, "Please name the message's id, %s, when you ask about it.\r\n", dsn->about);
    for (size_t i = 0; i < dsn->count; i++) {
        const struct dsn_recipient *recipient = &dsn->recipients[i];
        put(out, "\r\n<%s>: %s", recipient->address, actions[recipient->action]);
        if (*recipient->remote != '\0')
            put(out, "; %s said", recipient->remote);
        put(out, ":\r\n    ");
        if (recipient->code != 0)
            put(out, "%d %s ", recipient->code, recipient->enhanced);
        put_words(out, recipient->text);
        put(out, "\r\n");
    }
}

static void put_status(struct out *out, const struct dsn *dsn)
{
    static const char *const actions[DSN_ACTIONS] = { [DSN_FAILED] = "failed", [DSN_DELAYED] = "delayed", [DSN_RELAYED] = "relayed",
                                                         [DSN_EXPANDED] = "expanded", [DSN_DELIVERED] = "delivered" };
    put(out, "Reporting-MTA: dns; %s\r\n", dsn->hostname);
    if (*dsn->envid != '\0') /* as it was before MAIL's encoding: RFC 3461 6.3 */
        put(out, "Original-Envelope-Id: %s\r\n", dsn->envid);
    put(out, "X-Weir-Queue-ID: %s\r\nArrival-Date: %s\r\n", dsn->about, dsn->arrival);
    for (size_t i = 0; i < dsn->count; i++) {
        const struct dsn_recipient *recipient = &dsn->recipients[i];
        bool ascii = is_ascii(recipient->address, strlen(recipient->address));
        put(out, "\r\n");
        if (*recipient->original != '\0') {
            const char *address = strchr(recipient->original, ';');
            put(out, "Original-Recipient: %.*s; %s\r\n", (int)(address != NULL ? address - recipient->original : 0), recipient->original,
                address != NULL ? address + 1 : "");
        }
        put(out, "Final-Recipient: %s; %s\r\nAction: %s\r\nStatus: %s\r\n", ascii ? "rfc822" : "utf-8", recipient->address,
            actions[recipient->action], recipient->enhanced);
        if (*recipient->remote != '\0') {
            int host = (int)strcspn(recipient->remote, "[");
            if (host > 0)
                put(out, "Remote-MTA: dns; %.*s\r\n", host, recipient->remote);
        }
        if (recipient->code != 0 && *recipient->remote != '\0') {
            put(out, "Diagnostic-Code: smtp; %d %s ", recipient->code, recipient->enhanced);
            put_words(out, recipient->text);
            put(out, "\r\n");
        }
    }
}

char *dsn_format(const struct dsn *dsn, size_t *len)
{
    struct out out = { 0 };
    char boundary[64];
    bool utf8 = dsn_needs_smtputf8(dsn), eightbit = !is_ascii(dsn->returned, dsn->returned_len);
    choose_boundary(boundary, dsn);
    put_header(&out, dsn, boundary);
    put_part(&out, boundary, utf8 ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii", "Notification", utf8);
    put_notification(&out, dsn);
    put_part(&out, boundary, utf8 ? "message/global-delivery-status" : "message/delivery-status", "Delivery report", utf8);
    put_status(&out, dsn);
    put_part(&out, boundary,
             dsn->whole ? utf8 ? "message/global" : "message/rfc822"
                        : utf8 ? "message/global-headers" : "text/rfc822-headers",
             dsn->whole ? "Undelivered message" : "Header of the message", eightbit);
    put_bytes(&out, dsn->returned, dsn->returned_len);
    put(&out, "\r\n--%s--\r\n", boundary);
    *len = out.len;
    return out.bytes;
}
