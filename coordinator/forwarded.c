/*
 * forwarded.c - see forwarded.h
 */
#include "coordinator/forwarded.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <event2/keyvalq_struct.h>

bool forwarded_client(struct evhttp_request *request, char *out, size_t cap)
{
    const struct evkeyval *field;
    const char *last = NULL;
    for (field = TAILQ_FIRST(evhttp_request_get_input_headers(request)); field != NULL; field = TAILQ_NEXT(field, next))
        if (strcasecmp(field->key, "X-Forwarded-For") == 0)
            last = field->value;
    if (last == NULL)
        return false;
    const char *comma = strrchr(last, ',');
    last = comma != NULL ? comma + 1 : last;
    last += strspn(last, " \t");
    snprintf(out, cap, "%.*s", (int)strcspn(last, " \t"), last);
    return true;
}
