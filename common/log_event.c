/* log_event.c - see log_event.h */
#include "common/log_event.h"
#include <stdbool.h>
#include <string.h>

static const struct {
    const char *start; /* of the line behind "ID: " */
    const char *name;
} events[] = {
    { "connect from ", "connect" },
    { "disconnect from ", "disconnect" },
    { "xclient: ", "xclient" },
    { "lenient: ", "lenient" },
    { "lost connection ", "lost_connection" },
    { "timeout after ", "timeout" },
    { "client=", "message_begins" },
    { "message-id=", "message_id" },
    { "from=<", "message" },
    { "to=<", "recipient" },
    { "reject: ", "reject" },
    { "discard: ", "discard" },
    { "removed", "removed" },
    { "sender non-delivery notification: ", "bounce" },
    { "sender delivery status notification: ", "delivery_status" },
    { "connect to ", "next_hop" },
    { "TLS with ", "next_hop_tls" },
    { "verdict=", "verdict" },
    { "stored for ", "stored" },
    { "settled by ", "settled" },
    { "to be written down: ", "audit" },
};

static bool begins(const char *text, size_t len, const char *start)
{
    size_t size = strlen(start);
    return len >= size && memcmp(text, start, size) == 0;
}

void log_event_read(struct log_event *event, const char *message, size_t len)
{
    *event = (struct log_event){ .name = "log" };
    if (len > QUEUE_ID_LEN + 2 && memcmp(message + QUEUE_ID_LEN, ": ", 2) == 0 && queue_id_is_valid(message, QUEUE_ID_LEN)) {
        memcpy(event->id, message, QUEUE_ID_LEN);
        message += QUEUE_ID_LEN + 2, len -= QUEUE_ID_LEN + 2;
    } else if (begins(message, len, "NOQUEUE: ")) {
        message += 9, len -= 9;
    }
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (begins(message, len, events[i].start)) {
            event->name = events[i].name;
            return;
        }
}
