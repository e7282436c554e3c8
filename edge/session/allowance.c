/* allowance.c - see allowance.h */
#include "edge/session/allowance.h"

struct allowance allowance_of(const struct listener_settings *listener, const struct policy *policy, const struct netaddr *client, int64_t now)
{
    struct allowance out = { listener->max_message_size, listener->max_recipients, 0 };
    const struct exception *exception = policy_exception(policy, client, now);

    if (exception == NULL)
        return out;
    out.line = exception->line;
    if (exception->max_message_size > 0)
        out.max_message_size = exception->max_message_size;
    if (exception->max_recipients > 0)
        out.max_recipients = exception->max_recipients;
    return out;
}

bool allowance_was_needed(const struct allowance *allowance, const struct listener_settings *listener, uint64_t size, unsigned recipients)
{
    return allowance->line > 0 && (size > listener->max_message_size || recipients > listener->max_recipients);
}
