/*
 * sink_store.c - a message as NAME.eml and its envelope as NAME.json, each written under a temporary name and renamed
 *
 * The answer 250 means that both are there under their names. There is no fsync: what must survive here is the death of
 * a process, not of the machine.
 */
#include "deploy/tools/sink.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "common/clock.h"
#include "edge/smtp/parser.h"
#include "edge/smtp/text.h"

static void say_failed(struct sink_message *message, const char *what)
{
    fprintf(stderr, "weir-sink: %s: %s: %s\n", message->name, what, strerror(errno));
    message->failed = true;
}

static void path_of(char out[80], const struct sink_message *message, const char *suffix)
{
    snprintf(out, 80, "%s%s", message->name, suffix);
}

void sink_message_begin(struct sink_message *message, int dir)
{
    static unsigned counter;
    char path[80];
    *message = (struct sink_message){ .fd = -1 };
    snprintf(message->name, sizeof message->name, "%013llu-%d-%06u", (unsigned long long)clock_wall_ms(), (int)getpid(),
             ++counter);
    if (dir < 0)
        return;
    path_of(path, message, ".eml.tmp");
    message->fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (message->fd < 0)
        say_failed(message, "open");
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, bytes, len);
        if (done < 0 && errno != EINTR)
            return false;
        if (done > 0) {
            bytes += done;
            len -= (size_t)done;
        }
    }
    return true;
}

void sink_message_add(struct sink_message *message, const char *bytes, size_t len)
{
    message->size += len;
    if (message->fd >= 0 && !message->failed && !write_all(message->fd, bytes, len))
        say_failed(message, "write");
}

/* A JSON string; a byte that is not UTF-8 is written as the character of its number. */
static void put_json(FILE *out, const char *text)
{
    size_t len = strlen(text);
    fputc('"', out);
    for (size_t i = 0, used; i < len; i += used) {
        unsigned code;
        used = smtp_utf8_decode(text + i, len - i, &code);
        if (used == 0) {
            used = 1;
            code = (unsigned char)text[i];
        }
        if (used == 1 && (code < 32 || code > 126))
            fprintf(out, "\\u%04x", code);
        else if (code == '"' || code == '\\')
            fprintf(out, "\\%c", (int)code);
        else
            fwrite(text + i, 1, used, out);
    }
    fputc('"', out);
}

static void put_list(FILE *out, const char *key, char *const *items, size_t count)
{
    fprintf(out, "\"%s\":[", key);
    for (size_t i = 0; i < count; i++) {
        fputs(i > 0 ? "," : "", out);
        put_json(out, items[i]);
    }
    fputs("],", out);
}

static void put_text(FILE *out, const char *key, const char *text)
{
    fprintf(out, "\"%s\":", key);
    put_json(out, text);
    fputc(',', out);
}

static void put_violations(FILE *out, unsigned violations)
{
    static const struct {
        unsigned flag;
        const char *name;
    } names[] = { { SMTP_VIOLATION_BARE_LF, "bare_lf" },
                  { SMTP_VIOLATION_BARE_CR, "bare_cr" },
                  { SMTP_VIOLATION_NUL, "nul" } };
    const char *comma = "";
    fputs("\"violations\":[", out);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((violations & names[i].flag) != 0) {
            fprintf(out, "%s\"%s\"", comma, names[i].name);
            comma = ",";
        }
    }
    fputs("],", out);
}

static void put_envelope(FILE *out, const struct sink_message *message, const struct sink_envelope *envelope)
{
    char when[40];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t len = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(when + len, sizeof when - len, ".%06ldZ", now.tv_nsec / 1000);

    fputc('{', out);
    put_text(out, "sender", envelope->sender);
    put_list(out, "recipients", envelope->recipients, envelope->recipient_count);
    put_text(out, "client", envelope->client);
    put_text(out, "helo", envelope->helo);
    put_text(out, "protocol", envelope->protocol);
    put_text(out, "tls", envelope->tls);
    put_text(out, "time", when);
    put_text(out, "params", envelope->mail_params);
    put_list(out, "recipient_params", envelope->rcpt_params, envelope->recipient_count);
    put_violations(out, envelope->violations);
    fprintf(out, "\"bdat\":%s,\"size\":%llu}\n", envelope->bdat ? "true" : "false", (unsigned long long)message->size);
}

static bool store_envelope(struct sink_message *message, int dir, const struct sink_envelope *envelope)
{
    char temporary[80], final[80], *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out != NULL) {
        put_envelope(out, message, envelope);
        fclose(out);
    }
    path_of(temporary, message, ".json.tmp");
    path_of(final, message, ".json");
    int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && text != NULL && write_all(fd, text, len);
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    free(text);
    ok = ok && renameat(dir, temporary, dir, final) == 0;
    if (!ok) {
        say_failed(message, "envelope");
        unlinkat(dir, temporary, 0);
    }
    return ok;
}

bool sink_message_store(struct sink_message *message, int dir, const struct sink_envelope *envelope)
{
    char temporary[80], final[80];
    if (dir < 0)
        return true;
    if (message->fd >= 0 && close(message->fd) != 0)
        say_failed(message, "close");
    message->fd = -1;
    path_of(temporary, message, ".eml.tmp");
    path_of(final, message, ".eml");
    if (!message->failed && store_envelope(message, dir, envelope) && renameat(dir, temporary, dir, final) != 0) {
        say_failed(message, "rename");
        path_of(final, message, ".json");
        unlinkat(dir, final, 0);
    }
    if (message->failed)
        unlinkat(dir, temporary, 0);
    return !message->failed;
}

void sink_message_drop(struct sink_message *message, int dir)
{
    char path[80];
    if (message->fd < 0)
        return;
    close(message->fd);
    message->fd = -1;
    path_of(path, message, ".eml.tmp");
    unlinkat(dir, path, 0);
}
