/*
 * fuzz_probes.c - any bytes as what a server says to the open-relay probes
 *
 * The first byte says how large the pieces are and who asks. Whatever comes, only the seven commands are said, each whole, and nobody is called closed who
 * has not refused the plain probe.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/probes/probes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_command(const char *command, size_t len)
{
    static const char *const known[] = { "EHLO ", "HELO ", "XCLIENT ", "MAIL FROM:", "RCPT TO:", "RSET\r\n", "QUIT\r\n" };
    if (len == 0)
        return;
    if (len < 6 || memcmp(command + len - 2, "\r\n", 2) != 0 || memchr(command, '\n', len - 1) != NULL)
        abort();
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (len >= strlen(known[i]) && memcmp(command, known[i], strlen(known[i])) == 0)
            return;
    abort();
}

static void follow(struct probes *probes)
{
    struct netaddr peer;
    size_t len;
    const char *command = probes_output(probes, &len);
    check_command(command, len);
    if (probes->state == PROBES_CLOSE)
        probes_closed(probes);
    if (probes->state == PROBES_CONNECT && netaddr_parse(&peer, "192.0.2.1"))
        probes_connected(probes, &peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct probes probes;
    static char reason[PROBES_REASON_MAX];
    if (size == 0)
        return 0;
    uint8_t flags = *data;
    size_t step = 1 + flags % 64, start = 1;
    struct probes_options options = { .own = "example.edu", .outside = "far.test", .control = (flags & 64) != 0, .edge = (flags & 128) != 0 };
    netaddr_parse(&options.client, flags & 1 ? "2001:db8::7" : "198.51.100.7");
    probes_init(&probes, &options);
    follow(&probes);
    for (size_t end = start; end < size && probes.state != PROBES_DONE;) {
        end = size - end < step ? size : end + step;
        char *copy = malloc(end - start);
        memcpy(copy, data + start, end - start);
        size_t used = probes_input(&probes, copy, end - start);
        if (used > end - start)
            abort();
        start += used;
        free(copy);
        follow(&probes);
    }
    if (probes.state != PROBES_DONE)
        probes_give_up(&probes, "no more");
    for (size_t i = 0; i < probes_count; i++)
        if (probes.outcomes[i].result == PROBE_UNTRIED)
            abort();
    if (probes_judge(&probes, false, reason) == PROBES_CLOSED && probes.outcomes[2].result != PROBE_REFUSED)
        abort();
    return 0;
}
