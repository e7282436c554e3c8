#ifndef WEIR_COMMON_LOG_H
#define WEIR_COMMON_LOG_H
/*
 * log.h - one line per event, to stderr or a file, in Postfix's shape or as JSON lines
 *
 * JSON: one object a line with time (RFC 3339, UTC, microseconds), schema, event and id (log_event.h), level, node, ident, pid and message, which
 * is the text line's words. Keys are only added; LOG_SCHEMA grows when one changes its meaning.
 * Text shape: "Nov 21 18:48:48 HOST weir/edge/smtpd[PID]: 01K...: client=unknown[192.0.2.7]". The caller writes what comes after
 * "[PID]: ". Anything that came from a peer goes through log_escape() or is safe because the whole line is escaped before it is written:
 * control bytes become \xNN, so that no peer can forge a line. A line longer than 4 KiB is cut and ends in "...". Levels are
 * those of syslog.h. A file that cannot be opened is said in the log as it was before, which goes on.
 */
#include <stdbool.h>
#include <stddef.h>
#include <syslog.h>

#define LOG_SCHEMA 1

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_options {
    const char *ident;  /* "weir/edge-1/smtpd"; copied */
    const char *node;   /* "edge-1"; in every JSON line; copied */
    const char *file;   /* NULL or "" or "-": stderr; copied */
    enum log_format format;
    int level;          /* LOG_DEBUG .. LOG_ERR: what is less urgent is dropped */
};

void log_open(const struct log_options *options); /* may be called again (after fork, at reload) */
void log_reopen(void);                            /* USR1: the file was renamed by logrotate */
bool log_wants(int level);
void log_write(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with `program` for the last part of the ident. `pflogsumm --syslog-name='weir/[^/]+'` takes that part for one of Postfix's programs and
 * looks for client= and reject: under smtpd only, for from= and to= under any other; so those lines are written as qmgr and smtp. */
void log_write_as(const char *program, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Copies text to out with control bytes, quotes-breaking bytes and invalid UTF-8 as \xNN; always terminates. Returns out. */
char *log_escape(char *out, size_t cap, const char *text, size_t len);
/* The same for what stands between angle brackets, which it must not end: < and > as \xNN. A quoted local part may have them. */
char *log_bracketed(char *out, size_t cap, const char *text, size_t len);

#endif
