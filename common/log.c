/*
 * log.c - see log.h
 *
 * A line is built on the stack and goes out with one write(2) to a descriptor in append mode: lines of several processes never mix, and
 * logging works when there is no memory left. What was formatted is escaped as a whole, so that a caller who forgets log_escape() for a
 * peer's words cannot let that peer begin a new line.
 */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "common/log_event.h"
#include "common/memory.h"
#include "common/utf8.h"

#define MESSAGE_MAX 4096                /* of what a caller formats; longer is cut */
#define ESCAPED_MAX (4 * MESSAGE_MAX)   /* every byte as \xNN */
#define LINE_MAX_BYTES (2 * ESCAPED_MAX + 1024)

static struct {
    char *ident, *node, *file;
    enum log_format format;
    int level;
    int fd;
    char host[65];
    /* the text of the current second, made once */
    time_t second;
    char local[24], utc[24];
} state = { .level = LOG_INFO, .fd = STDERR_FILENO, .second = -1 };

static bool is_stderr(const char *file)
{
    return file == NULL || file[0] == '\0' || strcmp(file, "-") == 0;
}

/* Leaves the old descriptor in place when the file cannot be opened: a log elsewhere is better than none. */
static void open_file(void)
{
    int fd = STDERR_FILENO;

    if (!is_stderr(state.file)) {
        fd = open(state.file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
        if (fd < 0) {
            int why = errno;
            log_write(LOG_ERR, "cannot open log file %s: %s", state.file, strerror(why));
            return;
        }
    }
    if (state.fd != STDERR_FILENO)
        close(state.fd);
    state.fd = fd;
}

static void replace(char **old, const char *text)
{
    char *copy = xstrdup(text != NULL ? text : "");

    free(*old);
    *old = copy;
}

void log_open(const struct log_options *options)
{
    replace(&state.ident, options->ident);
    replace(&state.node, options->node);
    replace(&state.file, options->file);
    state.format = options->format;
    state.level = options->level;
    if (gethostname(state.host, sizeof state.host - 1) != 0)
        snprintf(state.host, sizeof state.host, "localhost");
    state.host[strcspn(state.host, ".")] = '\0'; /* as syslog does */
    open_file();
}

void log_reopen(void)
{
    open_file();
}

bool log_wants(int level)
{
    return level <= state.level;
}

/* Bytes of the character at text when it may be shown as it is, else 0: not UTF-8, a control character or a Unicode line separator. */
static size_t shown_length(const char *text, size_t len)
{
    uint32_t code;
    size_t size = utf8_read(text, len, &code);

    return size > 0 && (code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029) ? 0 : size;
}

/* also: more ASCII characters to escape. Cuts at a whole character or escape. Returns the length written. */
static size_t escape(char *out, size_t cap, const char *text, size_t len, const char *also)
{
    static const char hex[] = "0123456789abcdef";
    size_t used = 0;

    for (size_t i = 0; i < len;) {
        unsigned char byte = (unsigned char)text[i];
        size_t size = shown_length(text + i, len - i);
        if (size == 1 && strchr(also, byte) != NULL)
            size = 0;
        if (used + (size > 0 ? size : 4) >= cap)
            break;
        if (size > 0) {
            memcpy(out + used, text + i, size);
            used += size, i += size;
        } else {
            out[used++] = '\\', out[used++] = 'x';
            out[used++] = hex[byte >> 4], out[used++] = hex[byte & 15];
            i++;
        }
    }
    out[used] = '\0';
    return used;
}

char *log_escape(char *out, size_t cap, const char *text, size_t len)
{
    if (cap > 0)
        escape(out, cap, text, len, "\"\\");
    return out;
}

char *log_bracketed(char *out, size_t cap, const char *text, size_t len)
{
    if (cap > 0)
        escape(out, cap, text, len, "<>");
    return out;
}

/* What is escaped already has no control bytes and is UTF-8; two characters are left that mean something in JSON. */
static size_t json_string(char *out, const char *text, size_t len)
{
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\')
            out[used++] = '\\';
        out[used++] = text[i];
    }
    return used;
}

static const char *level_name(int level)
{
    static const char *const names[] = { "emergency", "alert", "critical", "error", "warning", "notice", "info", "debug" };

    return names[level < LOG_EMERG ? LOG_EMERG : level > LOG_DEBUG ? LOG_DEBUG : level];
}

static void make_stamps(time_t second)
{
    static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    struct tm tm;

    localtime_r(&second, &tm);
    snprintf(state.local, sizeof state.local, "%s %2d %02d:%02d:%02d", months[tm.tm_mon], tm.tm_mday, tm.tm_hour, tm.tm_min,
             tm.tm_sec);
    gmtime_r(&second, &tm);
    strftime(state.utc, sizeof state.utc, "%Y-%m-%dT%H:%M:%S", &tm);
    state.second = second;
}

/* The ident, with its last part replaced when program is not NULL. It comes from the operator, but a line must be one line whatever it holds. */
static size_t make_ident(char *out, size_t cap, const char *program)
{
    const char *ident = state.ident != NULL ? state.ident : "weir", *slash = strrchr(ident, '/');
    size_t used = escape(out, cap, ident, program != NULL && slash != NULL ? (size_t)(slash - ident) : strlen(ident), "");

    if (program != NULL && used + 1 < cap) {
        out[used++] = '/';
        used += escape(out + used, cap - used, program, strlen(program), "");
    }
    return used;
}

static size_t text_head(char *out, size_t cap, const char *program)
{
    char ident[512];

    make_ident(ident, sizeof ident, program);
    int len = snprintf(out, cap, "%s %s %s[%ld]: ", state.local, state.host[0] != '\0' ? state.host : "localhost", ident,
                       (long)getpid());
    return (size_t)len;
}

static size_t json_head(char *out, size_t cap, const char *program, int level, long nanoseconds, const struct log_event *event)
{
    char plain[160], node[sizeof plain * 2], ident[sizeof plain * 2];
    const char *name = state.node != NULL ? state.node : "";

    node[json_string(node, plain, escape(plain, sizeof plain, name, strlen(name), ""))] = '\0';
    ident[json_string(ident, plain, make_ident(plain, sizeof plain, program))] = '\0';
    int len = snprintf(out, cap,
                       "{\"time\":\"%s.%06ldZ\",\"schema\":%d,\"event\":\"%s\",\"id\":\"%s\",\"level\":\"%s\",\"node\":\"%s\",\"ident\":\"%s\","
                       "\"pid\":%ld,\"message\":\"",
                       state.utc, nanoseconds / 1000, LOG_SCHEMA, event->name, event->id, level_name(level), node, ident, (long)getpid());
    return (size_t)len;
}

static void write_line(const char *line, size_t len)
{
    while (write(state.fd, line, len) < 0 && errno == EINTR)
        continue;
    /* Nobody is left to be told of any other error; a rest after a short write would stand apart from its line. */
}

static void write_formatted(const char *program, int level, const char *format, va_list args)
{
    char message[MESSAGE_MAX], escaped[ESCAPED_MAX + 1], line[LINE_MAX_BYTES];
    struct timespec now;
    int wanted = vsnprintf(message, sizeof message, format, args);

    if (wanted < 0)
        return;
    size_t len = (size_t)wanted;
    if (len >= sizeof message) {
        len = sizeof message - 1;
        memcpy(message + len - 3, "...", 3);
    }
    while (len > 0 && message[len - 1] == '\n')
        len--;
    len = escape(escaped, sizeof escaped, message, len, "");

    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != state.second)
        make_stamps(now.tv_sec);
    size_t used;
    if (state.format == LOG_FORMAT_JSON) {
        struct log_event event;
        log_event_read(&event, escaped, len);
        used = json_head(line, sizeof line, program, level, now.tv_nsec, &event);
        used += json_string(line + used, escaped, len);
        memcpy(line + used, "\"}\n", 3);
        used += 3;
    } else {
        used = text_head(line, sizeof line, program);
        memcpy(line + used, escaped, len);
        used += len;
        line[used++] = '\n';
    }
    write_line(line, used);
}

void log_write(int level, const char *format, ...)
{
    int saved = errno; /* callers log an error and then look at errno */
    va_list args;

    if (!log_wants(level))
        return;
    va_start(args, format);
    write_formatted(NULL, level, format, args);
    va_end(args);
    errno = saved;
}

void log_write_as(const char *program, int level, const char *format, ...)
{
    int saved = errno;
    va_list args;

    if (!log_wants(level))
        return;
    va_start(args, format);
    write_formatted(program, level, format, args);
    va_end(args);
    errno = saved;
}
