#ifndef WEIR_EDGE_SESSION_AUTH_H
#define WEIR_EDGE_SESSION_AUTH_H
/*
 * auth.h - who a session is, once it has said and proved it (RFC 4954); only for this room
 *
 * The words are taken apart by edge/smtp/sasl.h, and a coordinator says whether they are right; nothing else is read
 * from the client meanwhile.
 */
#include "common/settings.h"
#include "edge/smtp/command.h"
#include "edge/smtp/sasl.h"
#include "proto/weir.pb-c.h"

struct session;
struct auth;
struct node_question;

/* Whether EHLO names AUTH: it is on, and the connection is encrypted. */
bool session_offers_auth(const struct session *session);
/* The login that was proved; NULL: none. */
const char *session_login(const struct session *session);
const char *session_sasl_method(const struct session *session); /* "" without a login */
/* false: it is refused with a reply, as this session has to say who it is first, or may not send as this sender. */
bool auth_may_send(struct session *session, const struct smtp_command *mail);

void auth_command(struct session *session, const struct smtp_command *command); /* AUTH */
void auth_line(struct session *session, const char *line, size_t len);          /* an answer to a challenge */
void auth_bad_line(struct session *session);                                   /* one that is no line: too long, NUL */
void auth_assume(struct session *session, const char *login); /* XCLIENT: a peer that is believed says so; "": nobody. It sends as this address only */
void auth_free(struct auth **auth);                                            /* no answer follows */

#endif
