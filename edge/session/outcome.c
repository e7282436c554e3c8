/*
 * outcome.c - see outcome.h
 */
#include "edge/session/outcome.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "edge/smtp/parser.h"

static void __attribute__((format(printf, 6, 7)))
outcome_set(struct outcome *out, enum disposition disposition, const char *why, int code, const char *enhanced,
            const char *format, ...)
{
    va_list args;
    out->disposition = disposition;
    out->why = why;
    out->code = code;
    out->close = false;
    snprintf(out->enhanced, sizeof out->enhanced, "%s", enhanced);
    va_start(args, format);
    vsnprintf(out->text, sizeof out->text, format, args);
    va_end(args);
}

const char *disposition_name(enum disposition disposition)
{
    static const char *const names[DISPOSITION_COUNT] = {
        [DISPOSITION_DELIVERED] = "delivered",
        [DISPOSITION_SPOOLED] = "spooled",
        [DISPOSITION_QUARANTINED] = "quarantined",
        [DISPOSITION_DISCARDED] = "discarded",
        [DISPOSITION_REFUSED] = "refused",
        [DISPOSITION_DEFERRED] = "deferred",
    };
    return names[disposition];
}

static const struct {
    const char *why, *words;
} unknown_reasons[] = {
    [WEIR__UNKNOWN_REASON__UNKNOWN_UNSPECIFIED] = { "unknown", "no reason given" },
    [WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS] = { "limits", "a scan limit was reached" },
    [WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT] = { "timeout", "the scan took too long" },
    [WEIR__UNKNOWN_REASON__UNKNOWN_CRASH] = { "crash", "the scan was broken off" },
    [WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE] = { "unscannable", "it cannot be scanned" },
    [WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE] = { "engine", "the scan engine failed" },
    [WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL] = { "protocol", "the scanner's answer was not usable" },
};

static size_t unknown_index(const struct scan_result *result)
{
    size_t index = (size_t)result->reason;
    return index < sizeof unknown_reasons / sizeof *unknown_reasons ? index : 0;
}

static void outcome_of_quarantine(struct outcome *out, Weir__Quarantine reason, const struct queue_id *id)
{
    outcome_set(out, DISPOSITION_QUARANTINED, wire_quarantine_name(reason), 250, "2.0.0", "Ok: queued as %s", id->text);
    out->quarantine = reason;
}

static void outcome_of_virus(struct outcome *out, const struct scan_result *result, enum virus_action action, const struct queue_id *id)
{
    if (action == VIRUS_QUARANTINE)
        outcome_of_quarantine(out, WEIR__QUARANTINE__QUARANTINE_VIRUS, id);
    else if (action == VIRUS_DISCARD)
        outcome_set(out, DISPOSITION_DISCARDED, "virus", 250, "2.0.0", "Ok: queued as %s", id->text);
    else
        outcome_set(out, DISPOSITION_REFUSED, "virus", 550, "5.7.1", "Message refused: virus %s found (id %s)",
                    *result->signature ? result->signature : "(unnamed)", id->text);
}

static int action_for(const struct scan_result *result, const struct edge_settings *settings)
{
    return result->reason == WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS        ? settings->limits_action
           : result->reason == WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE ? settings->unscannable_action
                                                                         : settings->unknown_action;
}

bool outcome_is_doubt(const struct scan_result *result, const struct edge_settings *settings)
{
    return result != NULL && result->verdict == WEIR__VERDICT__VERDICT_UNKNOWN && action_for(result, settings) == UNKNOWN_TAG;
}

static void outcome_of_unknown(struct outcome *out, const struct scan_result *result, const struct edge_settings *settings,
                               const struct queue_id *id)
{
    size_t reason = unknown_index(result);
    int action = action_for(result, settings);
    const char *why = unknown_reasons[reason].why, *words = unknown_reasons[reason].words;
    switch (action) {
    case UNKNOWN_REJECT:
        outcome_set(out, DISPOSITION_REFUSED, why, 550, "5.7.1", "Message refused: not scanned for viruses, %s (id %s)", words, id->text);
        return;
    case UNKNOWN_DISCARD:
        outcome_set(out, DISPOSITION_DISCARDED, why, 250, "2.0.0", "Ok: queued as %s", id->text);
        return;
    case UNKNOWN_QUARANTINE:
        outcome_of_quarantine(out, WEIR__QUARANTINE__QUARANTINE_UNSCANNABLE, id);
        return;
    default:
        outcome_set(out, DISPOSITION_DEFERRED, why, 451, "4.3.0", "Message not scanned for viruses, %s; try again later (id %s)",
                    words, id->text);
    }
}

bool outcome_of_verdict(struct outcome *out, const struct scan_result *result, const struct edge_settings *settings, bool inside,
                        const struct queue_id *id)
{
    if (result == NULL || result->verdict == WEIR__VERDICT__VERDICT_CLEAN || outcome_is_doubt(result, settings))
        return true;
    if (result->verdict == WEIR__VERDICT__VERDICT_BAD)
        outcome_of_virus(out, result, virus_action_for(settings, inside), id);
    else
        outcome_of_unknown(out, result, settings, id);
    return false;
}

void outcome_of_busy_farm(struct outcome *out)
{
    outcome_set(out, DISPOSITION_DEFERRED, "busy", 421, "4.7.0", "I'm busy, try again later");
    out->close = true;
}

static void violations_text(char out[128], unsigned violations)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {
        { SMTP_VIOLATION_BARE_LF, "bare LF" },
        { SMTP_VIOLATION_BARE_CR, "bare CR" },
        { SMTP_VIOLATION_NUL, "NUL byte" },
        { SMTP_VIOLATION_LINE_TOO_LONG, "line too long" },
    };
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (violations & names[i].bit)
            len += (size_t)snprintf(out + len, 128 - len, "%s%s", len > 0 ? ", " : "", names[i].name);
}

void outcome_of_refusal(struct outcome *out, enum refusal refusal, unsigned violations, const struct listener_settings *limits,
                        uint64_t max_message_size, const struct queue_id *id)
{
    char what[128];
    switch (refusal) {
    case REFUSAL_SIZE:
        outcome_set(out, DISPOSITION_REFUSED, "size", 552, "5.3.4", "Message is larger than %llu bytes (id %s)",
                    (unsigned long long)max_message_size, id->text);
        return;
    case REFUSAL_HEADER_SIZE:
        outcome_set(out, DISPOSITION_REFUSED, "header", 552, "5.3.4", "Message header is larger than %llu bytes (id %s)",
                    (unsigned long long)limits->max_header_size, id->text);
        return;
    case REFUSAL_HOPS:
        outcome_set(out, DISPOSITION_REFUSED, "loop", 554, "5.4.6", "Too many hops: more than %llu Received headers (id %s)",
                    (unsigned long long)limits->max_hops, id->text);
        return;
    case REFUSAL_CONTENT:
        violations_text(what, violations);
        outcome_set(out, DISPOSITION_REFUSED, "content", 550, "5.6.0", "Message refused: %s not allowed (id %s)", what, id->text);
        return;
    case REFUSAL_STORAGE:
    case REFUSAL_NONE:
        outcome_set(out, DISPOSITION_DEFERRED, "storage", 452, "4.3.1", "Insufficient system storage (id %s)", id->text);
        return;
    }
}

void outcome_of_spool(struct outcome *out, enum spool_stored stored, const struct queue_id *id)
{
    if (stored == SPOOL_STORED)
        outcome_set(out, DISPOSITION_SPOOLED, "", 250, "2.0.0", "Ok: queued as %s", id->text);
    else if (stored == SPOOL_FULL)
        outcome_set(out, DISPOSITION_DEFERRED, "spool-full", 452, "4.3.1", "Insufficient system storage (id %s)", id->text);
    else
        outcome_set(out, DISPOSITION_DEFERRED, "spool-unavailable", 451, "4.3.0", "Message cannot be stored now, try again later (id %s)",
                    id->text);
}

void outcome_of_spam_engines(struct outcome *out, const struct queue_id *id)
{
    outcome_set(out, DISPOSITION_DEFERRED, "spam-engine", 451, "4.3.0", "Message not checked for spam; try again later (id %s)", id->text);
}

void outcome_of_spam(struct outcome *out, const struct queue_id *id)
{
    outcome_set(out, DISPOSITION_REFUSED, "spam", 550, "5.7.1", "Message refused: it looks like spam (id %s)", id->text);
}

void outcome_of_limit(struct outcome *out, const char *text)
{
    outcome_set(out, DISPOSITION_DEFERRED, "limit", 450, "4.7.1", "%s", text);
}

void outcome_of_discard(struct outcome *out, const char *why, const struct queue_id *id)
{
    outcome_set(out, DISPOSITION_DISCARDED, why, 250, "2.0.0", "Ok: queued as %s", id->text);
}

void outcome_of_farewell(struct outcome *out, enum farewell farewell, bool handed_over)
{
    static const struct {
        const char *why, *words;
        int code;
        const char *enhanced;
    } farewells[] = {
        [FAREWELL_NONE] = { "closed", "session was closed", 0, "" },
        [FAREWELL_CLIENT_GONE] = { "client-gone", "client is gone", 0, "" },
        [FAREWELL_RESET] = { "reset", "client gave it up", 0, "" },
        [FAREWELL_TIMEOUT] = { "timeout", "client was silent for too long", 421, "4.4.2" },
        [FAREWELL_TOO_SLOW] = { "too-slow", "message came too slowly", 421, "4.4.2" },
        [FAREWELL_DRAIN] = { "drain", "service is being drained", 421, "4.3.2" },
        [FAREWELL_REFUSED] = { "session-limit", "session was ended for what it did", 421, "4.7.0" },
        [FAREWELL_STOP] = { "stop", "service ended", 0, "" },
    };
    outcome_set(out, DISPOSITION_DEFERRED, handed_over ? "maybe-delivered" : farewells[farewell].why, farewells[farewell].code,
                farewells[farewell].enhanced, "%s", farewells[farewell].words);
}

void reply_normalize(struct smtp_reply *reply, const char *enhanced_when_ok)
{
    int class = reply->code / 100;
    if (class != 2 && class != 4 && class != 5) {
        reply->code = 451;
        class = 4;
        snprintf(reply->enhanced, sizeof reply->enhanced, "4.3.0");
        if (*reply->text == '\0')
            snprintf(reply->text, sizeof reply->text, "The next hop gave no usable answer");
    }
    if (*reply->enhanced == '\0')
        snprintf(reply->enhanced, sizeof reply->enhanced, "%s", class == 2 ? enhanced_when_ok : class == 4 ? "4.0.0" : "5.0.0");
}

void outcome_of_next_hop(struct outcome *out, const struct smtp_reply *reply, bool maybe_delivered, const struct queue_id *id)
{
    struct smtp_reply answer = *reply;
    reply_normalize(&answer, "2.0.0");
    /* Room for our words is kept: the id must be there however long the next hop's text is. */
    int keep = SMTP_REPLY_TEXT_MAX - 64;
    if (answer.code / 100 == 2)
        outcome_set(out, DISPOSITION_DELIVERED, "", 250, "2.0.0", "Ok: queued as %s (%.*s)", id->text, keep, answer.text);
    else if (answer.code / 100 == 5)
        outcome_set(out, DISPOSITION_REFUSED, "next-hop", answer.code, answer.enhanced, "%.*s (id %s)", keep, answer.text,
                    id->text);
    else /* 421 would close a session that has nothing wrong with it */
        outcome_set(out, DISPOSITION_DEFERRED, maybe_delivered ? "maybe-delivered" : "next-hop",
                    answer.code == 421 ? 450 : answer.code, answer.enhanced, "%.*s (id %s)", keep, answer.text, id->text);
    if (out->disposition == DISPOSITION_DELIVERED)
        for (char *p = out->text; *p != '\0'; p++)
            if (*p == '\n') /* one line: the text stands in brackets */
                *p = ' ';
}
