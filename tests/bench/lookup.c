/*
 * lookup.c - weir-policy-lookup: what deciding one recipient costs
 *
 * With an edge's own code, and nothing else around it: no socket, no loop, no next hop. Reads a policy folder's files, then recipients from stdin,
 * one a line; decides each as for a client from outside. Prints the time to parse the files and the spread of the lookups' times.
 *
 *     weir-policy-lookup FOLDER <RECIPIENTS
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/session/relay.h"

#define FILES_MAX 16

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* False: there is no such file, as each may be absent. */
static bool read_file(const char *folder, const char *name, struct policy_file *out)
{
    char *path = xasprintf("%s/%s", folder, name), *text;
    FILE *file = fopen(path, "r");
    size_t size;
    if (file == NULL && errno == ENOENT) {
        free(path);
        return false;
    }
    FILE *copy = file != NULL ? open_memstream(&text, &size) : NULL;
    char piece[65536];
    for (size_t got; copy != NULL && (got = fread(piece, 1, sizeof piece, file)) > 0;)
        fwrite(piece, 1, got, copy);
    if (copy == NULL || ferror(file) || fclose(copy) != 0)
        fatal("%s: %s", path, strerror(errno));
    fclose(file);
    free(path);
    *out = (struct policy_file){ .name = name, .text = text, .len = size };
    return true;
}

static struct policy *policy_of(const char *folder)
{
    struct policy_file files[FILES_MAX];
    struct error why;
    size_t count = 0;
    const char *name;
    for (size_t i = 0; (name = policy_file_name(i)) != NULL && count < FILES_MAX; i++)
        count += read_file(folder, name, &files[count]);
    uint64_t began = now_ns();
    struct policy *policy = policy_parse(files, count, &why);
    if (policy == NULL)
        fatal("%s", why.text);
    printf("parse_ms=%.1f ", (double)(now_ns() - began) / 1e6);
    for (size_t i = 0; i < count; i++)
        free((char *)files[i].text);
    return policy;
}

static int by_size(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    struct listener_settings listener = { .profile = PROFILE_RELAY, .direction = DIRECTION_BOTH };
    struct netaddr outside;
    struct relay_client client = { .address = &outside, .listener = &listener };
    struct smtp_address recipient;
    struct relay_answer answer;
    char line[SMTP_ADDRESS_MAX];
    uint64_t *times = NULL;
    size_t count = 0, room = 0;

    if (argc != 2 || !netaddr_parse(&outside, "198.51.100.7")) {
        fputs("usage: weir-policy-lookup FOLDER <RECIPIENTS\n", stderr);
        return 64;
    }
    struct policy *policy = policy_of(argv[1]);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (smtp_mailbox_parse(&recipient, line, strlen(line), false) != SMTP_ADDRESS_OK)
            fatal("%s is no address", line);
        if (count == room)
            times = xrealloc(times, (room = room * 2 + 1024) * sizeof *times);
        uint64_t began = now_ns();
        relay_decide(&answer, policy, true, &client, &recipient);
        times[count++] = now_ns() - began;
    }
    if (count == 0)
        fatal("no recipients");
    qsort(times, count, sizeof *times, by_size);
    printf("lookups=%zu p50_us=%.2f p99_us=%.2f max_us=%.2f\n", count, (double)times[count / 2] / 1e3, (double)times[count * 99 / 100] / 1e3,
           (double)times[count - 1] / 1e3);
    free(times);
    policy_free(&policy);
    return 0;
}
