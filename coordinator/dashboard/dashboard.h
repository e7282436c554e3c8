#ifndef WEIR_COORDINATOR_DASHBOARD_DASHBOARD_H
#define WEIR_COORDINATOR_DASHBOARD_DASHBOARD_H
/*
 * dashboard.h - the operators' pages on the coordinator's HTTP: the cluster at a glance, the spool, and what may be done from there
 *
 * Looking is for whoever reaches the address, or for who has logged in (dashboard_read). Doing anything, and seeing addresses of mail, needs an operator's login
 * (weirctl operator): name and password, a session whose cookie only its owner's browser has, and for each act a token of that session and a reason.
 * What is read goes over the desk, the connection that nodes do not wait for; passwords are checked by the helper processes of auth/.
 */
#include <event2/http.h>
#include "common/settings.h"
#include "coordinator/admin.h"
#include "coordinator/auth/auth.h"
#include "coordinator/db.h"
#include "coordinator/spool/spool.h"

#define DASHBOARD_BODY_MAX 16384 /* bytes of a form */

struct dashboard;

struct dashboard_options {
    struct event_base *base;
    struct db *desk;
    struct admin *admin;
    struct auth *auth;
    const struct spool *spool;
    const char *name, *cluster; /* of this coordinator and of the cluster; borrowed, as the settings */
    const struct coordinator_settings *settings;
    const struct auth_settings *auth_settings; /* guesses have the same limits */
    uint64_t node_timeout_ms;
    struct metrics *metrics;
};

struct dashboard *dashboard_new(const struct dashboard_options *options);
/* Called by who ends the HTTP server, after that: no request is answered any more. */
void dashboard_rest(struct dashboard *dashboard);
void dashboard_free(struct dashboard **dashboard); /* after desk, admin and auth */
/* Answers the request, now or later. false: it is none of these pages, and still the caller's. */
bool dashboard_serve(struct dashboard *dashboard, struct evhttp_request *request);
/* The leader's turn: notes what has been counted, every few seconds, and forgets sessions that are over. */
void dashboard_turn(struct dashboard *dashboard);

#endif
