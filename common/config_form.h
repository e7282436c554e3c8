#ifndef WEIR_COMMON_CONFIG_FORM_H
#define WEIR_COMMON_CONFIG_FORM_H
/*
 * config_form.h - what the text of a value must look like beyond its type
 *
 * A form belongs to a key (struct config_key), so a value that no program could use is refused where it stands, with its file and line, by
 * all of them alike. Each takes one text, an item of a list for CONFIG_LIST, and says "expected ..." when it has not that form. All are
 * pure: whether a file is there only its own node can say (settings.h).
 */
#include <stdbool.h>
#include "common/error.h"
#include "common/netaddr.h"

bool form_host(const char *text, struct error *why);             /* mx1.example.edu; underscores, no dot at its end */
bool form_host_port(const char *text, struct error *why);        /* mx1.example.edu:25, 192.0.2.1:25, [2001:db8::1]:25 */
bool form_host_service(const char *text, struct error *why);     /* the same, with a service's name or without a port, too: mx1.example.edu:submission */
bool form_mailbox(const char *text, struct error *why);          /* verify@example.edu: a dot-atom and a host (RFC 5321 4.1.2) */
bool form_path(const char *text, struct error *why);             /* /var/lib/weir: absolute, as a daemon's folder is the root */
bool form_log_file(const char *text, struct error *why);         /* the same, or "-" */
bool form_words(const char *text, struct error *why);            /* printable ASCII: it is sent in replies, at most 256 bytes */
bool form_address(const char *text, struct error *why);          /* 192.0.2.1, 2001:db8::1 */
bool form_endpoint(const char *text, struct error *why);         /* 192.0.2.1:25 */
bool form_link(const char *text, struct error *why);             /* tcp://HOST:PORT; HOST may be * */
bool form_link_to(const char *text, struct error *why);          /* the same for who connects: no * */
bool form_curve_key(const char *text, struct error *why);        /* 64 hex digits */
bool form_server_address(const char *text, struct error *why);   /* form_name_server() */
bool form_resolver(const char *text, struct error *why);         /* form_name_server(), or "root" */
bool form_stub(const char *text, struct error *why);             /* example.edu=192.0.2.1 */
bool form_schedule(const char *text, struct error *why);          /* 03:30, or 12h */
bool form_time(const char *text, struct error *why);              /* 09:00 */
bool form_timezone(const char *text, struct error *why);          /* Europe/Berlin; whether there is one, the database says */
bool form_web_url(const char *text, struct error *why);           /* https://quarantine.example.edu: a path may follow, nothing else */
bool form_dnsbl(const char *text, struct error *why);            /* see common/dnsbl_site.h */
bool form_spam_engine(const char *text, struct error *why);      /* see common/spam_engine.h */
bool form_attachment_kind(const char *text, struct error *why);  /* see common/attachment_kind.h */
bool form_group(const char *text, struct error *why);            /* a group's name, or nothing */
bool form_spam_server(const char *text, struct error *why);      /* 127.0.0.1:11333, or unix:/run/rspamd/worker.sock; unix: may be left out */
bool form_threshold(const char *text, struct error *why);        /* 0 to 100, two decimals, or off: common/score.h */
bool form_points(const char *text, struct error *why);           /* over 0, two decimals, on an engine's own scale */
bool form_signature_mirror(const char *text, struct error *why); /* database.clamav.net, https://mirror.example.edu: what freshclam takes */
bool form_signature_url(const char *text, struct error *why);  /* https://mirror.example.edu/own.ndb: http, https or file, and libclamav takes its name */
bool form_ldap_uri(const char *text, struct error *why);         /* ldap://, ldaps://, ldapi:// */
bool form_ldap_template(const char *text, struct error *why);    /* with %s or %u, else it names no user */
bool form_ldap_attribute(const char *text, struct error *why);   /* mail */

/* "03:30" as minutes since midnight. Shared with who lives by it. */
bool form_time_of_day(unsigned *minutes, const char *text);

/* "192.0.2.1", "[2001:db8::1]:5353": the address of a name server, port 53 unless it says another. Shared with who asks it. */
bool form_name_server(struct netaddr *out, const char *text, struct error *why);

#endif
