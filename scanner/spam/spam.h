#ifndef WEIR_SCANNER_SPAM_SPAM_H
#define WEIR_SCANNER_SPAM_SPAM_H
/*
 * spam.h - all spam engines of a scanner, asked about one message and combined
 *
 * A check asks every engine at once and ends when the last one has answered, or its time is over. What an engine does not say is no reason to wait or to
 * refuse here: the result names each engine's state, and edges act by that (spam_failure). An engine that is not to be reached, or does not
 * answer in time, for `spam_failures` different messages in a row is left alone for spam_pause; then one message asks it, and if that fails, too, it is left
 * alone for as long again: so an engine that hangs costs spam_timeout once in a while, not for each message. An answer that is none is that message's affair.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "common/settings.h"
#include "proto/weir.pb-c.h"
#include "scanner/channel.h"
#include "scanner/spam/client.h"

struct spam;
struct spam_check;

/* Copies what is said; recipients beyond what wire.h allows are not there. The caller owns it until a check takes it. */
struct spam_facts *spam_facts_new(const Weir__ScanOpen *open);
/* As the native engine is told them. */
void spam_facts_tell(const struct spam_facts *facts, struct packet_facts *out);

/* settings are copied. NULL: no engine is configured. metrics: see README.md. */
struct spam *spam_new(struct event_base *base, const struct spam_settings *settings, struct metrics *metrics);
/* It goes with the last check that is under way. */
void spam_free(struct spam **spam);

/* Once, from the loop. */
typedef void (*spam_check_handler)(void *arg);

/* facts: taken. message: borrowed until the end. */
struct spam_check *spam_check_new(struct spam *spam, struct spam_facts **facts, const struct spam_message *message, spam_check_handler done, void *arg);
bool spam_check_is_done(const struct spam_check *check);
/* What the engines said, in a tree that the check owns. It is done. */
const Weir__SpamResult *spam_check_result(struct spam_check *check);
/* The native engine is asked with the virus scan, by whoever has the check: what it is told (false: it is not asked), and what it said once the worker has answered;
 * native NULL: nothing. That may end the check, without an event. */
bool spam_check_tells_native(const struct spam_check *check, struct packet_facts *facts);
void spam_check_take_native(struct spam_check *check, const struct packet_native *native);
/* NULL inside is fine; no event follows. */
void spam_check_free(struct spam_check **check);

#endif
