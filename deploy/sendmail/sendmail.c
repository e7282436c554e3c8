/*
 * sendmail.c - weir-sendmail: the command that programs hand mail to
 *
 * There is no queue here: the message is submitted to an edge while the caller waits, and the exit status says what became of it (README.md).
 */
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "deploy/sendmail/options.h"
#include "deploy/sendmail/submit.h"
#include "deploy/sendmail/through.h"

/* Everything that one submission needs. */
struct job {
    struct sendmail_options options;
    struct sendmail_settings settings;
    struct mail_lines lines;
    struct mail mail;
    struct recipients recipients;
    char *sender;  /* owned: canonical, "" for nobody */
    bool sender_utf8;
};

static int complain(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int complain(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("weir-sendmail: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return status;
}

static int tell_about_the_queue(enum sendmail_mode mode)
{
    if (mode == MODE_QUEUE)
        puts("Mail is not queued on this host. What the cluster holds is shown by: weirctl queue list");
    else
        puts("There are no aliases on this host. The cluster's are a policy file: weirctl policy check, weirctl policy apply");
    return EX_OK;
}

/* The user's name before the domain, as the address of who calls. */
static char *user_address(const struct sendmail_settings *settings)
{
    const struct passwd *user = getpwuid(getuid());
    return user != NULL ? xasprintf("%s@%s", user->pw_name, settings->domain)
                        : xasprintf("uid-%lu@%s", (unsigned long)getuid(), settings->domain);
}

/* -f: an address in any of the forms that a recipient may have, or nobody. */
static bool find_sender(struct job *job)
{
    char *own = job->options.sender == NULL ? user_address(&job->settings) : NULL;
    const char *wanted = own != NULL ? own : job->options.sender;
    struct recipients parsed = { 0 };

    if (wanted[0] == '\0' || strcmp(wanted, "<>") == 0) {
        job->sender = xstrdup("");
    } else if (wanted[strcspn(wanted, "\r\n:;")] == '\0') { /* folding and groups are for headers */
        recipients_add(&parsed, wanted, strlen(wanted), job->settings.domain);
        if (parsed.count == 1 && parsed.items[0].state == RECIPIENT_PENDING) {
            job->sender = xstrdup(parsed.items[0].address);
            job->sender_utf8 = parsed.items[0].utf8;
        }
    }
    recipients_fini(&parsed);
    free(own);
    return job->sender != NULL;
}

static int read_message(struct job *job)
{
    char bytes[65536];
    job->lines = (struct mail_lines){ .max = job->settings.max_message_size, .dot_ends = !job->options.dot_is_data };
    for (;;) {
        ssize_t len = read(STDIN_FILENO, bytes, sizeof bytes);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return complain(EX_IOERR, "cannot read the message: %s", strerror(errno));
        if (len == 0 || !mail_lines_add(&job->lines, bytes, (size_t)len))
            break;
    }
    mail_lines_finish(&job->lines);
    if (job->lines.too_large)
        return complain(EX_UNAVAILABLE, "the message is larger than max_message_size (%llu bytes)",
                        (unsigned long long)job->settings.max_message_size);
    return EX_OK;
}

/* The part of the user's entry that is his name; not with -f, as that is somebody else. */
static char *user_name(const struct sendmail_options *options)
{
    const struct passwd *user = getpwuid(getuid());
    if (options->name != NULL)
        return xstrdup(options->name);
    if (options->sender != NULL || user == NULL || user->pw_gecos == NULL)
        return xstrdup("");
    return xstrndup(user->pw_gecos, strcspn(user->pw_gecos, ","));
}

static void make_mail(struct job *job)
{
    char date[40], *name = user_name(&job->options), *user = user_address(&job->settings);
    unsigned long long number = 0;
    if (getrandom(&number, sizeof number, 0) < 0)
        number = clock_us();
    char *id = xasprintf("%llu.%ld.%016llx@%s", (unsigned long long)clock_wall_ms(), (long)getpid(), number, job->settings.hostname);
    const struct mail_facts facts = {
        .from = job->sender[0] != '\0' ? job->sender : user,
        .name = name,
        .domain = job->settings.domain,
        .date = clock_rfc5322(date),
        .message_id = id,
        .max_line = job->settings.max_line,
    };
    mail_make(&job->mail, &job->lines, &facts, job->options.from_header ? &job->recipients : NULL);
    free(name);
    free(user);
    free(id);
}

static const char *words_of(enum recipient_state state)
{
    return state == RECIPIENT_SENT ? "sent" : state == RECIPIENT_REFUSED ? "refused" : "deferred";
}

/* Tells on stderr and in the mail log what became of each; the exit status: EX_TEMPFAIL when anybody may get it later, else the first refusal's. */
static int report(const struct job *job)
{
    int status = EX_OK;
    bool deferred = false;

    openlog("weir-sendmail", LOG_PID, LOG_MAIL);
    for (size_t i = 0; i < job->recipients.count; i++) {
        const struct recipient *one = &job->recipients.items[i];
        char address[1024], said[2048], code[32] = "";
        log_escape(address, sizeof address, one->address, strlen(one->address));
        log_escape(said, sizeof said, one->words, strlen(one->words));
        if (one->code != 0)
            snprintf(code, sizeof code, "%d %s%s", one->code, one->enhanced, one->enhanced[0] != '\0' ? " " : "");
        syslog(one->state == RECIPIENT_SENT ? LOG_INFO : LOG_WARNING, "from=<%s>, to=<%s>, status=%s (%s%s)", job->sender, address,
               words_of(one->state), code, said);
        if (one->state == RECIPIENT_SENT)
            continue;
        complain(0, "%s: %s: %s%s", address, words_of(one->state), code, said);
        deferred |= one->state == RECIPIENT_DEFERRED;
        if (status == EX_OK && one->state == RECIPIENT_REFUSED)
            status = submit_status_of_refusal(one->enhanced);
    }
    closelog();
    return deferred ? EX_TEMPFAIL : status;
}

static bool all_are(const struct recipients *recipients, enum recipient_state state)
{
    for (size_t i = 0; i < recipients->count; i++)
        if (recipients->items[i].state != state)
            return false;
    return true;
}

static int refuse_sender(const struct job *job)
{
    char safe[1024];
    const char *sender = job->options.sender != NULL ? job->options.sender : "the user's name";
    return complain(EX_USAGE, "-f: not an address: %s", log_escape(safe, sizeof safe, sender, strlen(sender)));
}

static int send_mail(struct job *job)
{
    if (!find_sender(job))
        return refuse_sender(job);
    for (int i = 0; i < job->options.word_count; i++)
        recipients_add(&job->recipients, job->options.words[i], strlen(job->options.words[i]), job->settings.domain);
    if (job->recipients.count == 0 && !job->options.from_header)
        return complain(EX_USAGE, "no recipients: name them, or use -t");
    int status = read_message(job);
    if (status != EX_OK)
        return status;
    make_mail(job);
    if (job->recipients.count == 0)
        return complain(EX_USAGE, "no recipients in To, Cc or Bcc");

    struct submission submission = { .settings = &job->settings, .mail = &job->mail, .recipients = &job->recipients, .notify = job->options.notify };
    bool utf8 = job->sender_utf8;
    for (size_t i = 0; i < job->recipients.count; i++)
        utf8 |= job->recipients.items[i].utf8;
    submission.envelope = (struct hop_mail){ .sender = job->sender, .size = job->mail.header.len + job->mail.body_len,
                                             .eightbit = job->mail.eightbit, .smtputf8 = utf8, .ret = job->options.ret,
                                             .envid = job->options.envid };
    enum host_trouble trouble = all_are(&job->recipients, RECIPIENT_REFUSED) ? HOST_UNREACHABLE : submit(&submission);
    status = report(job);
    if (status == EX_TEMPFAIL && trouble != HOST_UNREACHABLE)
        status = trouble == HOST_UNKNOWN ? EX_NOHOST : EX_NOPERM;
    return status;
}

static void job_fini(struct job *job)
{
    mail_fini(&job->mail);
    text_fini(&job->lines.text);
    recipients_fini(&job->recipients);
    sendmail_settings_fini(&job->settings);
    free(job->sender);
}

int main(int argc, char **argv)
{
    struct job job = { 0 };
    struct error why;
    int status;

    signal(SIGPIPE, SIG_IGN);
    if (!sendmail_options_parse(&job.options, argc, argv, &status))
        return status;
    if (job.options.mode == MODE_QUEUE || job.options.mode == MODE_ALIASES)
        return tell_about_the_queue(job.options.mode);
    if (!sendmail_settings_load(&job.settings, &why))
        return complain(EX_CONFIG, "%s", why.text);
    status = job.options.mode == MODE_SMTP ? through(&job.settings) : send_mail(&job);
    job_fini(&job);
    return status;
}
