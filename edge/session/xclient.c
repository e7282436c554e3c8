/*
 * xclient.c - a listed peer speaks for a client of its own: from then on the session is that client's
 *
 *     GREETED, READY --XCLIENT--> as if the client had just connected: 421, or in CONNECTED until its name is known, then the greeting --> GREETED
 *
 * What was said of the client stays said, over HELO and STARTTLS; but for a login in clear before STARTTLS. A further XCLIENT says all of it anew. It
 * is only taken of a session whose client is listed itself: behind XCLIENT a proxy passes on what its client says, who must not name another.
 */
#include <stdlib.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/session/internal.h"
#include "edge/smtp/xclient.h"

/* Who this is in a line of the log, before and after. */
static void report(const struct session *session, const char *peer, const struct smtp_xclient *told)
{
    char client[NETADDR_TEXT_MAX] = "", server[NETADDR_TEXT_MAX] = "";
    if (told->client.family != 0)
        netaddr_format_endpoint(&told->client, client);
    if (told->server.family != 0)
        netaddr_format_endpoint(&told->server, server);
    log_write(LOG_INFO, "xclient: %s speaks for %s[%s]; address=<%s> destination=<%s> helo=<%s> sasl_username=<%s>", peer,
              session_client_name(session), session->client_text, client, server, told->helo, told->login);
}

static void replace(char **text, const char *with)
{
    free(*text);
    *text = *with != '\0' ? xstrdup(with) : NULL;
}

static void take(struct session *session, const struct smtp_xclient *told)
{
    session->name_told = (told->given & SMTP_XCLIENT_NAME) != 0;
    if (session->name_told)
        replace(&session->client_name, told->name);
    replace(&session->told_helo, told->given & SMTP_XCLIENT_HELO ? told->helo : "");
    session->told_proto = (told->given & SMTP_XCLIENT_PROTO) == 0 ? TOLD_NOTHING : told->esmtp ? TOLD_ESMTP : TOLD_SMTP;
    auth_assume(session, told->given & SMTP_XCLIENT_LOGIN ? told->login : ""); /* the peer's own login is not its client's */
}

/* false: the client may not come in, and was told. */
static bool take_address(struct session *session, const struct smtp_xclient *told)
{
    if ((told->given & SMTP_XCLIENT_ADDR) == 0)
        return true;
    if (!session->name_told)
        replace(&session->client_name, "");
    session->unnamed = told->client.family == 0; /* the peer's own address must not decide what somebody unknown may do */
    return session->unnamed || server_readmit(session, &told->client);
}

void xclient_command(struct session *session, const struct smtp_command *command)
{
    struct smtp_xclient told;
    char peer[SMTP_DOMAIN_MAX + NETADDR_TEXT_MAX + 4];
    struct smtp_complaint complaint = { 550, "5.7.0", "Insufficient authorization" };
    if (session->trusted) {
        complaint = (struct smtp_complaint){ 503, "5.5.1", "Mail transaction in progress" };
        if (session_between_messages(session))
            complaint = smtp_xclient_parse(&told, command->arguments, command->arguments_len);
    }
    if (complaint.code != 0) {
        session->errors++;
        report_reject(session, NULL, "XCLIENT", complaint.code, complaint.enhanced, complaint.text, NULL, NULL);
        session_reply(session, command->verb, complaint.code, complaint.enhanced, "%s", complaint.text);
        return;
    }
    snprintf(peer, sizeof peer, "%s[%s]", session_client_name(session), session->client_text);
    take(session, &told);
    if (!take_address(session, &told))
        return;
    session_look_at_trust(session);
    report(session, peer, &told);
    session_greet_again(session);
}
