#ifndef WEIR_EDGE_SESSION_NOTICE_H
#define WEIR_EDGE_SESSION_NOTICE_H
/*
 * notice.h - mail to the owner of an inside host that sent a virus: once a day from the whole cluster
 */
#include "common/netaddr.h"

struct server;

/* A verdict was bad. Tells the mail address that the client's line of `networks` has, if it has one and virus_notice is on. Nothing waits for it: one
 * that cannot be stored is logged, and the day's next virus tries again. All borrowed for the call; listener is the name of the one it came in by. */
void notice_of_virus(struct server *server, const struct netaddr *client, const char *listener, const char *id, const char *sender,
                     const char *signature);
/* None is under way any more. */
void notices_cancel(struct server *server);

#endif
