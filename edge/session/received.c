/*
 * received.c - see received.h
 */
#include "edge/session/received.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "edge/smtp/address.h"

void header_scan_init(struct header_scan *scan)
{
    scan->hops = 0;
    scan->size = 0;
    scan->ended = false;
    scan->state = HEADER_LINE_START;
    scan->in_message_id = scan->has_message_id = scan->first_line_done = false;
    scan->name_len = scan->id_len = 0;
    scan->message_id[0] = '\0';
}

static bool name_is(const struct header_scan *scan, const char *name)
{
    size_t len = strlen(name);
    return scan->name_len == len && strncasecmp(scan->name, name, len) == 0;
}

static void field_begins(struct header_scan *scan)
{
    if (name_is(scan, "received"))
        scan->hops++;
    scan->in_message_id = !scan->has_message_id && name_is(scan, "message-id");
    scan->has_message_id |= scan->in_message_id;
    scan->state = HEADER_VALUE;
}

static void keep_message_id(struct header_scan *scan, char byte)
{
    if (byte != '\r' && byte != '\n' && scan->id_len < HEADER_MESSAGE_ID_MAX &&
        !(scan->id_len == 0 && (byte == ' ' || byte == '\t')))
        scan->message_id[scan->id_len++] = byte;
}

static void message_id_ends(struct header_scan *scan)
{
    while (scan->id_len > 0 && (scan->message_id[scan->id_len - 1] == ' ' || scan->message_id[scan->id_len - 1] == '\t'))
        scan->id_len--;
    scan->message_id[scan->id_len] = '\0';
    scan->in_message_id = false;
}

/* The first byte of a line says whether it goes on with the field before it, begins one, or ends the header. */
static void line_begins(struct header_scan *scan, char byte)
{
    if (byte == ' ' || byte == '\t') {
        scan->state = HEADER_VALUE;
        if (scan->in_message_id)
            keep_message_id(scan, byte);
        return;
    }
    if (scan->in_message_id)
        message_id_ends(scan);
    scan->name_len = 0;
    if (byte <= ' ' || byte == ':' || byte > '~') {
        scan->ended = true; /* CR of the empty line, or no field name */
        return;
    }
    scan->state = HEADER_NAME;
    scan->name[scan->name_len++] = byte;
}

static void name_goes_on(struct header_scan *scan, char byte)
{
    if (byte == ':')
        field_begins(scan);
    else if (byte == ' ' || byte == '\t')
        scan->state = HEADER_AFTER_NAME; /* RFC 5322 4.5: white space before the colon is old, but a field */
    else if (byte < ' ' || byte > '~')
        scan->ended = true;
    else if (scan->name_len < sizeof scan->name)
        scan->name[scan->name_len++] = byte;
}

static void after_name(struct header_scan *scan, char byte)
{
    if (byte == ':')
        field_begins(scan);
    else if (byte != ' ' && byte != '\t') {
        /* An mbox "From " line in front of the header is not part of it, and does not hide what follows. */
        bool mbox = !scan->first_line_done && (name_is(scan, "from") || name_is(scan, ">from"));
        scan->ended = !mbox;
        scan->state = HEADER_SKIP;
    }
}

void header_scan_feed(struct header_scan *scan, const char *bytes, size_t len)
{
    const char *at = bytes, *end = bytes + len;
    while (at < end && !scan->ended) {
        if ((scan->state == HEADER_VALUE && !scan->in_message_id) || scan->state == HEADER_SKIP) {
            const char *newline = memchr(at, '\n', (size_t)(end - at));
            at = newline != NULL ? newline + 1 : end;
            if (newline != NULL) {
                scan->state = HEADER_LINE_START;
                scan->first_line_done = true;
            }
            continue;
        }
        char byte = *at++;
        switch (scan->state) {
        case HEADER_LINE_START:
            line_begins(scan, byte);
            break;
        case HEADER_NAME:
            name_goes_on(scan, byte);
            break;
        case HEADER_AFTER_NAME:
            after_name(scan, byte);
            break;
        case HEADER_VALUE:
        case HEADER_SKIP:
            keep_message_id(scan, byte);
            if (byte == '\n') {
                scan->state = HEADER_LINE_START;
                scan->first_line_done = true;
            }
            break;
        }
    }
    scan->size += (uint64_t)(at - bytes);
    if (scan->ended && scan->in_message_id)
        message_id_ends(scan);
}

const char *received_protocol(bool esmtp, bool tls, bool smtputf8, bool authenticated)
{
    static const char *const names[2][2][2] = { /* [smtputf8][tls][authenticated] */
        { { "ESMTP", "ESMTPA" }, { "ESMTPS", "ESMTPSA" } },
        { { "UTF8SMTP", "UTF8SMTPA" }, { "UTF8SMTPS", "UTF8SMTPSA" } },
    };
    return esmtp ? names[smtputf8][tls][authenticated] : "SMTP"; /* the others need EHLO */
}

/* A HELO name is said by a stranger: what could end a comment or look like another clause of the header becomes '?'. */
static void helo_format(char out[256], const char *helo)
{
    size_t len = 0;
    for (const char *p = helo; *p != '\0' && len < 255; p++)
        out[len++] = isalnum((unsigned char)*p) || strchr(".-_:[]", *p) != NULL ? *p : '?';
    out[len] = '\0';
}

size_t received_format(char out[RECEIVED_MAX], const struct received *received)
{
    char helo[256], client[NETADDR_TEXT_MAX], secured[160] = "", forwhom[SMTP_ADDRESS_MAX + 16] = "";
    helo_format(helo, received->helo);
    netaddr_format(received->client, client);

    const char *cipher = strchr(received->tls, ' ');
    if (*received->tls != '\0' && cipher != NULL)
        snprintf(secured, sizeof secured, "\t(using %.*s with cipher %s)\r\n", (int)(cipher - received->tls),
                 received->tls, cipher + 1);
    if (received->recipient != NULL)
        snprintf(forwhom, sizeof forwhom, "\r\n\tfor <%s>", received->recipient);

    int len = snprintf(out, RECEIVED_MAX,
                       "Received: from %s (%s [%s%s])\r\n"
                       "%s"
                       "\tby %s (Weir) with %s id %s%s;\r\n"
                       "\t%s\r\n",
                       helo, received->client_name, received->client->family == AF_INET6 ? "IPv6:" : "", client, secured, received->hostname,
                       received_protocol(received->esmtp, *received->tls != '\0', received->smtputf8, received->authenticated), received->id, forwhom,
                       received->date);
    return len < RECEIVED_MAX ? (size_t)len : RECEIVED_MAX - 1;
}
