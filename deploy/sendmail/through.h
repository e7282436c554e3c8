#ifndef WEIR_SENDMAIL_THROUGH_H
#define WEIR_SENDMAIL_THROUGH_H
/*
 * through.h - sendmail -bs: SMTP on stdin and stdout, connected to the first edge that is ready
 *
 * The connection is secured and logged in before the client's first byte; from then on bytes go through as they are, and the edge
 * answers. EHLO may be said again at any time (RFC 5321 4.1.4).
 */
#include "deploy/sendmail/settings.h"

/* An exit status: EX_OK when the edge ended the conversation or answered all there was, EX_TEMPFAIL when none was ready (the client hears 421). */
int through(const struct sendmail_settings *settings);

#endif
