#ifndef WEIR_SENDMAIL_THROUGH_H
#define WEIR_SENDMAIL_THROUGH_H
/*
 * through.h - sendmail -bs: SMTP on stdin and stdout, connected to the first edge that is ready
 *
 * The connection is secured and logged in before the client's first byte; from then on its commands go through, each after the answer to the one before, and
 * the edge's replies come back. EHLO may be said again at any time (RFC 5321 4.1.4). The client may write all it has to say at once, from a file, with
 * LF at its lines' ends; a message goes on with CRLF. STARTTLS is not for it: EHLO does
 * not offer it, and 502 is the answer. A DATA that is refused ends the conversation.
 */
#include "deploy/sendmail/settings.h"

/* An exit status: EX_TEMPFAIL where anything was deferred, the edge was lost, or none was ready (the client hears 421); else the first refusal's of a MAIL,
 * RCPT, DATA or message, of a line that is none, or of the whole conversation by an edge that was not asked; EX_IOERR where stdin could not be read or stdout
 * not be written, which ends the conversation; EX_DATAERR where stdin ended inside a message; EX_OK. */
int through(const struct sendmail_settings *settings);

#endif
