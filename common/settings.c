/*
 * settings.c - see settings.h
 *
 * Limits on values keep a typing error from becoming an outage (a 5 ms node_timeout) or a budget from being none. Where 0 means
 * something of its own (no limit, one per core) the key's help says so.
 */
#include "common/settings.h"

#include <string.h>
#include "common/config_form.h"

#define NO_LIMIT 0
#define MS 1ull
#define SECONDS 1000ull
#define MINUTES (60 * SECONDS)
#define HOURS (60 * MINUTES)
#define DAYS (24 * HOURS)
#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

/* Within a table, S is the section's struct. */
#define STRING(key, value, form, help) { #key, CONFIG_STRING, offsetof(struct S, key), value, NULL, 0, 0, help, form }
#define ANYTHING NULL /* a form */
#define BOOL(key, value, help) { #key, CONFIG_BOOL, offsetof(struct S, key), value, NULL, 0, 0, help, NULL }
#define LIST(key, value, form, help) { #key, CONFIG_LIST, offsetof(struct S, key), value, NULL, 0, 0, help, form }
#define NETWORKS(key, value, help) { #key, CONFIG_NETWORKS, offsetof(struct S, key), value, NULL, 0, 0, help, NULL }
#define ENDPOINTS(key, value, help) { #key, CONFIG_ENDPOINTS, offsetof(struct S, key), value, NULL, 0, 0, help, NULL }
#define ENUM(key, value, choices, help) { #key, CONFIG_ENUM, offsetof(struct S, key), value, choices, 0, 0, help, NULL }
#define UINT(key, value, min, max, help) { #key, CONFIG_UINT, offsetof(struct S, key), value, NULL, min, max, help, NULL }
#define SIZE(key, value, min, max, help) { #key, CONFIG_SIZE, offsetof(struct S, key), value, NULL, min, max, help, NULL }
#define DURATION(key, value, min, max, help) { #key, CONFIG_DURATION, offsetof(struct S, key), value, NULL, min, max, help, NULL }
#define END { .name = NULL }

#define UNKNOWN_CHOICES "tempfail|reject|discard|quarantine"
#define DOUBT_CHOICES   UNKNOWN_CHOICES "|tag"

#define S log_settings
static const struct config_key log_keys[] = {
    STRING(file, "-", form_log_file, "where log lines go; - is stderr"),
    ENUM(format, "text", "text|json", "Postfix's shape, or one JSON object a line"),
    ENUM(level, "info", "debug|info|notice|warning|error", "what is less urgent is not written"),
    END,
};
#undef S

#define S cluster_settings
static const struct config_key cluster_keys[] = {
    STRING(name, "weir", form_words, "the cluster's name"),
    STRING(key_file, "/etc/weir/node.key", form_path, "this node's CURVE key pair"),
    STRING(state_dir, "/var/lib/weir", form_path, "the last cluster state and policy, for a start without coordinators; audit rows that an edge could not hand in before it ended"),
    STRING(contact, "", form_words, "help-desk text behind final refusals, and in reports to senders; may be empty"),
    DURATION(heartbeat_interval, "500ms", 50 * MS, MINUTES, "how often a node reports"),
    DURATION(node_timeout, "3s", 200 * MS, 10 * MINUTES, "a node silent for longer is lost"),
    UINT(source_prefix4, "32", 8, 32, "bits of an IPv4 address that are one source where sources take turns; its neighbours share them"),
    UINT(source_prefix6, "64", 16, 128, "the same of an IPv6 address"),
    DURATION(question_repeat, "5s", 200 * MS, 10 * MINUTES, "a question to a coordinator without an answer for so long is asked again, of the next one"),
    UINT(link_send_mark, "500", 1, 100000, "messages waiting for one peer of a link"),
    UINT(link_receive_mark, "500", 1, 100000, "messages of one peer waiting for us; then it is not read"),
    DURATION(link_heartbeat, "1s", 100 * MS, MINUTES, "between the pings of a link's connection"),
    DURATION(link_timeout, "3s", 200 * MS, 10 * MINUTES, "a connection without an answer to a ping is ended"),
    DURATION(link_silence, "10s", SECONDS, HOURS, "a peer that says nothing for so long is forgotten"),
    UINT(link_peers, "20000", 1, 1000000, "peers of one server; over it newcomers are dropped"),
    SIZE(link_message, "64MiB", 2 * MIB, 4 * GIB, "bytes of one message of a link; over it its connection is ended"),
    END,
};
#undef S

#define S coordinator_settings
static const struct config_key coordinator_keys[] = {
    STRING(listen, NULL, form_link_to, "endpoint for nodes and weirctl, as tcp://192.0.2.5:7025"),
    STRING(publish, NULL, form_link_to, "endpoint of the cluster state, as tcp://192.0.2.5:7026"),
    STRING(http, "127.0.0.1:7080", form_endpoint, "address of the dashboard, /metrics, /livez and /readyz"),
    UINT(http_connections, "64", 1, 1000, "connections to it at once; over it the oldest one is ended"),
    ENUM(dashboard_read, "open", "open|login", "who may look at the dashboard: whoever reaches http, as with /metrics, or operators who log in"),
    BOOL(dashboard_proxy, "off", "a proxy that speaks TLS stands before http: the dashboard's cookie is sent over TLS only, and the client is the last address of X-Forwarded-For"),
    DURATION(dashboard_idle, "30m", SECONDS, DAYS, "an operator's login at the dashboard ends when nothing was done for so long"),
    DURATION(dashboard_session, "12h", SECONDS, 30 * DAYS, "and after so long in any case"),
    STRING(public_key, NULL, form_curve_key, "this coordinator's public key, 64 hex digits"),
    STRING(database, "", ANYTHING, "libpq connection string; only the coordinator needs it. Names are resolved on the loop: give hostaddr, too"),
    STRING(database_file, "", form_path, "a file that holds the connection string, when it has a password"),
    DURATION(publish_interval, "500ms", 50 * MS, MINUTES, "cluster state is published this often, and when it changes"),
    UINT(audit_days, "30", 1, 36500, "audit rows are kept that long"),
    UINT(audit_pending, "50000", 1, 10000000, "audit rows received and not committed; over it their edges keep them"),
    UINT(questions_pending, "20000", 1, 1000000, "questions of edges under way; over it they are told to ask another coordinator"),
    DURATION(act_memory, "1d", MINUTES, 30 * DAYS, "an operator's act that is asked for again within this time is answered as the first time, and not done again"),
    UINT(admin_requests, "256", 1, 100000, "requests of operators under way; over it they are asked to come again"),
    SIZE(policy_size, "32MiB", KIB, 64 * MIB, "all files of a policy; over it policy apply is refused; less than link_message"),
    UINT(scrapes, "32", 1, 10000, "scrapes of /metrics waiting for the database; over it 503"),
    UINT(quarantine_days, "14", 1, 36500, "a copy in the quarantine is kept that long, unless it is on legal hold"),
    UINT(quarantine_max_messages, "5000000", 1, NO_LIMIT, "messages in the quarantine; over it stores for it are refused: 452 4.3.1"),
    SIZE(quarantine_max_bytes, "500GiB", MIB, NO_LIMIT, "bytes of bodies in the quarantine; over it the same"),
    UINT(learn_queue, "1000", 1, 1000000, "messages that wait for a scanner to take what is to be learned of them; over it no more are taken"),
    SIZE(learn_message_size, "1MiB", KIB, 4 * MIB, "a larger message teaches the spam engine nothing"),
    UINT(learn_user_daily, "50", 1, 1000000, "messages that one user may teach the spam engine of in a day; operators as many as they like"),
    UINT(learn_user_score, "10", 0, 60, "one user alone moves no score by more points, whatever he teaches; from the next model on"),
    UINT(learn_messages, "20000", 100, 60000, "messages that the spam engine has learned of; over it the oldest are forgotten, but for operators' newest, whose half it is"),
    DURATION(learn_interval, "10s", 100 * MS, HOURS, "a new model of what was learned is made at most so often"),
    UINT(learn_refuse, "5", 0, 100, "percent of the ham that operators taught it that a new model may call spam; over it it is refused, and the old one stays"),
    UINT(spool_max_messages, "1000000", 1, NO_LIMIT, "messages in the spool; over it stores are refused: 452 4.3.1"),
    SIZE(spool_max_bytes, "100GiB", MIB, NO_LIMIT, "bytes of bodies in the spool; over it the same"),
    SIZE(spool_memory, "64MiB", 8 * MIB, TIB, "bytes of mail received and not committed; over it, or half of it for what is sent ahead, edges are asked to come again"),
    DURATION(spool_lease, "30s", 500 * MS, 30 * MINUTES, "an edge that neither renews nor reports for so long has lost its lease"),
    DURATION(spool_look, "5s", 100 * MS, HOURS, "a claim looks so often at what may be due without anybody having said so"),
    UINT(spool_per_destination, "100", 1, 100000, "messages leased for one destination at once, in the whole cluster"),
    DURATION(spool_retry_min, "5m", 100 * MS, 30 * DAYS, "pause before the second try, doubled for each further one"),
    DURATION(spool_retry_max, "4h", 100 * MS, 30 * DAYS, "longest pause between tries"),
    DURATION(spool_life, "5d", SECONDS, 365 * DAYS, "what was not delivered by then comes back to its sender"),
    DURATION(spool_delay_warning, "4h", 0, 365 * DAYS, "the sender of a message delayed for so long is told once; 0: never"),
    DURATION(spool_leftover, "10m", SECONDS, 30 * DAYS, "an incomplete message nobody went on with for so long is removed"),
    DURATION(verify_positive_expire, "7d", SECONDS, 365 * DAYS, "a recipient that its next hop knows is not verified again for so long"),
    DURATION(verify_positive_refresh, "1d", SECONDS, 365 * DAYS, "after so long the next hop is asked anew, while its last answer still counts"),
    DURATION(verify_negative_expire, "1h", SECONDS, 365 * DAYS, "a recipient that its next hop does not know is refused without asking for so long"),
    DURATION(verify_negative_refresh, "10m", SECONDS, 365 * DAYS, "after so long the next hop is asked anew, while its last answer still counts"),
    UINT(verify_entries, "1000000", 1, 1000000000, "verified recipients remembered; over it those that expire first are forgotten"),
    UINT(limit_buckets, "1000000", 1, 1000000000, "buckets of the policy file limits that are not full; over it those that are full first are forgotten"),
    UINT(host_days, "90", 1, 36500, "what inside hosts sent is kept by day for so many days (weirctl hosts)"),
    DURATION(host_age, "365d", DAYS, 36500 * DAYS, "a host that sent nothing for so long is taken out of the register"),
    UINT(host_entries, "100000", 1, 100000000, "hosts in the register; over it those not seen for longest are taken out"),
    LIST(gc_schedule, "", form_schedule, "when each scanner makes a new generation: times of day, as 03:30, in the coordinators' time zone, or intervals, as 12h; empty: not for that"),
    SIZE(gc_memory_growth, "1GiB", 0, TIB, "a scanner whose generation has grown by so much since it was loaded makes a new one; 0: not for that"),
    UINT(gc_messages, "0", 0, NO_LIMIT, "one that has scanned so many messages; 0: not for that"),
    UINT(max_unavailable, "1", 1, 10000, "scanners that make new generations at once; the others wait for their turn"),
    UINT(turn_margin, "25", 0, 99, "per cent of the other scanners' workers that must stay idle while one has its turn, by the load of now; else it waits"),
    DURATION(turn_timeout, "20m", SECONDS, DAYS, "a scanner that has made no new generation in its turn by then has lost it"),
    ENUM(outbound, "dry_run", "on|dry_run|off", "accounts and inside hosts that send more than they may, or what nobody wants, are slowed down, then stopped (weirctl outbound); dry_run: only told"),
    ENUM(outbound_action, "hold", "hold|refuse", "what stopped is: mail is taken and rests in the spool, or 550 5.7.1; devices' mail is held in any case"),
    UINT(outbound_account_recipients, "1000", 0, 1000000000, "recipients an account may name within an hour; over it it is slowed down; 0: no limit"),
    UINT(outbound_host_recipients, "2000", 0, 1000000000, "the same of an inside host that the policy file hosts does not have"),
    UINT(outbound_registered_recipients, "50000", 0, 1000000000, "the same of one that it has"),
    UINT(outbound_rise, "10", 0, 1000000, "slowed down is who names so many times the recipients an hour that are usual for it, from its second day on; 0: not looked at"),
    UINT(outbound_rise_least, "200", 1, 1000000000, "but not below so many"),
    UINT(outbound_viruses, "5", 0, 1000000, "viruses within an hour that slow down; 0: not looked at"),
    UINT(outbound_bad_share, "50", 0, 100, "percent of the recipients of an hour that next hops refuse, or that bounce within it, which slow down; 0: not looked at"),
    UINT(outbound_bad_least, "50", 1, 1000000000, "but not below so many, and of so many recipients"),
    UINT(outbound_hold_factor, "3", 1, 1000, "who is at so many times any of these is stopped, until weirctl outbound release; hosts of the policy file hosts not for outbound_bad_share"),
    UINT(outbound_throttle, "100", 1, 1000000000, "recipients an hour for who is slowed down; more: 450 4.7.1. Handoff listeners slow down nobody"),
    UINT(outbound_held_messages, "1000", 1, 1000000, "messages of one sender that are held; over it its mail is not taken: 450 4.7.1"),
    SIZE(outbound_held_bytes, "1GiB", MIB, NO_LIMIT, "bytes of one sender that are held; over it the same"),
    UINT(outbound_held_share, "25", 1, 100, "percent of spool_max_bytes that held mail of all senders may take; over it no more of any stopped sender is taken"),
    UINT(outbound_senders, "100000", 1, 100000000, "accounts and hosts that are counted; over it those not seen for longest are forgotten"),
    UINT(approvals, "1", 1, 2, "operators that it takes to let mail through against the cluster's judgement (reputation set and forget, outbound release), and with 2 to add an operator; 2: another one has to approve it (weirctl override)"),
    DURATION(approval_wait, "1d", MINUTES, 30 * DAYS, "for so long he may"),
    DURATION(reputation_half_life, "1d", MINUTES, 365 * DAYS, "what clients and accounts did counts half after so long"),
    UINT(reputation_throttle, "50", 0, 99, "score from 0 to 100 from which on an address, its network (/24, /64), an account or a registered host is throttled; 0: never"),
    UINT(reputation_reject, "80", 0, 99, "score from which on an address or an IPv6 network is refused at connect; 0: never"),
    UINT(reputation_entries, "1000000", 1, 1000000000, "addresses, networks and accounts that are counted; over it those that were not heard of for longest are forgotten"),
    UINT(reputation_listed, "100000", 1, 1000000, "addresses, networks and accounts that edges are told to throttle or refuse; over it no further ones"),
    ENUM(outbreak, "hold", "hold|watch|off", "mail with an attachment that many suddenly send and nobody sent before waits in the quarantine; watch: only told"),
    UINT(outbreak_senders, "10", 1, 1000, "so many senders within outbreak_window (accounts; of who did not log in, no more names of a network than each has to bring), and"),
    UINT(outbreak_prefixes, "5", 1, 1000, "so many networks of clients (/24, /48) make an attachment an outbreak"),
    DURATION(outbreak_window, "1h", SECONDS, 30 * DAYS, "in which they are counted"),
    DURATION(outbreak_known, "1d", SECONDS, 365 * DAYS, "an attachment first seen longer ago is no outbreak any more"),
    DURATION(outbreak_hold, "2h", SECONDS, 7 * DAYS, "a message waits that long, unless signatures find it bad before; then it is scanned again and delivered"),
    BOOL(outbreak_release_on_clean, "off", "on: it waits only until signatures that came after it found it clean"),
    DURATION(outbreak_memory, "90d", MINUTES, 3650 * DAYS, "an attachment that nobody sent for so long is as new"),
    UINT(outbreak_entries, "1000000", 100, 1000000000, "attachments remembered; over it those not seen for longest are forgotten"),
    UINT(hunt_days, "14", 0, 3650, "so long it is known who got which attachment (weirctl hunt); 0: nothing is kept"),
    DURATION(relay_test_interval, "1d", 0, 30 * DAYS, "the leader asks each relay listener of the edges so often whether it is an open relay; 0: never"),
    LIST(relay_test_source, "", form_address, "addresses it asks from, IPv4 and IPv6, outside of the policy's networks: inside ones may relay; empty: the system's choice"),
    STRING(relay_test_client, "192.0.2.1", form_address, "a stranger's address that it tells by XCLIENT, where a listener has it in xclient_from"),
    STRING(relay_test_outside, "example.com", form_host, "a domain that is not ours: what it asks the listeners to take mail for"),
    LIST(blocklist_zones, "", form_dnsbl, "lists that the leader looks the site's own addresses up in, as zen.example.org=127.0.0.[2..11] (Postfix's form; a weight is of no account); empty: in none"),
    DURATION(blocklist_interval, "1h", SECONDS, 30 * DAYS, "so often"),
    LIST(own_addresses, "", form_address, "the addresses that the site's mail comes from, as the world sees them; empty: those that the edges tell (see public_addresses), who know none where their listeners are wildcards"),
    BOOL(blocklist_private, "off", "private addresses are looked up, too: for lists of your own, as others have none of them"),
    UINT(blocklist_addresses, "64", 1, 256, "of these are looked up; over it the last ones are left out"),
    DURATION(blocklist_timeout, "10s", 100 * MS, 5 * MINUTES, "a list without an answer for so long says nothing; what was known of it stays"),
    LIST(blocklist_forward, "", form_resolver, "resolvers that are asked, as dns_forward of edges; many lists answer only a site's own"),
    LIST(blocklist_stub, "", form_stub, "lists asked at servers of their own, as bl.example.org=192.0.2.1"),
    STRING(freshclam, "/usr/bin/freshclam", form_path, "the program that the leader fetches signatures with"),
    DURATION(signature_interval, "5m", SECONDS, 30 * DAYS, "the leader looks at the mirrors of signatures so often"),
    LIST(signature_mirrors, "", form_signature_mirror, "mirrors of ClamAV's signatures, as database.clamav.net; empty: none of them are fetched"),
    LIST(signature_urls, "", form_signature_url, "other files of signatures, as https://mirror.example.edu/own.ndb"),
    STRING(signature_folder, "", form_path, "a folder with the site's own files of signatures (.ndb, .hdb, .yar, ...), added to each set; empty: none"),
    STRING(signature_work, "/var/lib/weir/signatures", form_path, "a folder of the coordinator's own, for what freshclam fetches"),
    DURATION(signature_time, "30m", SECONDS, DAYS, "a look at the mirrors that takes longer is ended"),
    SIZE(signature_size, "2GiB", KIB, TIB, "all files of a set of signatures; over it none is made"),
    UINT(signature_sets, "5", 1, 1000, "sets of signatures kept that were used before or have failed"),
    DURATION(signature_canary_time, "20s", 0, DAYS, "one scanner works with a new set for so long before the others take it"),
    UINT(signature_canary_ends, "2", 1, 1000, "a set of signatures with which scanners that try it ended or went away so often has failed"),
    UINT(signature_loads, "8", 1, 10000, "scanners that load a set that was tried at once; while they do, each needs the memory of two"),
    DURATION(signature_load_time, "20m", SECONDS, DAYS, "a scanner that has not fetched and loaded a set by then has failed"),
    DURATION(database_connect_timeout, "3s", 100 * MS, 10 * MINUTES, "connecting to one host of the database"),
    DURATION(database_timeout, "10s", 100 * MS, HOURS, "without an answer for so long the database counts as gone"),
    DURATION(database_session, "30s", 5 * SECONDS, HOURS, "a coordinator that says nothing for so long has lost its session in the database, and with it the lead and its locks"),
    END,
};
#undef S

#define S dns_settings
static const struct config_key dns_keys[] = {
    STRING(dns_name, "", form_host, "the name whose A and AAAA records are the edges' public_addresses, as mx.example.edu; empty: there is none"),
    DURATION(dns_ttl, "1m", SECONDS, 7 * DAYS, "of these records; addresses that came back wait for so long after the last push"),
    STRING(dns_server, "", form_server_address, "the leader keeps the records right there by dynamic updates (RFC 2136), as 192.0.2.53; empty: it does not"),
    STRING(dns_zone, "", form_host, "the zone that dns_name is in"),
    STRING(dns_tsig_file, "", form_path, "the key that updates are signed with, as tsig-keygen writes it; empty: they are not"),
    DURATION(dns_interval, "5m", SECONDS, 7 * DAYS, "the records are pushed so often though nothing changed: a zone that was restored becomes right again"),
    DURATION(dns_push_timeout, "10s", SECONDS, 5 * MINUTES, "the server's answer to an update"),
    DURATION(dns_former_wait, "1d", 0, 365 * DAYS, "after dns_name became another one: for so long the name of before keeps its addresses, as MX records may name it; then they are taken away"),
    DURATION(drain_dns_wait, "90s", 0, DAYS, "a drained edge serves so long after its addresses left the DNS: dns_ttl, and what secondary servers and caches need"),
    END,
};
#undef S

#define S auth_settings
static const struct config_key auth_keys[] = {
    UINT(auth_workers, "2", 1, 256, "processes that hash passwords, per coordinator"),
    UINT(auth_queue, "1000", 1, 100000, "passwords waiting to be checked; over it another coordinator is asked, then 454 4.7.0"),
    DURATION(auth_check_timeout, "10s", 100 * MS, 10 * MINUTES, "hashing one password, waiting included"),
    UINT(auth_account_failures, "20", 1, 1000000, "wrong passwords for one account within auth_failure_window, from each of its auth_place_memory places, and from everywhere else together; then 454 4.7.0"),
    UINT(auth_client_failures, "100", 1, 1000000, "wrong passwords from one client (IPv6: /64) within auth_failure_window; then 454 4.7.0"),
    DURATION(auth_place_memory, "30d", 0, 365 * DAYS, "a client (IPv6: /64) that an account logged in from is its place for that long: strangers do not lock it out there"),
    DURATION(auth_failure_window, "15m", SECONDS, 7 * DAYS, "how long a wrong password is counted, over the whole cluster"),
    DURATION(auth_failure_delay, "1s", 0, 30 * SECONDS, "a wrong password is not answered earlier, so that time tells nothing"),
    STRING(ldap_uri, "", form_ldap_uri, "directory for logins without an account here, as ldap://192.0.2.1 or ldaps://...; empty: none"),
    BOOL(ldap_starttls, "on", "ldap:// is encrypted before anything is said"),
    STRING(ldap_ca_file, "", form_path, "who may certify the directory; empty: the system's"),
    STRING(ldap_dn, "", form_ldap_template, "a user's DN, as uid=%u,ou=people,dc=example,dc=edu: %s login, %u before its @, %d behind it; empty: it is searched for"),
    STRING(ldap_base, "", ANYTHING, "where users are searched for, when ldap_dn is empty"),
    STRING(ldap_filter, "(uid=%u)", form_ldap_template, "the search, with %s, %u and %d; it must find one entry"),
    STRING(ldap_service_dn, "", ANYTHING, "who searches; empty: anonymous"),
    STRING(ldap_service_password_file, "", form_path, "a file that holds its password"),
    STRING(ldap_sender_attribute, "mail", form_ldap_attribute, "addresses a user may send as, see sender_login_match"),
    DURATION(ldap_timeout, "5s", 100 * MS, 10 * MINUTES, "the directory's answer about one login, waiting included; then 454 4.7.0"),
    UINT(ldap_workers, "8", 1, 256, "processes that ask the directory, per coordinator"),
    END,
};
#undef S

#define S edge_settings
static const struct config_key edge_keys[] = {
    STRING(hostname, "", form_host, "name in banner and Received; empty: the system's"),
    UINT(workers, "0", 0, 1024, "worker processes; 0: one per core"),
    DURATION(worker_watchdog, "10s", 0, HOURS, "a worker whose loop stands still for that long (at its start three times as long), though it has a processor, is killed and replaced; 0: never"),
    STRING(tmp_dir, "/var/tmp", form_path, "unlinked temporary files of large messages"),
    SIZE(memory_threshold, "256KiB", 0, GIB, "a larger message in flight lives in a temporary file"),
    SIZE(message_memory, "256MiB", 4 * KIB, TIB, "message bytes in memory, per worker; over it 452 4.3.1"),
    SIZE(message_disk, "16GiB", 0, NO_LIMIT, "message bytes in temporary files, per worker; over it 452 4.3.1"),
    UINT(max_sessions, "20000", 1, 10000000, "sessions per edge; over it 421 4.3.2"),
    BOOL(scan, "on", "off passes mail unscanned"),
    DURATION(scan_wait, "10s", 0, HOURS, "a complete message looks for a scanner that long before 421 4.7.0"),
    DURATION(scan_stall, "1500ms", 50 * MS, 10 * MINUTES, "a scanner silent for that long is left"),
    DURATION(scan_timeout, "5m", 100 * MS, DAYS, "no verdict by then is unknown(timeout)"),
    SIZE(scan_chunk, "256KiB", 4 * KIB, MIB, "payload bytes per frame; a message not larger goes in one"),
    ENUM(virus_action, "reject", "reject|discard|quarantine", "what happens to a message with a virus"),
    ENUM(virus_action_outbound, "same", "reject|discard|quarantine|same", "the same for mail from inside networks and logged-in users; same: as virus_action"),
    BOOL(virus_notice, "on", "an inside host's virus is told to the mail address at its line of networks, once a day"),
    ENUM(unknown_action, "tempfail", UNKNOWN_CHOICES, "what happens to a message without a verdict"),
    ENUM(unscannable_action, "quarantine", DOUBT_CHOICES, "what happens to a message that killed two scan workers, or is a part of a split one; tag: delivered, unscanned, with virus_subject"),
    ENUM(limits_action, "reject", DOUBT_CHOICES, "what happens to a message that hit a scan limit; tag: delivered, not scanned to its end, with virus_subject"),
    UINT(next_hop_connections, "200", 1, 100000, "connections per next hop and worker"),
    DURATION(next_hop_wait, "30s", 0, HOURS, "waiting for a free connection"),
    DURATION(next_hop_hold, "20s", 0, HOURS, "a connection waits that long for a slow client's body"),
    DURATION(next_hop_hold_pressed, "1s", 0, HOURS, "the same while others wait for a connection: the longest held is given back first"),
    DURATION(next_hop_idle, "10s", 0, HOURS, "an unused connection is kept that long"),
    UINT(next_hop_messages, "1000", 1, NO_LIMIT, "messages per connection"),
    DURATION(next_hop_down, "5s", 0, HOURS, "one that cannot be reached is left alone for as long as finding out took, at most this; 0: off"),
    DURATION(next_hop_no_tls, "10m", 0, DAYS, "with next_hop_tls = may, a failed handshake is remembered that long"),
    DURATION(connect_timeout, "10s", 100 * MS, HOURS, "connecting to a next hop"),
    /* Own clients wait 5 minutes for the answer to RCPT (RFC 5321 4.5.3.2.3), so the same 5 minutes for a next hop's greeting would never
     * be told to anybody: a minute, beside connect_timeout, leaves room for three addresses, and for hosts that delay their greeting. */
    DURATION(greeting_timeout, "1m", 100 * MS, HOURS, "from a connection to a next hop to its readiness: greeting, EHLO, TLS; per address"),
    DURATION(reply_timeout, "5m", 100 * MS, HOURS, "a next hop's reply to a command (RFC 5321 4.5.3.2)"),
    DURATION(data_done_timeout, "10m", 100 * MS, HOURS, "a next hop's reply to the final dot"),
    ENUM(next_hop_tls, "may", "none|may|require", "TLS to next hops"),
    LIST(public_addresses, "", form_address, "where the world reaches this edge, IPv4 and IPv6, at most 16: what weirctl dns and the leader put into the DNS; empty: the relay listeners' own addresses where they are not wildcards"),
    ENUM(drain_mode, "answer", "answer|close", "draining: 421 4.3.2 to new sessions, or closed listeners"),
    DURATION(drain_timeout, "5m", 0, DAYS, "sessions older than that when draining are ended"),
    DURATION(drain_idle, "10s", 0, HOURS, "and earlier those without a command between two messages for so long: 421 4.3.2"),
    SIZE(spool_ahead, "8MiB", 0, GIB, "chunks of large messages under way to or from the spool before those in front of them, per worker; 0: none"),
    UINT(spool_concurrency, "20", 0, 1000, "leases of the spool that a worker delivers at once; 0: none"),
    UINT(spool_spare, "5", 0, 1000, "leases more, one for each destination that has none at the worker, while nothing it delivers comes to an end"),
    DURATION(spool_timeout, "30s", 100 * MS, 10 * MINUTES, "storing a message: for a coordinator's answer"),
    SIZE(dsn_return_size, "64KiB", KIB, MIB, "a DSN returns the whole message up to this size, else its header"),
    DURATION(auth_timeout, "20s", SECONDS, 10 * MINUTES, "whether a password is right must be known by then, else 454 4.7.0"),
    STRING(verify_sender, "", form_mailbox, "sender told to next hops that are asked about a recipient (policy file verify); empty: the null sender <>"),
    DURATION(verify_timeout, "10s", 100 * MS, 5 * MINUTES, "a client's RCPT waits that long for what the next hop says of the recipient"),
    ENUM(verify_unknown, "accept", "accept|defer", "a recipient that the next hop says nothing about: as if not verified, or 450 4.1.1"),
    UINT(verify_probes, "20", 1, 100000, "recipients that one next hop is asked about at once, per worker; over it nobody says anything about them"),
    UINT(verify_memory, "10000", 1, 10000000, "answers about recipients that a worker keeps"),
    DURATION(verify_memory_time, "30s", 0, HOURS, "it keeps them that long; then the cluster is asked"),
    DURATION(limit_timeout, "1s", 100 * MS, MINUTES, "whether a limit of the policy file limits is reached must be known by then, else each worker counts for itself"),
    UINT(limit_memory, "10000", 1000, 10000000, "buckets that a worker counts for itself; over it those that were not asked about for longest are forgotten"),
    UINT(limit_lot, "32", 0, 10000, "a worker that asks often about a bucket takes so many times what it needs, but no more than comes back in a second; 0: never"),
    DURATION(limit_lot_time, "1s", 10 * MS, MINUTES, "what it has not used by then is lost"),
    LIST(outbreak_types, "executable, script, shortcut, macro, archive_program, archive_encrypted, disk", form_attachment_kind, "kinds of attachments that may be an outbreak: these, archive, html, pdf, other; empty: none"),
    DURATION(outbreak_timeout, "2s", 100 * MS, MINUTES, "for a coordinator to say whether one is; then the message goes on"),
    BOOL(hash_attachments, "on", "scanners name the attachments of clean mail, for outbreaks and weirctl hunt; off: neither"),
    UINT(reputation_kept, "100000", 0, 2000000, "throttled or refused clients and accounts that state_dir keeps for a start without coordinators; over it those that are only throttled are left out first; 0: none"),
    UINT(reputation_rate, "10", 1, 1000000, "messages a minute of a client or account with a middling reputation, through all edges together; then 450 4.7.1"),
    UINT(report_buffer, "100000", 1, 10000000, "audit rows kept without a coordinator, per worker"),
    BOOL(mx_delivery, "on", "a domain without a route goes to its MX; off: 550 5.4.4"),
    UINT(mx_host_limit, "20", 1, 100, "MX hosts of a domain that are looked up, the best first"),
    UINT(mx_address_limit, "5", 1, 100, "addresses of a domain's MX hosts that are tried for a connection"),
    LIST(own_names, "", form_host, "other names by which this cluster is in MX records, as mx.example.edu: mail is never sent there"),
    BOOL(next_hop_dane, "on", "TLSA records of MX hosts are obeyed (DANE) where dns_trust_anchor makes them trusted"),
    LIST(dns_forward, "", form_resolver, "resolvers, as 192.0.2.1 or [2001:db8::1]:5353; empty: resolv.conf; root: the root servers themselves"),
    LIST(dns_stub, "", form_stub, "zones asked at servers of their own, as example.edu=192.0.2.1"),
    STRING(dns_trust_anchor, "", form_path, "file of DS or DNSKEY records (Debian's dns-root-data: /usr/share/dns/root.key); empty: no DNSSEC, no DANE"),
    STRING(dns_root_hints, "", form_path, "with dns_forward = root: file of root servers; empty: the built-in ones"),
    DURATION(dns_timeout, "10s", 100 * MS, 5 * MINUTES, "a question to the DNS without an answer for so long has failed"),
    LIST(dnsbl, "", form_dnsbl, "lists that clients from outside are looked up in, as zen.example.org=127.0.0.[2..11]*2, good.example.org*-1 (Postfix's form); relay listeners"),
    UINT(dnsbl_threshold, "1", 1, 10000, "a client whose lists' weights add up to that is refused at RCPT, 550 5.7.1"),
    ENUM(dnsbl_action, "reject", "reject|tag", "or not refused: its mail gets blacklist_subject, as that of any listed client that is let in"),
    DURATION(dnsbl_timeout, "2s", 100 * MS, MINUTES, "the banner waits that long for the lists; one without an answer is then left out for dnsbl_pause"),
    DURATION(dnsbl_pause, "1m", 0, HOURS, "a list without an answer, or with an error for one, is not asked again for so long"),
    STRING(dnsbl_text, "", form_words, "what the refused are told in place of the lists' names"),
    DURATION(ptr_wait, "1s", 0, MINUTES, "the banner waits that long for the client's name (PTR); 0: it is not looked up"),
    END,
};
#undef S

#define S tls_settings
static const struct config_key tls_keys[] = {
    STRING(certificate, "", form_path, "PEM chain; empty: no STARTTLS"),
    STRING(key, "", form_path, "PEM private key"),
    STRING(ca_file, "", form_path, "who may certify next hops; empty: the system's"),
    END,
};
#undef S

#define S listener_settings
static const struct config_key listener_keys[] = {
    ENUM(profile, "relay", "relay|submission|handoff", "what the listener is for: relay delivers within the session, the others store first"),
    ENUM(direction, "both", "both|inbound|outbound", "inbound: only to own domains; outbound: only from inside networks and the authenticated; else 550 5.7.1"),
    ENUM(unregistered, "accept", "accept|refuse", "inside hosts that the policy file hosts does not have may send as any inside host, or only what strangers may: else 550 5.7.1"),
    ENDPOINTS(listen, "127.0.0.1:25, [::1]:25", "addresses with ports, as 192.0.2.1:25, [2001:db8::1]:25; all of them: *:25 (IPv4) and [::]:25 (IPv6)"),
    LIST(drain_to, "", form_endpoint, "other edges, as 192.0.2.7:25: while this one is drained, connections are passed on to them with a PROXY header; each lists this one in proxy_from"),
    NETWORKS(proxy_from, "", "load balancers, as 192.0.2.4, 2001:db8::/64: they begin each connection with a PROXY header (version 1 or 2), else 421 4.3.5"),
    DURATION(proxy_timeout, "5s", 100 * MS, MINUTES, "a load balancer's header must be there by then, else 421 4.4.2"),
    NETWORKS(xclient_from, "", "peers that may speak for a client of theirs (XCLIENT): whatever they say of its address, name, HELO and login is believed"),
    DURATION(banner_delay, "0", 0, 5 * MINUTES, "a client that talks earlier gets 554 5.5.1; 0: off"),
    SIZE(max_message_size, "50MiB", KIB, TIB, "over it 552 5.3.4"),
    UINT(max_recipients, "100", 1, 100000, "over it 452 4.5.3"),
    SIZE(max_command_line, "2048", 512, 64 * KIB, "bytes of a command with its CRLF"),
    SIZE(max_text_line, "0", 0, NO_LIMIT, "bytes of a line in DATA; over it 550 5.6.0; 0: no limit"),
    UINT(max_commands, "10000", 1, NO_LIMIT, "commands in a session"),
    UINT(max_errors, "20", 1, NO_LIMIT, "errors in a session, then 421 4.7.0"),
    UINT(max_unknown_recipients, "100", 0, NO_LIMIT, "refused for good by next hops since the last accepted message, then 421 4.7.0; 0: off"),
    UINT(max_hops, "100", 1, 10000, "Received headers; over it 554 5.4.6"),
    SIZE(max_header_size, "1MiB", KIB, GIB, "where the header has not ended by then 552 5.3.4"),
    DURATION(idle_timeout, "5m", 100 * MS, DAYS, "without a byte: 421 4.4.2"),
    DURATION(session_timeout, "2h", 100 * MS, 30 * DAYS, "a whole session, but not while a message is coming: 421 4.4.2"),
    SIZE(min_data_rate, "64", 0, GIB, "bytes a second, averaged over data_rate_grace; slower: 421 4.4.2"),
    DURATION(data_rate_grace, "60s", 100 * MS, HOURS, "how long a client may be slower"),
    UINT(sessions_per_client, "0", 0, NO_LIMIT, "sessions of one address; over it 421 4.7.0; 0: no limit"),
    BOOL(starttls, "on", "offered when [tls] has a certificate"),
    DURATION(tls_timeout, "1m", 100 * MS, HOURS, "a client's TLS handshake must be done by then, else the connection is closed"),
    ENUM(auth, "profile", "profile|off|offer|require", "AUTH PLAIN and LOGIN, under TLS only; require: 530 5.7.0 to MAIL before it; profile: require on submission, off elsewhere"),
    ENUM(reputation, "profile", "profile|off|on", "clients from outside are refused or throttled by their reputation; profile: on with relay, off elsewhere"),
    BOOL(sender_login_match, "off", "who authenticated sends only as an address of its account, else 553 5.7.1"),
    BOOL(implicit_tls, "off", "TLS from the first byte, as on port 465"),
    STRING(qualify_domain, "", form_host, "handoff: domain of addresses that have none; empty: the edge's hostname"),
    BOOL(add_from, "on", "handoff: a message without From gets one with its sender"),
    END,
};
#undef S

#define S scanner_settings
static const struct config_key scanner_keys[] = {
    STRING(listen, "tcp://127.0.0.1:7100", form_link, "endpoint for edges"),
    STRING(advertise, "", form_link_to, "endpoint told to the edges; empty: as listen"),
    UINT(workers, "0", 0, 1024, "scan workers for messages up to large_message; 0: one per core"),
    UINT(large_workers, "0", 0, 1024, "niced workers for larger ones; 0: half of workers, at least one"),
    UINT(spare_workers, "1", 0, 1024, "workers more, of either kind, which come before the others: for mail of clients of whom none is being scanned, while others' is"),
    SIZE(large_message, "1MiB", KIB, NO_LIMIT, "a larger message goes to a large worker"),
    UINT(slots, "512", 1, 1000000, "scans admitted at once, queued or running"),
    SIZE(memory, "512MiB", 4 * KIB, TIB, "message bytes in memory; over it BUSY"),
    SIZE(memory_threshold, "1MiB", 0, GIB, "a larger message lives in an unlinked file in spool_dir"),
    SIZE(disk, "8GiB", 0, NO_LIMIT, "message bytes in files, of messages still being sent at most half of it; over it BUSY"),
    SIZE(window, "1MiB", 4 * KIB, GIB, "bytes an edge may have under way per message"),
    SIZE(source_window, "64KiB", 4 * KIB, GIB, "bytes that edges may have under way of all messages of one client that sends several, with 4 KiB each at least"),
    STRING(signatures, "/var/lib/clamav", form_path, "folder of the signature set"),
    ENUM(signature_source, "folder", "folder|cluster", "whose signatures: what is in the folder signatures, or what the coordinators say (signatures then counts until a first set has come)"),
    STRING(signature_store, "/var/lib/weir/signatures", form_path, "with signature_source = cluster: a folder of the scanner's own, where sets are kept"),
    STRING(signature_clean, "", form_path, "a folder of clean mail (*.eml): a new generation that finds something in it is not used; empty: none"),
    STRING(tmp_dir, "/dev/shm", form_path, "libclamav's scratch files; best on tmpfs"),
    STRING(spool_dir, "/var/tmp", form_path, "unlinked files of large messages"),
    DURATION(scan_time, "60s", 100 * MS, DAYS, "wall clock per scan, then SIGKILL"),
    DURATION(scan_time_per_mib, "5s", 0, HOURS, "added to scan_time for each MiB"),
    SIZE(worker_memory, "2GiB", 64 * MIB, TIB, "address space of a worker above the engine"),
    UINT(worker_scans, "5000", 0, NO_LIMIT, "a worker is replaced after that many scans; 0: never"),
    SIZE(max_scan_size, "400MiB", KIB, 4 * GIB, "bytes scanned per message, archives unpacked"),
    SIZE(max_file_size, "100MiB", KIB, 2 * GIB, "largest file inside a message"),
    UINT(max_files, "10000", 1, 10000000, "files inside a message"),
    UINT(max_recursion, "17", 1, 100, "nested archives"),
    UINT(mime_depth, "30", 1, 100, "parts within parts that native looks into; this and the next six bound our own parser, not the virus scan"),
    UINT(mime_parts, "1000", 1, 100000, "parts of a message"),
    UINT(mime_headers, "4000", 10, 1000000, "header fields of a message, all parts together"),
    SIZE(mime_header_size, "256KiB", KIB, 64 * MIB, "header of one part"),
    UINT(mime_words, "4000", 0, 1000000, "encoded words that are decoded"),
    SIZE(mime_decoded_size, "256MiB", KIB, 4 * GIB - 1, "bytes that decoding may give, all parts together"),
    SIZE(mime_text_size, "1MiB", KIB, 64 * MIB, "text of one part that is looked at"),
    DURATION(native_time, "1s", MS, MINUTES, "native judges a message by what it has looked at by then, in CPU time, and says so (NOT_ALL_SEEN); a usual one takes a ten thousandth of that"),
    DURATION(load_interval, "200ms", 10 * MS, 10 * SECONDS, "between load broadcasts"),
    BOOL(sandbox, "on", "seccomp and limits around the workers"),
    BOOL(huge_pages, "on", "loaded signatures are put into huge pages (Linux 6.1): scans are faster"),
    BOOL(detect_phishing_heuristics, "off", "libclamav's phishing heuristics count as virus"),
    BOOL(block_encrypted, "off", "encrypted archives count as virus"),
    BOOL(block_partial, "on", "parts of a message split by its sender (message/partial) are unscannable; off: each is scanned alone"),
    DURATION(drain_timeout, "5m", 0, DAYS, "scans in flight at SIGTERM are waited for"),
    END,
};
#undef S

static const char *const egress_classes[EGRESS_CLASSES] = { "inbound", "outbound", "submission", "handoff", "reports", "suspect" };

const char *egress_class_name(enum egress_class class)
{
    return egress_classes[class];
}

enum egress_class egress_class_find(const char *name)
{
    int class = 0;
    while (class < EGRESS_CLASSES && strcmp(egress_classes[class], name) != 0)
        class++;
    return (enum egress_class)class;
}

static bool form_egress_class(const char *text, struct error *why)
{
    if (egress_class_find(text) < EGRESS_CLASSES)
        return true;
    error_set(why, "expected inbound, outbound, submission, handoff, reports or suspect");
    return false;
}

#define S egress_settings
static const struct config_key egress_keys[] = {
    LIST(addresses, "", form_address, "addresses of this machine that mail goes out from, IPv4 and IPv6, in turn; a host that none of them can reach is not tried"),
    STRING(hostname, "", form_host, "what is said in EHLO from there: the name of these addresses; empty: [edge] hostname"),
    LIST(use_for, "", form_egress_class, "what goes out from there: inbound, outbound (of inside hosts), submission (who has logged in), handoff, reports (DSNs), suspect (who is slowed down); empty: only whom weirctl outbound pool moves there"),
    END,
};
#undef S

#define S spam_settings
static const struct config_key spam_keys[] = {
    LIST(spam_engines, "", form_spam_engine, "what is asked whether mail is spam: rspamd, spamd, native (our own rules), each perhaps with a weight for spam_combine = mean, as rspamd*2; empty: nothing. Edges and scanners must say the same"),
    ENUM(spam_combine, "max", "max|mean", "the score of several engines: the highest, or their mean by weight; of those that answered"),
    DURATION(spam_timeout, "5s", 10 * MS, 5 * MINUTES, "an engine must have answered by then; it is asked while the virus scan runs"),
    SIZE(spam_size, "4MiB", KIB, GIB, "a larger message is not shown to the engines: it is no spam to them, and no failure"),
    UINT(spam_connections, "64", 1, 10000, "questions to one engine at once, per scanner; further ones wait, within spam_timeout"),
    UINT(spam_failures, "3", 1, 1000, "messages in a row for which it could not be reached or gave no answer in time, after which an engine is left alone for spam_pause"),
    DURATION(spam_pause, "10s", 100 * MS, HOURS, "then one message finds out whether it is back"),
    SIZE(spam_reply_size, "4MiB", 4 * KIB, 64 * MIB, "bytes of an engine's answer; a longer one counts as none"),
    ENUM(spam_failure, "accept", "accept|tempfail", "mail of which an engine said nothing: judged by the others, and X-Spam-Status says so; or 451 4.3.0"),
    STRING(rspamd, "127.0.0.1:11333", form_spam_server, "rspamd's normal worker: an address with a port, or a unix socket, as unix:/run/rspamd/worker.sock, which costs less"),
    SIZE(rspamd_shared_memory, "0", 0, GIB, "a message of so many bytes is handed to rspamd in shared memory (/dev/shm) and not in the question, where it is on the same machine; 0: none is"),
    SIZE(rspamd_shared_memory_max, "64MiB", KIB, TIB, "bytes of messages there at once; what has no room goes in the question"),
    STRING(rspamd_shared_memory_group, "", form_group, "who may read them beside the scanner's own user: a group of both that user and rspamd's; empty: the scanner's own"),
    STRING(rspamd_spam, "6", form_points, "the score of rspamd that is 50 here; its own threshold of \"add header\""),
    STRING(rspamd_reject, "15", form_points, "the score that is 90 here, where rspamd's answer does not say its own threshold of \"reject\" (required_score)"),
    STRING(spamd, "127.0.0.1:783", form_spam_server, "SpamAssassin's spamd: as rspamd. Its own required score is 50 here, three times that 90"),
    BOOL(dkim_sign, "off", "outgoing mail gets the DKIM signatures that rspamd's dkim_signing makes"),
    STRING(tag_score, "off", form_threshold, "from this score on the Subject gets spam_subject in front"),
    STRING(quarantine_score, "50", form_threshold, "from this score on spam_action happens; these three are also said for a domain in the policy file spam"),
    STRING(discard_score, "off", form_threshold, "mail with a score over this one is discarded"),
    ENUM(spam_action, "quarantine", "quarantine|tag|reject", "what quarantine_score means: quarantined, delivered with a tag, or 550 5.7.1"),
    STRING(spam_subject, "[SPAM]", form_words, "what a tagged Subject begins with; empty: Subjects are never changed, only X-Spam- fields are added"),
    STRING(virus_subject, "[VIRUS?]", form_words, "the same of mail that limits_action or unscannable_action = tag delivers without a verdict; X-Virus-Status says so, too"),
    STRING(blacklist_subject, "[BLACKLISTED]", form_words, "the same of mail from a client that a list of [edge] dnsbl names, and that is let in; X-Blacklisted says so, too"),
    BOOL(spam_subject_signed, "off", "also Subjects of mail with a DKIM signature, which it breaks"),
    ENUM(block_action, "quarantine", "quarantine|discard", "what becomes of the copy of a recipient whose own block list has the sender"),
    DURATION(personal_timeout, "2s", 100 * MS, MINUTES, "a message waits so long for what its recipients' own lists say; then it goes on as if they had none"),
    STRING(authserv_id, "", form_host, "the name in Authentication-Results, the same for all edges; empty: the edge's hostname. Fields in either name that a message brings with it are removed, unless a mail server of the site brings them and no engine looks at it"),
    END,
};
#undef S

#define S web_settings
static const struct config_key web_keys[] = {
    LIST(digest_times, "09:00, 15:00", form_time, "when recipients are told what the quarantine has kept from them since; by the clock of digest_timezone"),
    STRING(digest_timezone, "UTC", form_timezone, "the site's time zone, as Europe/Berlin"),
    STRING(digest_from, "", form_mailbox, "whom digests come from; empty: there are none, and no answers to commands"),
    UINT(digest_messages, "100", 1, 1000, "messages that one digest tells of; of more it gives the number"),
    STRING(web_url, "", form_web_url, "where recipients reach weir-web, as https://quarantine.example.edu; empty: digests have no links"),
    STRING(web_mail, "", form_mailbox, "where commands by mail go, an address that the policy routes to web_mail_listen; empty: digests name none"),
    STRING(web_listen, "127.0.0.1:7090", form_endpoint, "address of the pages"),
    STRING(web_metrics, "127.0.0.1:7091", form_endpoint, "address of weir-web's /metrics, /livez and /readyz"),
    STRING(web_certificate, "", form_path, "PEM: chain of certificates; empty: plain HTTP, for a proxy in front"),
    STRING(web_key, "", form_path, "PEM: its key"),
    STRING(web_database, "", ANYTHING, "libpq connection string of weir-web, as a role that may do what web_grant() gives and nothing else"),
    STRING(web_database_file, "", form_path, "a file that holds it, when it has a password"),
    UINT(web_connections, "256", 1, 10000, "connections to the pages at once; over it the oldest one is ended"),
    UINT(web_requests, "64", 1, 10000, "requests that wait for the database; over it 503"),
    UINT(web_rate, "120", 1, 1000000, "requests a minute of one client; over it 429"),
    UINT(web_clients, "10000", 1, 1000000, "clients whose requests are counted; over it those not seen for longest are forgotten"),
    NETWORKS(web_proxies, "", "proxies whose X-Forwarded-For says who the client is; empty: nobody's"),
    SIZE(web_view_size, "4MiB", 4 * KIB, 64 * MIB, "so much of a message is looked into for its page"),
    UINT(web_list_entries, "1000", 1, 1000000, "senders in one recipient's own list; over it no more are taken"),
    STRING(web_mail_listen, "", form_endpoint, "where weir-web takes commands by mail (SMTP, for edges); empty: nowhere"),
    SIZE(web_mail_size, "1MiB", 4 * KIB, 64 * MIB, "a larger command is refused"),
    UINT(web_mail_sessions, "100", 1, 10000, "SMTP sessions of it at once; over it 421"),
    UINT(web_answers, "20", 1, 10000, "commands of one recipient that are not answered yet; over it further ones wait: 451. Three times as many are answered in an hour"),
    END,
};
#undef S

const struct config_section settings_tables[] = {
    { "log", false, sizeof(struct log_settings), log_keys },
    { "cluster", false, sizeof(struct cluster_settings), cluster_keys },
    { "coordinator", true, sizeof(struct coordinator_settings), coordinator_keys },
    { "dns", false, sizeof(struct dns_settings), dns_keys },
    { "auth", false, sizeof(struct auth_settings), auth_keys },
    { "web", false, sizeof(struct web_settings), web_keys },
    { "edge", false, sizeof(struct edge_settings), edge_keys },
    { "egress", true, sizeof(struct egress_settings), egress_keys },
    { "tls", false, sizeof(struct tls_settings), tls_keys },
    { "listener", true, sizeof(struct listener_settings), listener_keys },
    { "scanner", false, sizeof(struct scanner_settings), scanner_keys },
    { "spam", false, sizeof(struct spam_settings), spam_keys },
    { .name = NULL },
};

const struct config_section *settings_table(const char *section)
{
    for (const struct config_section *table = settings_tables; table->name != NULL; table++)
        if (strcmp(table->name, section) == 0)
            return table;
    return NULL;
}

bool listener_uses_reputation(const struct listener_settings *settings)
{
    return settings->reputation == REPUTATION_PROFILE ? settings->profile == PROFILE_RELAY : settings->reputation == REPUTATION_ON;
}

enum virus_action virus_action_for(const struct edge_settings *settings, bool inside)
{
    bool own = inside && settings->virus_action_outbound != VIRUS_SAME;
    return (enum virus_action)(own ? settings->virus_action_outbound : settings->virus_action);
}

enum auth_setting listener_auth(const struct listener_settings *settings)
{
    if (settings->auth != AUTH_PROFILE)
        return (enum auth_setting)settings->auth;
    return settings->profile == PROFILE_SUBMISSION ? AUTH_REQUIRE : AUTH_OFF;
}
