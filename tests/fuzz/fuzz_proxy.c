/*
 * fuzz_proxy.c - the header of a load balancer: whole, and with just as many bytes as are asked for, it is the same
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "edge/session/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum proxy_event read_copy(struct proxy_header *out, const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1); /* exact at its end */
    if (size > 0)
        memcpy(copy + 1, data, size);
    enum proxy_event event = proxy_header_read(out, copy + 1, size);
    free(copy);
    return event;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole, asked;
    enum proxy_event event = read_copy(&whole, data, size), last;
    size_t have = 0;
    while ((last = read_copy(&asked, data, have)) == PROXY_NEED_MORE && have < size) {
        if (asked.len <= have || asked.len > PROXY_HEADER_MAX)
            abort();
        have = asked.len < size ? asked.len : size;
    }
    if (last != event)
        abort();
    if ((event == PROXY_CLIENT || event == PROXY_LOCAL) && (whole.len != asked.len || have != whole.len))
        abort(); /* more was taken in than the header has */
    if (event == PROXY_CLIENT && (!netaddr_equal(&whole.client, &asked.client) || whole.client.port != asked.client.port || whole.client.family == 0))
        abort();
    if (event == PROXY_BAD && whole.why == NULL)
        abort();
    return 0;
}
