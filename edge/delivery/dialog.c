/*
 * dialog.c - the client's side of an SMTP conversation, without sockets
 */
#include "edge/delivery/dialog.h"
#include <stdio.h>
#include <string.h>
#include "common/error.h"
#include "edge/smtp/xtext.h"

typedef enum hop_event hop_handler(struct hop_dialog *dialog, const struct smtp_reply *reply);

static void say(struct hop_dialog *dialog, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct hop_dialog *dialog, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *start = dialog->out + dialog->out_len;
    size_t room = sizeof dialog->out - dialog->out_len;
    int len = vsnprintf(start, room, format, args);
    va_end(args);
    weir_assert(len >= 0 && (size_t)len + 2 < room);
    /* A line is a line, whatever an address holds. */
    for (int i = 0; i < len; i++) {
        if ((unsigned char)start[i] < ' ' || start[i] == 0x7f)
            start[i] = '?';
    }
    memcpy(start + len, "\r\n", 2);
    dialog->out_len += (size_t)len + 2;
}

void hop_dialog_init(struct hop_dialog *dialog, const char *hello_name, enum next_hop_tls tls)
{
    memset(dialog, 0, sizeof *dialog);
    snprintf(dialog->hello_name, sizeof dialog->hello_name, "%s", hello_name);
    dialog->tls = tls;
}

static enum hop_event lost(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_CLOSED;
    return HOP_LOST;
}

static enum hop_event refused(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_CLOSED;
    return HOP_REFUSED;
}

static enum hop_event greeted(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_EHLO;
    say(dialog, "EHLO %s", dialog->hello_name);
    return HOP_NOTHING;
}

static enum hop_event introduced(struct hop_dialog *dialog)
{
    if (dialog->tls == NEXT_HOP_TLS_REQUIRE && !dialog->secure) {
        dialog->state = HOP_CLOSED;
        return HOP_TLS_IMPOSSIBLE;
    }
    dialog->state = HOP_READY;
    return HOP_IS_READY;
}

static enum hop_event ehlo_done(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    dialog->extensions = reply->extensions;
    if (dialog->tls == NEXT_HOP_TLS_NONE || dialog->secure || !dialog->extensions.starttls)
        return introduced(dialog);
    dialog->state = HOP_STARTTLS;
    say(dialog, "STARTTLS");
    return HOP_NOTHING;
}

static enum hop_event say_helo(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_HELO;
    say(dialog, "HELO %s", dialog->hello_name);
    return HOP_NOTHING;
}

static enum hop_event helo_done(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    return introduced(dialog);
}

static enum hop_event start_tls(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_SECURING;
    return HOP_START_TLS;
}

static enum hop_event tls_declined(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    return introduced(dialog);
}

static enum hop_event sender_ok(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_RCPT;
    return HOP_SENDER_OK;
}

static enum hop_event sender_refused(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_RCPT; /* MAIL is answered; RCPTs sent behind it may be not */
    if (dialog->rcpt_unanswered == 0)
        dialog->state = HOP_READY;
    else
        hop_dialog_reset(dialog);
    return HOP_SENDER_REFUSED;
}

static enum hop_event recipient(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    if (dialog->rcpt_unanswered == 0)
        return lost(dialog, reply); /* nothing was asked */
    dialog->rcpt_unanswered--;
    return HOP_RECIPIENT;
}

static enum hop_event go_ahead(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_BODY;
    return HOP_GO_AHEAD;
}

static enum hop_event data_refused(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_RCPT; /* hosts differ in what is left of the transaction now: RSET ends it for certain */
    hop_dialog_reset(dialog);
    return HOP_ANSWER;
}

static enum hop_event answered_too_early(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_CLOSED; /* the message cannot be ended without completing it */
    return HOP_ANSWER;
}

static enum hop_event answered(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    dialog->state = HOP_READY;
    return HOP_ANSWER;
}

static enum hop_event skipped(struct hop_dialog *dialog)
{
    dialog->skip--;
    if (dialog->skip == 0 && dialog->rset_owed) {
        dialog->rset_owed = false;
        say(dialog, "RSET");
    }
    return HOP_NOTHING;
}

static enum hop_event reset_done(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    (void)reply;
    if (dialog->skip > 0)
        return skipped(dialog);
    dialog->state = HOP_READY;
    return HOP_IS_READY;
}

static enum hop_event reset_refused(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    return dialog->skip > 0 ? skipped(dialog) : lost(dialog, reply);
}

static hop_handler *const rules[HOP_STATES][4] = {
    /* waiting for     2yz           3yz       4yz                 5yz */
    [HOP_GREETING] = { greeted,      lost,     refused,            refused            },
    [HOP_EHLO]     = { ehlo_done,    lost,     refused,            say_helo           },
    [HOP_HELO]     = { helo_done,    lost,     refused,            refused            },
    [HOP_STARTTLS] = { start_tls,    lost,     tls_declined,       tls_declined       },
    [HOP_SECURING] = { lost,         lost,     lost,               lost               },
    [HOP_READY]    = { lost,         lost,     lost,               lost               },
    [HOP_MAIL]     = { sender_ok,    lost,     sender_refused,     sender_refused     },
    [HOP_RCPT]     = { recipient,    lost,     recipient,          recipient          },
    [HOP_DATA]     = { lost,         go_ahead, data_refused,       data_refused       },
    [HOP_BODY]     = { lost,         lost,     answered_too_early, answered_too_early },
    [HOP_FINAL]    = { answered,     lost,     answered,           answered           },
    [HOP_RSET]     = { reset_done,   lost,     reset_refused,      reset_refused      },
    [HOP_CLOSED]   = { lost,         lost,     lost,               lost               },
};

enum hop_event hop_dialog_reply(struct hop_dialog *dialog, const struct smtp_reply *reply)
{
    if (reply->code < 200 || reply->code > 599)
        return lost(dialog, reply);
    if (reply->code == 421) { /* allowed at any time (RFC 5321 3.8): the host closes */
        enum hop_state state = dialog->state;
        dialog->state = HOP_CLOSED;
        if (state == HOP_DATA || state == HOP_BODY || state == HOP_FINAL)
            return HOP_ANSWER;
        return state == HOP_GREETING || state == HOP_EHLO || state == HOP_HELO ? HOP_REFUSED : HOP_LOST;
    }
    return rules[dialog->state][reply->code / 100 - 2](dialog, reply);
}

void hop_dialog_secured(struct hop_dialog *dialog)
{
    memset(&dialog->extensions, 0, sizeof dialog->extensions);
    dialog->secure = true;
    dialog->state = HOP_EHLO;
    say(dialog, "EHLO %s", dialog->hello_name);
}

bool hop_dialog_may_send(const struct hop_dialog *dialog)
{
    switch (dialog->state) {
    case HOP_READY:
        return true;
    case HOP_MAIL:
        return dialog->extensions.pipelining;
    case HOP_RCPT:
        return dialog->extensions.pipelining || dialog->rcpt_unanswered == 0;
    default:
        return false;
    }
}

void hop_dialog_mail(struct hop_dialog *dialog, const struct hop_mail *mail)
{
    char size_text[32] = "", envid[SMTP_ENVID_TEXT_MAX] = "";
    bool dsn = dialog->extensions.dsn;
    if (mail->size > 0 && dialog->extensions.has_size)
        snprintf(size_text, sizeof size_text, " SIZE=%llu", (unsigned long long)mail->size);
    if (dsn && mail->envid != NULL)
        smtp_xtext_encode(envid, sizeof envid, mail->envid);
    /* Where 8BITMIME is not offered the message goes as it is: downgrading it would change signed bytes, and every host in use
     * passes eight bits, which is why most clients do the same. */
    say(dialog, "MAIL FROM:<%s>%s%s%s%s%s%s", mail->sender, size_text,
        mail->eightbit && dialog->extensions.eightbitmime ? " BODY=8BITMIME" : "",
        mail->smtputf8 && dialog->extensions.smtputf8 ? " SMTPUTF8" : "",
        !dsn || mail->ret == 0 ? "" : mail->ret == 'H' ? " RET=HDRS" : " RET=FULL", *envid ? " ENVID=" : "", envid);
    dialog->state = HOP_MAIL;
    dialog->rcpt_unanswered = 0;
}

void hop_dialog_rcpt(struct hop_dialog *dialog, const struct hop_rcpt *rcpt)
{
    char notify[SMTP_NOTIFY_TEXT_MAX] = "", orcpt[SMTP_ORCPT_TEXT_MAX] = "";
    if (dialog->extensions.dsn) {
        smtp_notify_format(notify, rcpt->notify);
        if (rcpt->orcpt != NULL)
            smtp_orcpt_encode(orcpt, sizeof orcpt, rcpt->orcpt);
    }
    say(dialog, "RCPT TO:<%s>%s%s%s%s", rcpt->address, *notify ? " NOTIFY=" : "", notify, *orcpt ? " ORCPT=" : "", orcpt);
    dialog->rcpt_unanswered++;
}

void hop_dialog_data(struct hop_dialog *dialog)
{
    say(dialog, "DATA");
    dialog->state = HOP_DATA;
}

void hop_dialog_body_sent(struct hop_dialog *dialog)
{
    dialog->state = HOP_FINAL;
}

bool hop_dialog_reset(struct hop_dialog *dialog)
{
    switch (dialog->state) {
    case HOP_READY:
        return true;
    case HOP_MAIL:
    case HOP_RCPT:
        dialog->skip = dialog->rcpt_unanswered + (dialog->state == HOP_MAIL ? 1 : 0);
        dialog->rcpt_unanswered = 0;
        dialog->rset_owed = dialog->skip > 0 && !dialog->extensions.pipelining;
        if (!dialog->rset_owed)
            say(dialog, "RSET");
        dialog->state = HOP_RSET;
        return false;
    case HOP_RSET:
        return false;
    default:
        dialog->state = HOP_CLOSED;
        return false;
    }
}

void hop_dialog_quit(struct hop_dialog *dialog)
{
    say(dialog, "QUIT");
    dialog->state = HOP_CLOSED;
}
