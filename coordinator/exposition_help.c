/*
 * exposition_help.c - what each series means, in the words that Prometheus shows
 *
 * Sorted by name. Nodes send names and values only; the words are said once, here. A test compares the table with the
 * names in the sources.
 */
#include <stdlib.h>
#include <string.h>
#include "coordinator/exposition.h"

struct help {
    const char *name, *text;
};

static const struct help helps[] = {
    { "process_cpu_seconds_total", "User and system CPU time spent in seconds." },
    { "process_max_fds", "Maximum number of open file descriptors." },
    { "process_open_fds", "Number of open file descriptors." },
    { "process_resident_memory_bytes", "Resident memory size in bytes." },
    { "process_start_time_seconds", "Start time of the process since unix epoch in seconds." },
    { "weir_admin_busy_total", "Requests of operators refused because admin_requests were under way." },
    { "weir_admin_requests_total", "Requests of operators by how they ended." },
    { "weir_audit_batches_failed_total", "Batches of audit rows the database did not take though nothing in them was "
                                         "wrong; their edges keep the rows and repeat them." },
    { "weir_audit_rejected_total", "Audit rows the database would never take; they are in the log." },
    { "weir_audit_reports_dropped_total", "Reports not taken because too many rows waited or the database takes none; their edges repeat them." },
    { "weir_audit_rows_deleted_total", "Audit rows deleted because they are older than audit_days." },
    { "weir_audit_rows_pending", "Audit rows received and not yet committed." },
    { "weir_audit_rows_total", "Audit rows committed, without repeated ones." },
    { "weir_auth_busy_total", "Tries to begin a login's check that had to wait for others of the same account or client." },
    { "weir_auth_checks_pending", "Logins being checked." },
    { "weir_auth_checks_total", "Logins checked, by result." },
    { "weir_auth_helper_deaths_total", "Helper processes that died." },
    { "weir_auth_jobs", "Jobs of helper processes, waiting or under way." },
    { "weir_auth_limited_total", "Logins not checked because of too many wrong passwords." },
    { "weir_auth_timeouts_total", "Jobs of helper processes that took too long." },
    { "weir_auth_total", "Ends of AUTH exchanges by listener and result." },
    { "weir_build_info", "Version that runs; always 1." },
    { "weir_conservation_difference", "Accepted recipients not accounted for as delivered, bounced, discarded, "
                                      "quarantined or spooled; not 0 means loss." },
    { "weir_db_connections_total", "Attempts to connect to PostgreSQL." },
    { "weir_db_statements_stale_total", "Prepared statements that no longer fitted the schema, as functions were made anew, and were prepared anew." },
    { "weir_db_timeouts_total", "Connections to PostgreSQL ended by a time-out, by what was waited for." },
    { "weir_db_unit_seconds", "Time from handing a transaction to PostgreSQL to its result." },
    { "weir_db_units_pending", "Transactions handed to PostgreSQL without a result yet." },
    { "weir_db_units_total", "Transactions by outcome." },
    { "weir_db_up", "Whether PostgreSQL is connected." },
    { "weir_delivery_attempts_total", "Attempts to hand a message to a next hop by where it came from and result." },
    { "weir_delivery_duration_seconds", "Time a next hop took for a transaction." },
    { "weir_delivery_maybe_duplicates_total", "Connections lost between the final dot and a next hop's answer; the "
                                              "client sends again, so a copy may arrive twice." },
    { "weir_delivery_replays_total", "Envelopes repeated on another connection to the next hop." },
    { "weir_dns_lookups_total", "Questions to the DNS by type and result." },
    { "weir_dns_mx_limited_total", "Domains with more MX hosts or addresses than are looked at, by limit." },
    { "weir_dnsbl_lookups_total", "Lookups of clients in DNS lists by zone and result." },
    { "weir_edge_spool_bypassed_maybe_duplicates_total", "Handoff messages delivered within the session that may be stored all the same: a second copy may follow." },
    { "weir_edge_spool_bypassed_total", "Handoff messages delivered within the session because the spool could not be had." },
    { "weir_edge_spool_dsn_total", "Reports to senders (DSN) made." },
    { "weir_edge_spool_jobs", "Leases of the spool an edge works on." },
    { "weir_edge_spool_leases_lost_total", "Leases that were over before their outcome was reported." },
    { "weir_edge_spool_leases_total", "Leases of the spool an edge has taken." },
    { "weir_edge_spool_maybe_duplicates_total", "Deliveries from the spool after which a second copy may come; each is logged." },
    { "weir_edge_spool_recipients_total", "Outcomes of deliveries from the spool by recipient." },
    { "weir_edge_spool_store_seconds", "Time from the verdict to the answer that a message is stored." },
    { "weir_edge_spool_stores_total", "Messages edges gave to the spool by result." },
    { "weir_engine_huge_page_bytes", "Memory of a generation's loaded signatures that is in huge pages." },
    { "weir_engine_scan_seconds", "Time a worker spent in the engine per message." },
    { "weir_engine_suspicions_total", "Generations made because the engine failed on several messages in a row." },
    { "weir_epoch", "Number of the cluster state published last." },
    { "weir_exceptions_used_total", "Messages accepted over a listener's limit because an exception of the policy allows it, by limit." },
    { "weir_generation", "Generation of the scan engine that takes work." },
    { "weir_generation_failures_total", "Generations that did not pass loading or their self-test." },
    { "weir_handovers", "Connections that a drained edge passes on to others." },
    { "weir_handovers_total", "Connections of a drained edge by whether another edge took them." },
    { "weir_heartbeats_total", "Heartbeats received from nodes." },
    { "weir_http_requests_total", "HTTP requests by answer." },
    { "weir_http_scrapes_refused_total", "Scrapes answered 503 because too many waited." },
    { "weir_leader", "Whether this coordinator does what must be done once." },
    { "weir_leniencies_total", "What handoff listeners forgave, by what." },
    { "weir_link_dropped_total", "Frames dropped on a link by reason." },
    { "weir_link_ended_total", "Connections that ended, seen by the side that was connected to; among them those of peers that sent a frame no message has." },
    { "weir_link_full_total", "Sends put off because the peer does not read fast enough." },
    { "weir_link_lost_total", "Connections that ended, seen by the connecting side." },
    { "weir_link_peers", "Peers connected to this process." },
    { "weir_link_rebinds_total", "Times a socket was closed and bound again to end revoked peers." },
    { "weir_link_refused_total", "Handshakes refused because the key is not known." },
    { "weir_link_silent_total", "Peers forgotten because they said nothing for link_silence." },
    { "weir_links_up", "Connections this process made that are up." },
    { "weir_message_budget_bytes", "Message bytes an edge may hold, by kind (memory, disk)." },
    { "weir_message_bytes", "Message bytes an edge holds now, by kind (memory, disk)." },
    { "weir_message_size_bytes", "Size of accepted messages." },
    { "weir_messages_orphaned_total", "Messages a next hop was given when the worker process died that had to answer "
                                      "for them; the client sends again, so a copy may arrive twice." },
    { "weir_messages_total", "Messages by who sent them (inbound: an outsider, outbound: an inside host or who logged in) and disposition." },
    { "weir_next_hop_connections", "Connections to next hops by state." },
    { "weir_next_hop_dane_total", "Connections to MX hosts with TLSA records by what became of DANE." },
    { "weir_next_hop_down_total", "Transactions refused at once because their next hop was just found unreachable." },
    { "weir_next_hop_given_back_total", "Connections taken from transactions that waited for their body, because others waited for a connection." },
    { "weir_next_hop_tls_total", "Connections to next hops by what became of TLS." },
    { "weir_next_hop_wait_exceeded_total", "Transactions that got no connection within next_hop_wait." },
    { "weir_node_coordinator_connected", "Whether a coordinator answers; the node's processes' least." },
    { "weir_node_coordinator_failovers_total", "Times a process turned to another coordinator." },
    { "weir_node_epoch", "Number of the cluster state the node has; its processes' least." },
    { "weir_node_policy_epoch", "Number of the policy the node has; its processes' least." },
    { "weir_node_policy_refused", "Processes of the node that cannot use the newest policy, so that the last one stays." },
    { "weir_node_samples_dropped_total", "Samples of nodes whose name or labels cannot be shown." },
    { "weir_node_state", "1 for the state a node is in." },
    { "weir_nodes", "Nodes by role and state." },
    { "weir_policy_epoch", "Number of the policy in force." },
    { "weir_policy_too_large_total", "Policies refused because their files were larger than policy_size." },
    { "weir_proxy_headers_total", "PROXY headers of load balancers by listener and what came of them." },
    { "weir_questions_answered_total", "Questions of edges by what they ask and how they were answered." },
    { "weir_questions_in_flight", "Questions an edge has asked coordinators and not heard the answer of." },
    { "weir_questions_pending", "Questions of edges a coordinator has not answered yet." },
    { "weir_questions_repeated_total", "Questions asked again, because a coordinator went away, did not answer or could not say." },
    { "weir_questions_total", "Questions to coordinators by how they ended." },
    { "weir_recipients_accepted_total", "Recipients of messages answered 250." },
    { "weir_recipients_total", "Recipients by what became of them." },
    { "weir_refused_peers_total", "Requests refused because the peer's key does not allow them." },
    { "weir_relay_duration_seconds", "Time from the end of a message to the answer." },
    { "weir_relay_refused_total", "Recipients refused because their client may not relay, by listener." },
    { "weir_reports_acknowledged_total", "Audit rows a coordinator has committed." },
    { "weir_reports_buffered", "Audit rows an edge holds until a coordinator has committed them." },
    { "weir_reports_dropped_total", "Audit rows an edge dropped because its buffer was full." },
    { "weir_reports_files_damaged_total", "Files with audit rows of an edge's former process that could not be read, and were set aside." },
    { "weir_reports_kept", "Audit rows of a former process of the edge, out of its file, that wait to be committed." },
    { "weir_reports_kept_acknowledged_total", "Audit rows of a former process of the edge that a coordinator has committed." },
    { "weir_sandbox", "1 for each layer that holds a scanner's workers; without one they are less confined." },
    { "weir_scan_answers_dropped_total", "Answers of scanners that fit no scan under way, by reason." },
    { "weir_scan_busy_total", "Scans refused because a budget was spent, by reason." },
    { "weir_scan_duration_seconds", "Time from the end of a message to its verdict." },
    { "weir_scan_frames_dropped_total", "Frames of edges that fit no scan under way, by why." },
    { "weir_scan_given_up_total", "Messages answered 421 because no scanner took them within scan_wait, by why." },
    { "weir_scan_queue_seconds", "Time a complete message waited for a worker." },
    { "weir_scan_replays_total", "Scans given to another scanner, by reason." },
    { "weir_scan_unknown_total", "Scans without a clean or bad verdict, by reason." },
    { "weir_scanner_bytes", "Message bytes a scanner holds." },
    { "weir_scanner_credits", "Scans a scanner would take on now: its free slots while it is active, else 0." },
    { "weir_scanner_slots", "Scan slots by state." },
    { "weir_scanners_live", "Scanners an edge can use now; its workers' least." },
    { "weir_scans_dropped_total", "Scans a scanner ended without a verdict, by why." },
    { "weir_scans_in_flight", "Scans without a verdict yet." },
    { "weir_scans_total", "Scans by verdict." },
    { "weir_scans_waiting", "Complete messages looking for a scanner." },
    { "weir_signature_age_seconds", "Age of the signature set in use." },
    { "weir_signature_version_info", "Version of the signature set; always 1." },
    { "weir_signatures", "Signatures in the set in use." },
    { "weir_smtp_limits_total", "Times a configured limit ended or refused something, by limit." },
    { "weir_smtp_replies_total", "SMTP replies by stage and code." },
    { "weir_smtp_sessions", "SMTP sessions open now." },
    { "weir_smtp_sessions_total", "SMTP sessions by listener and result." },
    { "weir_spool_abandoned_total", "Incomplete messages removed because nobody went on with them for spool_leftover." },
    { "weir_spool_batches_failed_total", "Transactions of stores or results the database did not take; edges ask again." },
    { "weir_spool_bytes", "Bytes of bodies in the spool." },
    { "weir_spool_claim_seconds", "Time the database took for a claim." },
    { "weir_spool_claims_paused", "1 while nothing is leased because results find the database's disk full." },
    { "weir_spool_claims_standing", "Claims of edges that wait for mail to get due." },
    { "weir_spool_claims_total", "Claims asked of the database." },
    { "weir_spool_destinations_down", "Destinations that could not be reached; all their mail waits." },
    { "weir_spool_fetches_total", "Chunks of bodies asked for by edges." },
    { "weir_spool_full", "1 while a limit of the spool is reached, or its disk was just found full: listeners that always spool refuse mail at MAIL." },
    { "weir_spool_full_total", "Stores refused because a limit of the spool or the database's disk was reached." },
    { "weir_spool_leases_expired_total", "Leases of messages whose earlier lease ended without a word; a copy may arrive twice." },
    { "weir_spool_leases_given_back_total", "Leases that could not reach the edge that asked, or did not fit its answer." },
    { "weir_spool_leases_total", "Leases given to edges." },
    { "weir_spool_memory_bytes", "Bytes of mail received and not yet committed." },
    { "weir_spool_messages", "Messages in the spool, one for each destination, by state." },
    { "weir_spool_notifications_total", "Times this coordinator told the others that something got due." },
    { "weir_spool_oldest_age_seconds", "Age of the oldest message by state." },
    { "weir_spool_renewals_total", "Leases renewed." },
    { "weir_spool_results_total", "Results of leases: taken, or late because the lease was lost." },
    { "weir_spool_store_seconds", "Time from sending a batch of stores to its commit." },
    { "weir_spool_stored_messages", "Messages in the spool, each once." },
    { "weir_spool_stores_refused_total", "Stores not taken because the database is away or spool_memory is spent." },
    { "weir_spool_stores_total", "Stores committed, by kind (whole message or first chunk, further chunk)." },
    { "weir_spool_suspects", "Entries whose leases ended without a word twice in a row or more; they wait longer each time." },
    { "weir_tls_handshakes_total", "TLS handshakes by version and result." },
    { "weir_verify_answers_total", "Recipients whose verification a client waited for, by who knew and what." },
    { "weir_verify_entries_deleted_total", "Verified recipients forgotten by the database, as they expired or were more than verify_entries." },
    { "weir_verify_limited_total", "Recipients not verified because verify_probes of their next hop were under way." },
    { "weir_verify_lookups_total", "Edges' questions about recipients, by whether the database knew." },
    { "weir_verify_probes", "Next hops being asked about a recipient." },
    { "weir_verify_probes_total", "Next hops asked about a recipient, by what they said." },
    { "weir_verify_remembered", "Verified recipients that edges have in memory." },
    { "weir_verify_timeouts_total", "Clients that did not wait longer than verify_timeout for a recipient's verification." },
    { "weir_verify_told_total", "What next hops said of recipients, told to the database by edges." },
    { "weir_virus_notices_total", "Notices to owners of inside hosts that sent a virus, given to the spool; a second one of a day is not stored again." },
    { "weir_worker_deaths_total", "Worker processes that ended, by reason." },
    { "weir_workers", "Worker processes." },
};

static int compare(const void *name, const void *entry)
{
    return strcmp(name, ((const struct help *)entry)->name);
}

const char *exposition_help(const char *name)
{
    const struct help *found = bsearch(name, helps, sizeof helps / sizeof *helps, sizeof *helps, compare);
    return found != NULL ? found->text : "As counted by the nodes; see the README of the room that has it.";
}

/* Gauges that say the same thing in each process of a node: a sum would mean nothing. */
static const char *const least[] = { "process_start_time_seconds", "weir_build_info", "weir_node_coordinator_connected", "weir_node_epoch", "weir_node_policy_epoch",
                                     "weir_scanners_live" };

bool exposition_is_least(const char *name)
{
    for (size_t i = 0; i < sizeof least / sizeof *least; i++)
        if (strcmp(least[i], name) == 0)
            return true;
    return false;
}
