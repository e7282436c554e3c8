/*
 * through.c - sendmail -bs: whole commands go to the edge one at a time, whole replies come back
 *
 *   command -> its reply -> the next command            DATA: 354 -> the message, made strict -> its reply
 *
 * A client may write everything at once, so what stands behind EHLO or DATA waits here until the edge has answered: the edge itself refuses a client that does
 * not wait. The lines of the client are read as leniently as those of devices, as files have LF.
 */
#include "deploy/sendmail/through.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>
#include "deploy/sendmail/internal.h"
#include "edge/smtp/command.h"
#include "edge/smtp/parser.h"

#define COMMAND_MAX 12290u /* the longest line of AUTH (RFC 4954 4), with CRLF */
#define PIECE 16384u       /* also what one TLS record holds */

struct conversation {
    const struct sendmail_settings *settings;
    struct host *host;
    struct smtp_parser parser;
    char in[PIECE];          /* what the client said and is not used yet */
    size_t in_len;
    bool ended;              /* the client says no more */
    bool in_message, chunk;  /* its bytes are those of a message; by BDAT */
    bool at_line_start;
    bool challenged;         /* by AUTH: the next line is no command, whatever it looks like */
    bool over;
    bool io_failed;          /* stdin or stdout: what was not read or heard is not known to be sent */
    int refusal;             /* EX_OK, or of the first refusal */
    bool deferred, cut;      /* somebody may get it later; the message has no end */
    char held[SMTP_REPLY_LINE_MAX]; /* the last line of the reply that is being passed on; see pass_line() */
    size_t held_len;
};

static bool write_out(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        bytes += written, len -= (size_t)written;
    }
    return true;
}

static void fail_io(struct conversation *conversation, const char *stream)
{
    host_tell(stream, strerror(errno));
    conversation->io_failed = conversation->over = true;
}

/* To the client. Who cannot hear replies any more gets no more of them, and nothing is begun for it. */
static void say(struct conversation *conversation, const char *bytes, size_t len)
{
    if (!conversation->io_failed && !write_out(bytes, len))
        fail_io(conversation, "stdout");
}

/* ---- the edge ---- */

static void lost(struct conversation *conversation, const char *why)
{
    host_tell(conversation->host->name, why);
    conversation->deferred = conversation->over = true;
    conversation->host->dialog.state = HOP_CLOSED;
}

static void send_bytes(struct conversation *conversation, const char *bytes, size_t len)
{
    struct error why;
    if (!conversation->over && !wire_send(&conversation->host->wire, bytes, len, &why))
        lost(conversation, why.text);
}

/* A line of a reply to EHLO that offers what is not to be had here. */
static bool offers_starttls(const char *line, size_t len)
{
    static const char keyword[] = "STARTTLS";
    return len >= 4 + sizeof keyword - 1 && strncasecmp(line + 4, keyword, sizeof keyword - 1) == 0 && strchr(" \r\n", line[4 + sizeof keyword - 1]) != NULL;
}

/* One line of a reply goes out when the next one is there: the last that is passed on has to look like the last. */
static void pass_line(struct conversation *conversation, const char *line, size_t len, const struct smtp_reply_parser *parser, bool introduces, bool last)
{
    if (introduces && parser->reply.code == 250 && parser->lines > 1 && offers_starttls(line, len)) {
        if (last)
            conversation->held[3] = ' ';
    } else {
        say(conversation, conversation->held, conversation->held_len);
        memcpy(conversation->held, line, len);
        conversation->held_len = len;
    }
    if (last) {
        say(conversation, conversation->held, conversation->held_len);
        conversation->held_len = 0;
    }
}

/* One whole reply, byte for byte, but for STARTTLS where it introduces the edge (EHLO). false: there is none. A client that hears no more does not make
 * it unsaid. */
static bool pass_reply(struct conversation *conversation, struct smtp_reply *reply, bool introduces)
{
    struct wire *wire = &conversation->host->wire;
    struct smtp_reply_parser parser;
    struct error why;
    if (conversation->over)
        return false;
    smtp_reply_parser_init(&parser);
    for (;;) {
        const char *end = memchr(wire->in, '\n', wire->in_len);
        size_t used, line = end != NULL ? (size_t)(end - wire->in) + 1 : wire->in_len; /* the parser takes all lines it can get */
        enum smtp_reply_status status = smtp_reply_parser_next(&parser, wire->in, line, &used);
        if (used > 0 && status != SMTP_REPLY_BROKEN)
            pass_line(conversation, wire->in, used, &parser, introduces, status == SMTP_REPLY_DONE);
        memmove(wire->in, wire->in + used, wire->in_len - used);
        wire->in_len -= used;
        if (status == SMTP_REPLY_DONE) {
            *reply = parser.reply;
            return true;
        }
        if (status == SMTP_REPLY_BROKEN || wire->in_len == sizeof wire->in) {
            lost(conversation, "its reply is not SMTP");
            return false;
        }
        if (used > 0)
            continue;
        ssize_t len = wire_read(wire, wire->in + wire->in_len, sizeof wire->in - wire->in_len, &why);
        if (len <= 0) {
            lost(conversation, len == 0 ? "connection closed" : why.text);
            return false;
        }
        wire->in_len += (size_t)len;
    }
}

/* What was refused is the caller's to know: it may be a script that reads no replies. */
static void settle(struct conversation *conversation, const struct smtp_reply *reply)
{
    if (reply->code >= 400 && reply->code < 500)
        conversation->deferred = true;
    else if (reply->code >= 500 && conversation->refusal == EX_OK)
        conversation->refusal = submit_status_of_refusal(reply->enhanced);
}

/* ---- the client ---- */

/* It may have been a MAIL or RCPT. */
static void refuse_line(struct conversation *conversation)
{
    static const char reply[] = "500 5.5.2 Syntax error\r\n";
    say(conversation, reply, sizeof reply - 1);
    if (conversation->refusal == EX_OK)
        conversation->refusal = EX_UNAVAILABLE;
}

static void begin_chunk(struct conversation *conversation, uint64_t size)
{
    conversation->parser.lenient = false; /* so many bytes, as they are */
    smtp_parser_enter_bdat(&conversation->parser, size, true);
    conversation->in_message = conversation->chunk = true;
}

static void begin_message(struct conversation *conversation)
{
    smtp_parser_enter_data(&conversation->parser);
    conversation->in_message = conversation->at_line_start = true;
    conversation->chunk = false;
}

static void on_command(struct conversation *conversation, const char *line, size_t len)
{
    static const char no_tls[] = "502 5.5.1 TLS is not available here\r\n";
    struct smtp_command command;
    struct smtp_reply reply;
    struct smtp_complaint complaint = smtp_command_parse(&command, line, len, true, true);
    if (conversation->challenged)
        command.verb = SMTP_VERB_UNKNOWN;
    if (command.verb == SMTP_VERB_STARTTLS) { /* sendmail.conf says whether the way to the edge is secured; the client is on this host */
        say(conversation, no_tls, sizeof no_tls - 1);
        return;
    }
    send_bytes(conversation, line, len);
    send_bytes(conversation, "\r\n", 2);
    if (command.verb == SMTP_VERB_BDAT && complaint.code == 0) {
        begin_chunk(conversation, command.size);
        return;
    }
    if (!pass_reply(conversation, &reply, command.verb == SMTP_VERB_EHLO))
        return;
    conversation->challenged = reply.code == 334;
    if (command.verb == SMTP_VERB_MAIL || command.verb == SMTP_VERB_RCPT || command.verb == SMTP_VERB_DATA || command.verb == SMTP_VERB_BDAT)
        settle(conversation, &reply);
    if (command.verb == SMTP_VERB_DATA && reply.code == 354) {
        begin_message(conversation);
    } else if (command.verb == SMTP_VERB_DATA) {
        conversation->over = true; /* the message may stand behind it all the same, and no line of it may become a command */
    } else if (command.verb == SMTP_VERB_QUIT || reply.code == 421) {
        conversation->deferred |= reply.code == 421;
        conversation->over = true;
        conversation->host->dialog.state = HOP_CLOSED;
    }
}

static void on_body(struct conversation *conversation, const char *bytes, size_t len)
{
    char out[2 * PIECE];
    if (conversation->chunk)
        send_bytes(conversation, bytes, len);
    else
        send_bytes(conversation, out, smtp_dot_stuff(out, bytes, len, &conversation->at_line_start));
}

static void on_end(struct conversation *conversation)
{
    struct smtp_reply reply;
    if (!conversation->chunk)
        send_bytes(conversation, ".\r\n", 3);
    conversation->in_message = false;
    conversation->parser.lenient = true;
    if (pass_reply(conversation, &reply, false))
        settle(conversation, &reply);
}

static void on_token(struct conversation *conversation, const struct smtp_token *token)
{
    switch (token->event) {
    case SMTP_COMMAND:
        on_command(conversation, token->bytes, token->len);
        break;
    case SMTP_BODY:
        on_body(conversation, token->bytes, token->len);
        break;
    case SMTP_END_OF_DATA:
        on_end(conversation);
        break;
    case SMTP_BAD_LINE:
        refuse_line(conversation);
        break;
    case SMTP_NEED_MORE:
        break;
    }
}

static void work_off(struct conversation *conversation)
{
    struct smtp_token token;
    size_t at = 0;
    do {
        at += smtp_parser_next(&conversation->parser, conversation->in + at, conversation->in_len - at, &token);
        on_token(conversation, &token);
    } while (token.event != SMTP_NEED_MORE && !conversation->over);
    memmove(conversation->in, conversation->in + at, conversation->in_len - at);
    conversation->in_len -= at;
}

static void read_more(struct conversation *conversation)
{
    ssize_t len = read(STDIN_FILENO, conversation->in + conversation->in_len, sizeof conversation->in - conversation->in_len);
    if (len > 0)
        conversation->in_len += (size_t)len;
    else if (len == 0)
        conversation->ended = true;
    else if (errno != EINTR)
        fail_io(conversation, "stdin");
}

/* Whoever speaks first. From the edge that is a 421, or a 5xx: nothing was asked, so it ends what was begun. */
static void wait_for_words(struct conversation *conversation)
{
    struct wire *wire = &conversation->host->wire;
    struct pollfd fds[] = { { .fd = wire->fd, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };
    bool waiting = wire->in_len > 0 || (wire->ssl != NULL && SSL_pending(wire->ssl) > 0);
    struct smtp_reply reply;
    int ready = poll(fds, 2, waiting ? 0 : -1);
    if (ready < 0 && errno != EINTR)
        fail_io(conversation, "stdin");
    if (waiting || (ready > 0 && fds[0].revents != 0)) {
        bool final = pass_reply(conversation, &reply, false) && reply.code >= 500;
        if (final)
            settle(conversation, &reply);
        conversation->deferred |= !final;
        conversation->over = true;
        conversation->host->dialog.state = HOP_CLOSED;
    } else if (ready > 0 && fds[1].revents != 0) {
        read_more(conversation);
    }
}

static bool converse(struct host *host, void *arg)
{
    struct conversation *conversation = arg;
    char banner[512];
    conversation->host = host;
    smtp_parser_init(&conversation->parser, COMMAND_MAX, 0);
    conversation->parser.lenient = true;
    int len = snprintf(banner, sizeof banner, "220 %.200s ESMTP weir-sendmail\r\n", conversation->settings->hostname);
    say(conversation, banner, (size_t)len);
    while (!conversation->over && !conversation->ended) {
        wait_for_words(conversation);
        work_off(conversation);
    }
    if (conversation->in_message) {
        if (!conversation->over)
            host_tell(host->name, "stdin ended inside a message, which was not sent");
        conversation->cut = true;
        host->dialog.state = HOP_CLOSED; /* never a final dot */
    }
    host_close(host);
    return false;
}

int through(const struct sendmail_settings *settings)
{
    struct conversation conversation = { .settings = settings, .refusal = EX_OK };
    static const char busy[] = "421 4.3.0 No mail server can be reached now\r\n";

    host_visit_all(settings, converse, &conversation);
    if (conversation.host == NULL) {
        write_out(busy, sizeof busy - 1);
        return EX_TEMPFAIL;
    }
    return conversation.deferred ? EX_TEMPFAIL : conversation.refusal != EX_OK ? conversation.refusal
         : conversation.io_failed ? EX_IOERR : conversation.cut ? EX_DATAERR : EX_OK;
}
