#ifndef WEIR_SENDMAIL_SUBMIT_H
#define WEIR_SENDMAIL_SUBMIT_H
/*
 * submit.h - a message to the first edge that takes it
 *
 * Hosts are tried in their order, each at all its addresses. A recipient is settled by a 250 to the message, or by a 5xx; whoever got a 4xx,
 * or nothing because the host was not to be had, is offered to the next one. A recipient deferred for there being too many goes in
 * another transaction behind the first (RFC 5321 4.5.3.1.10). After the final dot has left nothing is repeated, as the host may have the message.
 */
#include <stdbool.h>
#include "deploy/sendmail/addresses.h"
#include "deploy/sendmail/mail.h"
#include "deploy/sendmail/settings.h"
#include "deploy/sendmail/wire.h"
#include "edge/delivery/dialog.h"

struct submission {
    const struct sendmail_settings *settings;
    const struct mail *mail;
    struct hop_mail envelope;
    struct recipients *recipients;
    unsigned notify;          /* SMTP_NOTIFY_*, of each recipient */
};

/* One host that is introduced to us, secured and logged in as the settings say. */
struct host {
    struct wire wire;
    struct hop_dialog dialog;
    const char *name;          /* as in the settings, for messages; borrowed */
};

enum host_trouble { HOST_UNREACHABLE, HOST_UNKNOWN, HOST_LOGIN_REFUSED };

/* Sends what may be sent; every recipient is SENT, REFUSED or DEFERRED afterwards. What went wrong with a host is told on stderr. Returns what was wrong with
 * all hosts, when it was the same for each of them; HOST_UNREACHABLE otherwise. */
enum host_trouble submit(struct submission *submission);

/* The exit status for a refusal with this enhanced code, which may be "". */
int submit_status_of_refusal(const char *enhanced);
/* QUIT where that still makes sense. */
void host_close(struct host *host);

#endif
