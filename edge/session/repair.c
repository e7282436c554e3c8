/*
 * repair.c - what a message from a person's program or a device lacks, and the header around it (edge/smtp/mend.h)
 *
 * submission: Date and Message-ID are added (RFC 6409 8.1, 8.2). handoff: these once each, and From (add_from). What is added passes the header
 * scan, the scanner and the spool like bytes of the client.
 */
#include <stdio.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/session/transaction.h"
#include "edge/smtp/mend.h"

struct repair {
    struct smtp_mender mender;
    char date[64], message_id[SMTP_DOMAIN_MAX + 64], from[SMTP_ADDRESS_MAX + SMTP_DOMAIN_MAX + 32];
};

static void on_put(void *arg, const char *bytes, size_t len)
{
    transaction_take(arg, bytes, len);
}

struct repair *repair_new(struct transaction *tx)
{
    const struct session *session = tx->session;
    const char *hostname = session->config->hostname;
    struct repair *repair = xcalloc(1, sizeof *repair);
    struct smtp_mender *mender = &repair->mender;
    char date[40];

    snprintf(repair->date, sizeof repair->date, "Date: %s\r\n", clock_rfc5322(date));
    snprintf(repair->message_id, sizeof repair->message_id, "Message-ID: <%s@%s>\r\n", tx->id.text, hostname);
    if (*tx->sender != '\0')
        snprintf(repair->from, sizeof repair->from, "From: <%s>\r\n", tx->sender);
    else
        snprintf(repair->from, sizeof repair->from, "From: <MAILER-DAEMON@%s>\r\n", hostname);

    mender->missing[SMTP_FIELD_DATE] = repair->date;
    mender->missing[SMTP_FIELD_MESSAGE_ID] = repair->message_id;
    if (session_is_lenient(session)) {
        mender->single = true;
        if (session->limits->add_from)
            mender->missing[SMTP_FIELD_FROM] = repair->from;
    }
    mender->put = on_put;
    mender->arg = tx;
    return repair;
}

void repair_feed(struct repair *repair, const char *bytes, size_t len)
{
    smtp_mender_feed(&repair->mender, bytes, len);
}

void repair_finish(struct repair *repair)
{
    struct transaction *tx = repair->mender.arg;
    smtp_mender_finish(&repair->mender);
    session_forgive(tx->session, repair->mender.forgiven);
}
