#ifndef WEIR_COMMON_SETTINGS_H
#define WEIR_COMMON_SETTINGS_H
/*
 * settings.h - every section and key of weir.conf, as structs
 *
 * The tables (settings_tables in settings.c) drive parsing, `config check`, `config show` and the documentation. Key names are unique
 * enough that `--set key=value` does what is meant. Sizes are bytes, durations milliseconds.
 */
#include "common/config.h"

enum virus_action { VIRUS_REJECT, VIRUS_DISCARD, VIRUS_QUARANTINE, VIRUS_SAME }; /* reject|discard|quarantine; same: as virus_action */
enum unknown_action { UNKNOWN_TEMPFAIL, UNKNOWN_REJECT, UNKNOWN_DISCARD, UNKNOWN_QUARANTINE, UNKNOWN_TAG }; /* tempfail|reject|discard|quarantine, some |tag */
enum dnsbl_action { DNSBL_REJECT, DNSBL_TAG };                                     /* reject|tag */
enum next_hop_tls { NEXT_HOP_TLS_NONE, NEXT_HOP_TLS_MAY, NEXT_HOP_TLS_REQUIRE }; /* none|may|require */
enum listener_direction { DIRECTION_BOTH, DIRECTION_INBOUND, DIRECTION_OUTBOUND };     /* both|inbound|outbound */
enum listener_profile { PROFILE_RELAY, PROFILE_SUBMISSION, PROFILE_HANDOFF };           /* relay|submission|handoff */
enum unregistered_action { UNREGISTERED_ACCEPT, UNREGISTERED_REFUSE };           /* accept|refuse */
enum outbound_mode { OUTBOUND_ON, OUTBOUND_DRY_RUN, OUTBOUND_OFF };                /* on|dry_run|off */
enum outbound_action { OUTBOUND_HOLD, OUTBOUND_REFUSE };                         /* hold|refuse */
enum outbreak_mode { OUTBREAK_HOLD, OUTBREAK_WATCH, OUTBREAK_OFF };                /* hold|watch|off */
enum reputation_setting { REPUTATION_PROFILE, REPUTATION_OFF, REPUTATION_ON };      /* profile|off|on */
enum auth_setting { AUTH_PROFILE, AUTH_OFF, AUTH_OFFER, AUTH_REQUIRE };          /* profile|off|offer|require */
enum verify_unknown { VERIFY_UNKNOWN_ACCEPT, VERIFY_UNKNOWN_DEFER };               /* accept|defer */
#define PUBLIC_ADDRESSES_MAX 16 /* of one edge; what a heartbeat takes (proto/wire.h) */

enum signature_source { SIGNATURES_FOLDER, SIGNATURES_CLUSTER };                       /* folder|cluster */
enum spam_action { SPAM_QUARANTINE, SPAM_TAG, SPAM_REJECT };                        /* quarantine|tag|reject */
enum block_action { BLOCK_QUARANTINE, BLOCK_DISCARD };                                  /* quarantine|discard */
enum spam_failure { SPAM_FAILURE_ACCEPT, SPAM_FAILURE_TEMPFAIL };                     /* accept|tempfail */
enum spam_combine { SPAM_COMBINE_MAX, SPAM_COMBINE_MEAN };                            /* max|mean */
enum drain_mode { DRAIN_ANSWER, DRAIN_CLOSE };                                   /* answer|close */

struct log_settings {                 /* [log] */
    char *file;                       /* "-" stderr */
    int format;                       /* text|json */
    int level;                        /* debug|info|notice|warning|error: position, 0 = debug */
};

struct cluster_settings {             /* [cluster] */
    char *name;                       /* "weir" */
    char *key_file;                   /* this node's CURVE key pair, see proto/curve.h; per node */
    char *state_dir;                  /* where the last cluster state is cached for a start without coordinators, and audit rows wait for one */
    char *contact;                    /* help-desk text behind final refusals, and in DSNs; may be empty */
    uint64_t heartbeat_interval;      /* 500ms */
    uint64_t node_timeout;            /* 3s: a node silent for longer is shown and published as lost */
    uint64_t source_prefix4;          /* 32 bits of an address that are one source where sources take turns (fair.h) */
    uint64_t source_prefix6;          /* 64 */
    uint64_t question_repeat;         /* 5s without an answer: a coordinator's question is asked again */
    uint64_t link_send_mark;          /* 500 messages waiting for one peer that reads slowly; then it is full */
    uint64_t link_receive_mark;       /* 500 messages of one peer waiting for us; then its TCP is not read */
    uint64_t link_heartbeat;          /* 1s between the pings of a connection */
    uint64_t link_timeout;            /* 3s: a connection without an answer to a ping is ended */
    uint64_t link_silence;            /* 10s: a peer that says nothing of its own for so long is forgotten */
    uint64_t link_peers;              /* 20000 peers of one server */
    uint64_t link_message;            /* 64MiB of one message with all its parts; over it the connection is ended */
};

struct dns_settings {                 /* [dns]: the name by which clients find the edges; the coordinators read it */
    char *dns_name;                   /* "mx.example.edu"; empty: the edges have none */
    uint64_t dns_ttl;                 /* 1m */
    char *dns_server;                 /* "192.0.2.53": the leader pushes the healthy addresses there (RFC 2136); empty: it does not */
    char *dns_zone;                   /* "example.edu" */
    char *dns_tsig_file;              /* key "NAME" { algorithm ...; secret ...; }; empty: updates are not signed */
    uint64_t dns_interval;            /* 5m: pushed so often though nothing changed */
    uint64_t dns_push_timeout;        /* 10s for the server's answer */
    uint64_t dns_former_wait;         /* 1d: a name of before keeps its addresses so long after dns_name became another */
    uint64_t drain_dns_wait;          /* 90s: a drained edge serves so long after its address left the DNS */
};

struct coordinator_settings {         /* [coordinator "coordinator-1"]: read by all nodes to find the coordinators */
    char *listen;                     /* "tcp://192.0.2.5:7025": ROUTER for nodes and weirctl; nodes connect here */
    char *publish;                    /* "tcp://192.0.2.5:7026": PUB of cluster state */
    char *http;                       /* "127.0.0.1:7080": /metrics, /livez, /readyz */
    uint64_t http_connections;        /* 64 at once; over it the oldest one is ended */
    int dashboard_read;               /* 0 open: who reaches http may look; 1 login */
    bool dashboard_proxy;             /* off; on: a proxy that speaks TLS stands before http */
    uint64_t dashboard_idle;          /* 30m: an operator's login ends when nothing was done for so long */
    uint64_t dashboard_session;       /* 12h: and after so long in any case */
    char *public_key;                 /* 64 hex digits */
    char *database;                   /* libpq conninfo; only the coordinator itself needs it; may come from database_file */
    char *database_file;              /* a file holding the conninfo, for secrets */
    uint64_t publish_interval;        /* 500ms: cluster state is also published when it changes */
    uint64_t audit_days;              /* 30 */
    uint64_t audit_pending;           /* 50000 rows received and not committed; over it reports are refused and come again */
    uint64_t questions_pending;       /* 20000 questions of edges under way; over it they ask another coordinator */
    uint64_t act_memory;              /* 1d: an operator's act that is asked for again is answered as before */
    uint64_t admin_requests;          /* 256 questions of operators under way; over it "too many requests at once" */
    uint64_t policy_size;             /* 32MiB of all files of a policy; over it `policy apply` is refused. Less than link_message */
    uint64_t scrapes;                 /* 32 scrapes waiting for the database; over it 503 */
    uint64_t quarantine_days;         /* 14: so long a copy is kept that nobody releases */
    uint64_t quarantine_max_messages; /* 5000000: over it stores for the quarantine are refused: 452 4.3.1 */
    uint64_t quarantine_max_bytes;    /* 500GiB of bodies: the same */
    uint64_t learn_queue;             /* 1000 messages that wait to be learned of; over it what is to be learned is refused */
    uint64_t learn_message_size;      /* 1MiB: larger ones teach nothing */
    uint64_t learn_user_daily;        /* 50 messages a user may teach of in a day */
    uint64_t learn_user_score;        /* 10: what users teach moves a score by so many points at most, before others agree */
    uint64_t learn_messages;          /* 20000: over it the oldest are forgotten */
    uint64_t learn_interval;          /* 10s: a new model at most so often */
    uint64_t learn_refuse;            /* 5 percent of what was taught as ham is spam to a new model: it is refused */
    uint64_t spool_max_messages;      /* 1000000: over it 452 4.3.1 */
    uint64_t spool_max_bytes;         /* 100GiB of bodies: over it 452 4.3.1 */
    uint64_t spool_memory;            /* 64MiB of mail received and not committed; over it "ask again" */
    uint64_t spool_lease;             /* 30s without renewal or result: the lease is lost */
    uint64_t spool_look;              /* 5s: claims that stand look so often for what nobody told of */
    uint64_t spool_per_destination;   /* 100 messages leased for one destination at once, in the whole cluster */
    uint64_t spool_retry_min;         /* 5m, doubled for each further try */
    uint64_t spool_retry_max;         /* 4h */
    uint64_t spool_life;              /* 5d, then it comes back to its sender */
    uint64_t spool_delay_warning;     /* 4h; 0: never */
    uint64_t spool_leftover;          /* 1h: incomplete messages nobody goes on with are removed */
    uint64_t verify_positive_expire;  /* 7d: recipients a next hop knows are believed to exist that long */
    uint64_t verify_positive_refresh; /* 1d: then the next hop is asked anew, while the old answer still counts */
    uint64_t verify_negative_expire;  /* 1h: the same of those it does not know */
    uint64_t verify_negative_refresh; /* 10m */
    uint64_t verify_entries;          /* 1000000 of both; over it those that expire first go */
    uint64_t limit_buckets;           /* 1000000 buckets of the policy file limits that are not full; over it those that are full first go */
    uint64_t host_days;               /* 90 days of the register of hosts by day */
    uint64_t host_age;                /* 365d: a host not seen for so long is taken out of it */
    uint64_t host_entries;            /* 100000 hosts; over it those not seen for longest are taken out */
    struct config_list gc_schedule;   /* when scanners make new generations: times of day (03:30), intervals (12h); empty: never for that */
    uint64_t gc_memory_growth;        /* 1GiB more than when it was loaded; 0: never for that */
    uint64_t gc_messages;             /* 0: never for having scanned so many */
    uint64_t max_unavailable;         /* 1 scanner at a time makes a new generation */
    uint64_t turn_margin;             /* 25 per cent of the other scanners' workers that a turn must leave idle */
    uint64_t turn_timeout;            /* 20m for a scanner to make its new generation; then the next has its turn */
    int outbound;                     /* on|dry_run|off, dry_run by default: accounts and inside hosts that send too much or badly are slowed down, then stopped */
    int outbound_action;              /* hold|refuse: what stopped is */
    uint64_t outbound_account_recipients; /* 1000 within an hour; over it an account is slowed down; 0: no limit */
    uint64_t outbound_host_recipients; /* 2000: the same of an inside host that is not registered */
    uint64_t outbound_registered_recipients; /* 50000: the same of one that is */
    uint64_t outbound_rise;           /* 10 times what is usual for it; 0: not looked at */
    uint64_t outbound_rise_least;     /* 200 within an hour at least, for that */
    uint64_t outbound_viruses;        /* 5 within an hour; 0: not looked at */
    uint64_t outbound_bad_share;      /* 50 percent refused or bounced; 0: not looked at */
    uint64_t outbound_bad_least;      /* 50 within an hour at least, for that */
    uint64_t outbound_hold_factor;    /* 3: who is over so many times any of these is stopped */
    uint64_t outbound_throttle;       /* 100 recipients an hour for who is slowed down */
    uint64_t outbound_held_messages;  /* 1000 of one sender; over it no more are taken */
    uint64_t outbound_held_bytes;     /* 1GiB of one sender; over it the same */
    uint64_t outbound_held_share;     /* 25 percent of spool_max_bytes that held mail of all takes; over it nobody who is stopped is taken from */
    uint64_t outbound_senders;        /* 100000 that are counted */
    uint64_t approvals;               /* 1: operators that it takes to let something through against the cluster's judgement */
    uint64_t approval_wait;           /* 1d: for so long the second one may say so */
    uint64_t reputation_half_life;    /* 1d: what clients and accounts did counts half after so long */
    uint64_t reputation_throttle;     /* 50: score from which on one is throttled; 0: never */
    uint64_t reputation_reject;       /* 80: score from which on a client is refused at connect; 0: never */
    uint64_t reputation_entries;      /* 1000000 addresses, networks and accounts that are counted; over it the oldest are forgotten */
    uint64_t reputation_listed;       /* 100000 of them that edges are told to throttle or refuse; over it no further ones */
    int outbreak;                     /* hold|watch|off: mail with attachments that many suddenly send */
    uint64_t outbreak_senders;        /* 10 senders of their envelopes within outbreak_window, */
    uint64_t outbreak_prefixes;       /* and 5 networks of clients make an attachment one */
    uint64_t outbreak_window;         /* 1h */
    uint64_t outbreak_known;          /* 1d: one that was first seen longer ago never is */
    uint64_t outbreak_hold;           /* 2h a message waits */
    bool outbreak_release_on_clean;   /* off; on: only until newer signatures found it clean */
    uint64_t outbreak_memory;         /* 90d: what was not seen for so long is as new */
    uint64_t outbreak_entries;        /* 1000000 attachments remembered; over it those not seen for longest are forgotten */
    uint64_t hunt_days;               /* 14: so long it is known who got which attachment; 0: nothing is kept */
    uint64_t relay_test_interval;     /* 1d between two tests of a listener for being an open relay; 0: none */
    struct config_list relay_test_source; /* addresses such a test comes from; empty: the system's choice */
    char *relay_test_client;          /* 192.0.2.1: address of a stranger, told by XCLIENT where that is offered */
    char *relay_test_outside;         /* example.com: a domain that no edge takes mail for */
    struct config_list blocklist_zones; /* zone[=pattern][*weight], where own addresses are looked up; empty: nowhere */
    uint64_t blocklist_interval;      /* 1h between two rounds */
    struct config_list own_addresses; /* empty: what edges tell */
    bool blocklist_private;           /* off: private addresses are left out */
    uint64_t blocklist_addresses;     /* 64 of them; over it the last ones are left out */
    uint64_t blocklist_timeout;       /* 10s for a list's answer; then it says nothing */
    struct config_list blocklist_forward; /* resolvers; empty: resolv.conf; "root": the root servers */
    struct config_list blocklist_stub; /* "zone=192.0.2.1" */
    char *freshclam;                  /* /usr/bin/freshclam */
    uint64_t signature_interval;      /* 5m between two looks at the mirrors */
    struct config_list signature_mirrors; /* of ClamAV's own signatures; empty: none are fetched */
    struct config_list signature_urls; /* of other files of signatures */
    char *signature_folder;           /* "" none: files of the site's own */
    char *signature_work;             /* /var/lib/weir/signatures: freshclam's files */
    uint64_t signature_time;          /* 30m for a look */
    uint64_t signature_size;          /* 2GiB of a set */
    uint64_t signature_sets;          /* 5 retired or failed sets are kept */
    uint64_t signature_canary_time;   /* 20s one scanner works with a new set before the others take it */
    uint64_t signature_canary_ends;   /* 2 scanners that end or go away while they try a set make it a failed one */
    uint64_t signature_loads;         /* 8 scanners at a time load a set that has passed its trial */
    uint64_t signature_load_time;     /* 20m to fetch and load a set */
    uint64_t database_connect_timeout; /* 3s per host of the connection string */
    uint64_t database_timeout;        /* 10s without any answer: the connection is ended and made anew */
    uint64_t database_session;        /* 30s without a word of ours: PostgreSQL ends the connection; 2 s pass between two at most */
};

struct web_settings {                 /* [web]: what recipients hear of their quarantine (coordinators), and the pages where they look after it (weir-web) */
    struct config_list digest_times;  /* 09:00, 15:00 */
    char *digest_timezone;            /* "UTC"; as Europe/Berlin */
    char *digest_from;                /* "quarantine@example.edu"; empty: no digests, and no answers */
    uint64_t digest_messages;         /* 100 told of in one; the page has the others */
    char *web_url;                    /* "https://quarantine.example.edu"; empty: digests have no links */
    char *web_mail;                   /* "commands@quarantine.example.edu"; empty: no commands by mail */
    char *web_listen;                 /* "127.0.0.1:7090" */
    char *web_metrics;                /* "127.0.0.1:7091": /metrics, /livez, /readyz */
    char *web_certificate;            /* "": plain HTTP, for a proxy in front */
    char *web_key;
    char *web_database;               /* libpq conninfo of a role that has web_grant() only */
    char *web_database_file;          /* a file holding it */
    uint64_t web_connections;         /* 256 at once; over it the oldest one is ended */
    uint64_t web_requests;            /* 64 that wait for the database; over it 503 */
    uint64_t web_rate;                /* 120 requests a minute of one client; over it 429 */
    uint64_t web_clients;             /* 10000 clients counted; over it those not seen for longest are forgotten */
    struct config_list web_proxies;   /* whose X-Forwarded-For is believed; empty: nobody's */
    uint64_t web_view_size;           /* 4MiB of a message are looked into */
    uint64_t web_list_entries;        /* 1000 in one recipient's own list */
    char *web_mail_listen;            /* "": none; where the next hop of web_mail's domain listens */
    uint64_t web_mail_size;           /* 1MiB of a command */
    uint64_t web_mail_sessions;       /* 100 at once */
    uint64_t web_answers;             /* 20 commands of one recipient that are not answered yet */
};

struct auth_settings {                /* [auth]: read by coordinators */
    uint64_t auth_workers;            /* 2 processes that hash passwords */
    uint64_t auth_queue;              /* 1000 passwords waiting to be checked; over it another coordinator is asked */
    uint64_t auth_check_timeout;      /* 10s to hash one, waiting included */
    uint64_t auth_account_failures;   /* 20 wrong passwords for one account in auth_failure_window; then 454 4.7.0 */
    uint64_t auth_client_failures;    /* 100 from one client */
    uint64_t auth_place_memory;       /* 30d a client counts as a place of an account that logged in from it */
    uint64_t auth_failure_window;     /* 15m */
    uint64_t auth_failure_delay;      /* 1s: a refusal is not told earlier */
    char *ldap_uri;                   /* "" no directory; ldap://, ldaps:// or ldapi:// */
    bool ldap_starttls;               /* on: before anything is said, with ldap:// */
    char *ldap_ca_file;               /* "" the system's */
    char *ldap_dn;                    /* uid=%u,ou=people,dc=example,dc=edu */
    char *ldap_base;                  /* or: where to search */
    char *ldap_filter;                /* (uid=%u) */
    char *ldap_service_dn;            /* who searches; "" anybody */
    char *ldap_service_password_file;
    char *ldap_sender_attribute;      /* mail: addresses a user may send as */
    uint64_t ldap_timeout;            /* 5s for one login in all */
    uint64_t ldap_workers;            /* 8 processes that ask it */
};

struct edge_settings {                /* [edge] */
    char *hostname;                   /* banner and Received; default: the system's */
    uint64_t workers;                 /* 0: one per core */
    uint64_t worker_watchdog;         /* 10s: a worker whose loop stands still for that long, though it has a processor, is killed and replaced; 0: never */
    char *tmp_dir;                    /* for unlinked temporary files of large messages */
    uint64_t memory_threshold;        /* 256KiB: a larger message in flight lives in a temporary file */
    uint64_t message_memory;          /* 256MiB: budget per worker of message bytes in memory; over it 452 4.3.1 */
    uint64_t message_disk;            /* 16GiB: budget per worker of message bytes in temporary files; over it 452 4.3.1 */
    uint64_t max_sessions;            /* 20000 per edge, divided among workers; over it 421 4.3.2 */
    bool scan;                        /* on; `off` is the by-name way to pass mail unscanned */
    uint64_t scan_wait;               /* 10s: how long a complete message looks for a scanner before 421 4.7.0 */
    uint64_t scan_stall;              /* 1500ms: a scanner silent for that long is left, its scans replayed elsewhere */
    uint64_t scan_timeout;            /* 5m: no verdict in that time after the message is complete is unknown(timeout) */
    uint64_t scan_chunk;              /* 256KiB: payload bytes per frame; a message not larger goes in one frame */
    int virus_action;                 /* reject|discard|quarantine */
    int virus_action_outbound;        /* the same for mail from inside; VIRUS_SAME */
    bool virus_notice;                /* on: the owner of an inside host that sent a virus is told, once a day */
    int unknown_action;               /* tempfail|reject|discard: limits hit, time-out, engine missing */
    int unscannable_action;           /* tempfail|reject|discard|quarantine|tag: killed two workers on two scanners, or is a part of a split message; default quarantine */
    int limits_action;                /* tempfail|reject|discard|quarantine|tag: a scan limit was hit; default reject: sending again cannot help */
    uint64_t next_hop_connections;    /* 200 per next hop and worker */
    uint64_t next_hop_wait;           /* 30s: for a free connection */
    uint64_t next_hop_hold;           /* 20s: a connection waiting for a slow client's body longer than this is given back */
    uint64_t next_hop_hold_pressed;   /* 1s: the same while others wait for a connection */
    uint64_t next_hop_idle;           /* 10s: an unused pooled connection is kept that long */
    uint64_t next_hop_messages;       /* 1000 per connection */
    uint64_t next_hop_down;           /* 5s: after a failed attempt to connect nobody waits for another for as long as it took, at most this; 0: off */
    uint64_t next_hop_no_tls;         /* 10m: a failed TLS handshake is remembered that long (next_hop_tls = may) */
    uint64_t connect_timeout;         /* 10s */
    uint64_t greeting_timeout;        /* 1m: from being connected to a next hop until it is ready for MAIL */
    uint64_t reply_timeout;           /* 5m: for a command's reply; RFC 5321 4.5.3.2 */
    uint64_t data_done_timeout;       /* 10m: for the reply to the final dot */
    int next_hop_tls;                 /* none|may|require */
    struct config_list public_addresses; /* empty: those of the relay listeners; where the world reaches this edge, for weirctl dns */
    int drain_mode;                   /* answer|close: 421 4.3.2 to new sessions, or close the listeners */
    uint64_t drain_timeout;           /* 5m: sessions older than that when draining are ended with 421 4.3.2 */
    uint64_t drain_idle;              /* 10s: sessions without a command between messages for so long, too */
    uint64_t spool_ahead;             /* 8MiB of chunks to or from the spool before those in front of them were answered, per worker; 0: one of a message at a time */
    uint64_t spool_concurrency;       /* 20 leases of the spool that a worker delivers at once; 0: it leaves the spool to others */
    uint64_t spool_spare;             /* 5 leases more, one for each destination that has none here, while nothing ends */
    uint64_t spool_timeout;           /* 30s for a coordinator's answer while a client waits for its message to be stored */
    uint64_t dsn_return_size;         /* 64KiB: a DSN returns the whole message up to this size, else its header */
    uint64_t auth_timeout;            /* 20s for a coordinator to say whether a password is right */
    char *verify_sender;              /* "" the null sender: MAIL FROM of probes (policy file verify) */
    uint64_t verify_timeout;          /* 10s: how long a client's RCPT waits for it */
    int verify_unknown;               /* accept|defer: the next hop did not say */
    uint64_t verify_probes;           /* 20 at once of one next hop, per worker; over it the next hop did not say */
    uint64_t verify_memory;           /* 10000 answers kept by a worker */
    uint64_t verify_memory_time;      /* 30s; then the cluster's are asked again */
    uint64_t limit_timeout;           /* 1s for a coordinator to say whether a limit is reached (policy file limits); then the worker counts for itself */
    uint64_t limit_memory;            /* 10000 buckets that a worker counts for itself */
    uint64_t limit_lot;               /* 32 times as much as is needed is taken from a bucket that is asked about often; 0: never */
    uint64_t limit_lot_time;          /* 1s: what is not used by then is lost */
    struct config_list outbreak_types; /* executable, script, ...: kinds of attachments that may be an outbreak; empty: nobody is asked */
    uint64_t outbreak_timeout;        /* 2s for a coordinator to say whether one is; then the message goes on */
    bool hash_attachments;            /* on: scanners name what mail brings, for outbreaks and weirctl hunt */
    uint64_t reputation_kept;         /* 100000 entries of the list that state_dir keeps; 0: none */
    uint64_t reputation_rate;         /* 10 messages a minute of one that is throttled, through all edges together */
    uint64_t report_buffer;           /* 100000 audit rows kept while no coordinator answers, per worker */
    bool mx_delivery;                 /* on: a domain without a route goes to its MX; off: 550 5.4.4 */
    uint64_t mx_host_limit;           /* 20 hosts of one domain looked up, the best first */
    uint64_t mx_address_limit;        /* 5 addresses of one domain tried for one connection */
    struct config_list own_names;     /* other names by which this cluster is in MX records: mail is never sent there */
    bool next_hop_dane;               /* on: TLSA records of MX hosts are obeyed where DNSSEC secures them */
    struct config_list dns_forward;   /* resolvers, "192.0.2.1" or "192.0.2.1:5353"; empty: resolv.conf; "root": the root servers */
    struct config_list dns_stub;      /* "example.edu=192.0.2.1": zones asked at servers of their own */
    char *dns_trust_anchor;           /* a file with DS or DNSKEY records; empty: nothing is validated, so no DANE */
    char *dns_root_hints;             /* with dns_forward = root: a file; empty: those libunbound knows */
    uint64_t dns_timeout;             /* 10s for an answer; then it counts as failed */
    struct config_list dnsbl;         /* zone[=pattern][*weight] */
    uint64_t dnsbl_threshold;         /* 1: score from which on a client is refused */
    int dnsbl_action;                 /* reject|tag */
    uint64_t dnsbl_timeout;           /* 2s: how long the banner waits for the lists */
    uint64_t dnsbl_pause;             /* 1m: a list that did not answer is left out for so long */
    char *dnsbl_text;                 /* told in place of the lists' names; "": those */
    uint64_t ptr_wait;                /* 1s: how long the banner waits for the client's name; 0: it is not looked up */
};

struct tls_settings {                 /* [tls] */
    char *certificate;                /* PEM chain; empty: STARTTLS is not offered */
    char *key;                        /* PEM */
    char *ca_file;                    /* to verify next hops when next_hop_tls = require; empty: the system's */
};

/* What mail goes out from an egress pool: [egress] use_for. */
enum egress_class { EGRESS_INBOUND, EGRESS_OUTBOUND, EGRESS_SUBMISSION, EGRESS_HANDOFF, EGRESS_REPORTS, EGRESS_SUSPECT, EGRESS_CLASSES };
const char *egress_class_name(enum egress_class class);
/* EGRESS_CLASSES: no such class. */
enum egress_class egress_class_find(const char *name);
#define EGRESS_ADDRESSES_MAX 64

/* [egress "NAME"], NAME as weirctl outbound pool calls it. */
struct egress_settings {
    struct config_list addresses;     /* of this machine, IPv4 and IPv6; needed */
    char *hostname;                   /* said in EHLO from there; "": [edge] hostname */
    struct config_list use_for;       /* names of enum egress_class; empty: only who is moved there by weirctl */
};

struct listener_settings {            /* [listener "relay"] */
    int profile;                      /* relay|submission|handoff: relay delivers within the session, the others store first */
    int direction;                    /* both|inbound|outbound: inbound takes mail for own domains only, outbound from insiders and the authenticated only */
    int unregistered;                 /* accept|refuse: inside hosts that the policy file hosts does not have, and that nobody logged in from */
    struct config_list listen;        /* 127.0.0.1:25, [::1]:25 */
    struct config_list drain_to;      /* empty; endpoints of other edges that take the connections of a drained one */
    struct config_list proxy_from;    /* empty; load balancers: each connection begins with a PROXY header, which is looked for from nobody else */
    uint64_t proxy_timeout;           /* 5s for that header: 421 4.4.2 */
    struct config_list xclient_from;  /* empty; who may use XCLIENT */
    uint64_t banner_delay;            /* 0: off. A client that talks before the banner gets 554 5.5.1 */
    uint64_t max_message_size;        /* 50MiB */
    uint64_t max_recipients;          /* 100 */
    uint64_t max_command_line;        /* 2048 bytes with CRLF */
    uint64_t max_text_line;           /* 0: no limit; 1000 is RFC 5321's. Longer lines in DATA: 550 5.6.0 */
    uint64_t max_commands;            /* 10000 a session */
    uint64_t max_errors;              /* 20 a session, then 421 4.7.0 */
    uint64_t max_unknown_recipients;  /* 100 5xx answers of next hops at RCPT since the last accepted message, then 421 4.7.0; 0: off */
    uint64_t max_hops;                /* 100 Received headers: 554 5.4.6 */
    uint64_t max_header_size;         /* 1MiB: where the header has not ended by then 552 5.3.4 */
    uint64_t idle_timeout;            /* 5m without a byte: 421 4.4.2 */
    uint64_t session_timeout;         /* 2h in all, but not while a message is coming */
    uint64_t min_data_rate;           /* 64 bytes/s averaged over data_rate_grace; slower: 421 4.4.2 */
    uint64_t data_rate_grace;         /* 60s */
    uint64_t sessions_per_client;     /* 0: no limit; over it 421 4.7.0 */
    bool starttls;                    /* on: offered when [tls] has a certificate */
    uint64_t tls_timeout;             /* 1m for the handshake; then the connection is closed */
    int auth;                         /* profile: require on submission, else off; offer|require, under TLS only */
    int reputation;                   /* enum reputation_setting: profile */
    bool sender_login_match;          /* off: MAIL FROM must belong to the login */
    bool implicit_tls;                /* off; on: TLS from the first byte (port 465), needs [tls] */
    char *qualify_domain;             /* handoff: for addresses without a domain; empty: the hostname */
    bool add_from;                    /* on; handoff: a message without From gets its sender's */
};

struct scanner_settings {             /* [scanner] */
    char *listen;                     /* "tcp://127.0.0.1:7100": bound, and told to the edges unless advertise is set */
    char *advertise;                  /* empty: as listen */
    uint64_t workers;                 /* 0: one per core; for messages up to large_message */
    uint64_t large_workers;           /* 0: half of workers, at least one; niced, for larger ones: these never hold up small mail */
    uint64_t spare_workers;           /* 1 more of each kind, less niced, for clients of whom nothing is being scanned there */
    uint64_t large_message;           /* 1MiB */
    uint64_t slots;                   /* 512: scans admitted (queued or running) at once */
    uint64_t memory;                  /* 512MiB of message bytes held in memory (memfd); over it BUSY */
    uint64_t memory_threshold;        /* 1MiB: a larger message lives in an unlinked file in tmp_dir, counted in `disk` */
    uint64_t disk;                    /* 8GiB */
    uint64_t window;                  /* 1MiB: bytes an edge may have under way per message */
    uint64_t source_window;           /* 64KiB of all messages of a client that has several, 4 KiB each at least */
    char *signatures;                 /* folder with the signature set; empty is an error */
    int signature_source;             /* folder|cluster */
    char *signature_store;            /* with cluster: where sets are kept */
    char *signature_clean;            /* "" none: folder of mail in which a new set must find nothing */
    char *tmp_dir;                    /* libclamav's scratch, on tmpfs: /dev/shm */
    char *spool_dir;                  /* unlinked files of large messages: /var/tmp */
    uint64_t scan_time;               /* 60s wall clock a scan, plus scan_time_per_mib for each MiB; then SIGKILL */
    uint64_t scan_time_per_mib;       /* 5s */
    uint64_t worker_memory;           /* 2GiB RLIMIT_AS above the engine */
    uint64_t worker_scans;            /* 5000 scans, then a worker is replaced (garbage collection); 0: never */
    uint64_t max_scan_size;           /* 400MiB */
    uint64_t max_file_size;           /* 100MiB */
    uint64_t max_files;               /* 10000 */
    uint64_t max_recursion;           /* 17 */
    uint64_t mime_depth;              /* 30 parts within parts; where a limit of our own parser is reached the rest is not judged */
    uint64_t mime_parts;              /* 1000 */
    uint64_t mime_headers;            /* 4000 fields */
    uint64_t mime_header_size;        /* 256KiB a part */
    uint64_t mime_words;              /* 4000 encoded words */
    uint64_t mime_decoded_size;       /* 256MiB a message */
    uint64_t mime_text_size;          /* 1MiB a part */
    uint64_t native_time;             /* 1s of CPU time a message */
    uint64_t load_interval;           /* 200ms between load broadcasts */
    bool sandbox;                     /* on */
    bool huge_pages;                  /* on: loaded signatures are put into huge pages */
    bool detect_phishing_heuristics;  /* off: libclamav's phishing heuristics count as virus */
    bool block_encrypted;             /* off: encrypted archives count as virus */
    bool block_partial;               /* on: message/partial is unscannable */
    uint64_t drain_timeout;           /* 5m for scans in flight at SIGTERM */
};

struct spam_settings {                /* [spam]: the engines are asked by scanners; edges act on what they say */
    struct config_list spam_engines;  /* empty: none; rspamd, spamd, native, each perhaps with *weight */
    int spam_combine;                 /* max|mean of the engines' scores */
    uint64_t spam_timeout;            /* 5s for an engine's answer */
    uint64_t spam_size;               /* 4MiB: larger messages are not shown to engines */
    uint64_t spam_connections;        /* 64 questions to one engine at once; further ones wait */
    uint64_t spam_failures;           /* 3 in a row: the engine is left alone for spam_pause */
    uint64_t spam_pause;              /* 10s, then one message tries it */
    uint64_t spam_reply_size;         /* 4MiB of an engine's answer */
    int spam_failure;                 /* accept|tempfail: an engine did not answer */
    char *rspamd;                     /* 127.0.0.1:11333, or unix:/path */
    uint64_t rspamd_shared_memory;     /* 0: no message is handed over so; bytes from which one is */
    uint64_t rspamd_shared_memory_max; /* 64MiB of messages there at once */
    char *rspamd_shared_memory_group; /* empty: the scanner's own; who may read them */
    char *rspamd_spam;                /* 6: rspamd's score that is 50 here */
    char *rspamd_reject;              /* 15: rspamd's score that is 90 here, where it does not say its own */
    char *spamd;                      /* 127.0.0.1:783, or the path of a socket */
    bool dkim_sign;                   /* off: signatures that rspamd makes for outgoing mail are added */
    char *tag_score;                  /* off: Subject is tagged from this score on */
    char *quarantine_score;           /* 50: from this score on, spam_action */
    char *discard_score;              /* off: over this score */
    int spam_action;                  /* quarantine|tag|reject */
    char *spam_subject;               /* [SPAM]; empty: Subject is never changed */
    char *virus_subject;              /* [VIRUS?]: of mail without a verdict that goes on all the same */
    char *blacklist_subject;          /* [BLACKLISTED]: of clients on lists that are let in */
    bool spam_subject_signed;         /* off: of mail with a DKIM signature it is not changed either */
    int block_action;                 /* quarantine|discard: the copy of who blocked the sender himself */
    uint64_t personal_timeout;        /* 2s for what recipients' own lists say */
    char *authserv_id;                /* empty: the edge's hostname */
};

extern const struct config_section settings_tables[]; /* ends with name == NULL */

/* The table of one section, for config_clear(). */
const struct config_section *settings_table(const char *section);

/* What is done about a virus, never VIRUS_SAME. inside: of mail from inside networks and logged-in users. */
enum virus_action virus_action_for(const struct edge_settings *settings, bool inside);
/* How a listener treats AUTH: its key, or what its profile is for. */
/* Whether clients of the listener are judged by their reputation: on says so, or the profile. */
bool listener_uses_reputation(const struct listener_settings *settings);
enum auth_setting listener_auth(const struct listener_settings *settings);

/* config_load() with all these tables, and what holds between several values: two listeners at one address, say. Every program that lives by
 * the file loads it so, and `weirctl config check`: what is wrong for one node is told to all. */
struct config *settings_load(const char *path, char *const *overrides, size_t count, struct error *why);

/*
 * Whether this machine has what a value of an unnamed section speaks of; not of what a reload asks again, which is for what can be had at once.
 * false: why begins with the value's file and line.
 */
/* A folder in which this process can make files. */
bool settings_check_folder(const struct config *config, const char *section, const char *key, const char *path, struct error *why);
/* A file that this process can read, and no pipe (input_is_no_pipe()); "" is fine. */
bool settings_check_file(const struct config *config, const char *section, const char *key, const char *path, struct error *why);
/* The same, but for what we read ourselves and once: it may be a pipe (input_open()). */
bool settings_check_input(const struct config *config, const char *section, const char *key, const char *path, struct error *why);
/* A file that is not open to everybody; one that is not there is fine. */
bool settings_check_private(const struct config *config, const char *section, const char *key, const char *path, struct error *why);
/* [log] file: can be written, or made. */
bool settings_check_log(const struct config *config, const char *path, struct error *why);

#endif
