/* options.c - see options.h */
#include "deploy/sendmail/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>
#include "edge/smtp/command.h"
#include "edge/smtp/xtext.h"

/* What other sendmails have and what means nothing without a queue or a daemon (-q, -L tag, -X file, ...) is taken, so that no program has to be
 * changed; what asks for something that would not be done (-bd, -bv) is an error. */
#define SYNTAX "+A:B:C:F:GL:N:O:R:UV:X:b:cd::e:f:h:imno:p:q::r:stvx"

#define USAGE                                                                                                             \
    "usage: sendmail [-t] [-i] [-f SENDER] [-F NAME] [-N NOTIFY] [-R full|hdrs] [-V ENVID] [--] [RECIPIENT...]\n" \
    "       sendmail -bs | -bp | -bi\n"

static bool misused(int *status, const char *what, const char *value)
{
    fprintf(stderr, "weir-sendmail: %s%s\n" USAGE, what, value);
    *status = EX_USAGE;
    return false;
}

static bool read_mode(struct sendmail_options *options, const char *value, int *status)
{
    if (strcmp(value, "m") == 0)
        options->mode = MODE_MAIL;
    else if (strcmp(value, "s") == 0)
        options->mode = MODE_SMTP;
    else if (strcmp(value, "p") == 0)
        options->mode = MODE_QUEUE;
    else if (strcmp(value, "i") == 0)
        options->mode = MODE_ALIASES;
    else
        return misused(status, "this sendmail has no -b", value);
    return true;
}

static bool read_notify(struct sendmail_options *options, const char *value, int *status)
{
    static const struct {
        const char *word;
        unsigned bit;
    } all[] = { { "never", SMTP_NOTIFY_NEVER }, { "success", SMTP_NOTIFY_SUCCESS }, { "failure", SMTP_NOTIFY_FAILURE },
                { "delay", SMTP_NOTIFY_DELAY } };
    const char *at = value;
    options->notify = 0;
    for (;;) {
        size_t len = strcspn(at, ","), i = 0;
        while (i < 4 && (strlen(all[i].word) != len || strncasecmp(all[i].word, at, len) != 0))
            i++;
        if (i == 4)
            return misused(status, "-N: not never, success, failure or delay: ", value);
        options->notify |= all[i].bit;
        if (at[len] == '\0')
            break;
        at += len + 1;
    }
    if ((options->notify & SMTP_NOTIFY_NEVER) && options->notify != SMTP_NOTIFY_NEVER)
        return misused(status, "-N: never stands alone: ", value);
    return true;
}

static bool read_ret(struct sendmail_options *options, const char *value, int *status)
{
    if (strcasecmp(value, "full") == 0)
        options->ret = 'F';
    else if (strcasecmp(value, "hdrs") == 0)
        options->ret = 'H';
    else
        return misused(status, "-R: not full or hdrs: ", value);
    return true;
}

/* What no server would take (RFC 3461 4.4) is said here, where somebody reads it. */
static bool read_envid(struct sendmail_options *options, const char *value, int *status)
{
    char encoded[SMTP_ENVID_TEXT_MAX];
    for (const char *at = value; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            return misused(status, "-V: not of printable ASCII", "");
    if (!smtp_xtext_encode(encoded, sizeof encoded, value))
        return misused(status, "-V: longer than 100 characters, where + and = count three: ", value);
    options->envid = value;
    return true;
}

/* How it is called decides, too: mailq and newaliases are links to sendmail. */
static enum sendmail_mode mode_of_name(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    return strcmp(name, "mailq") == 0 ? MODE_QUEUE : strcmp(name, "newaliases") == 0 ? MODE_ALIASES : MODE_MAIL;
}

bool sendmail_options_parse(struct sendmail_options *options, int argc, char **argv, int *status)
{
    bool run_queue = false;
    int letter;

    *options = (struct sendmail_options){ .mode = mode_of_name(argc > 0 ? argv[0] : ""), .envid = "" };
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        *status = fputs(USAGE, stdout) < 0 || fflush(stdout) != 0 ? EX_OSERR : EX_OK;
        return false;
    }
    opterr = 0;
    while ((letter = getopt(argc, argv, SYNTAX)) != -1) {
        bool good = true;
        switch (letter) {
        case 't':
            options->from_header = true;
            break;
        case 'i':
            options->dot_is_data = true;
            break;
        case 'o':
            options->dot_is_data |= strcmp(optarg, "i") == 0;
            break;
        case 'O':
            options->dot_is_data |= strncasecmp(optarg, "IgnoreDots", 10) == 0;
            break;
        case 'f': case 'r':
            options->sender = optarg;
            break;
        case 'F':
            options->name = optarg;
            break;
        case 'b':
            good = read_mode(options, optarg, status);
            break;
        case 'q':
            run_queue = true;
            break;
        case 'N':
            good = read_notify(options, optarg, status);
            break;
        case 'R':
            good = read_ret(options, optarg, status);
            break;
        case 'V':
            good = read_envid(options, optarg, status);
            break;
        case '?': {
            char unknown[2] = { (char)optopt, '\0' };
            return misused(status, strchr(SYNTAX, optopt) != NULL ? "a value is missing behind -" : "unknown option -", unknown);
        }
        default:
            break;
        }
        if (!good)
            return false;
    }
    options->words = argv + optind;
    options->word_count = argc - optind;
    if (run_queue && options->mode == MODE_MAIL && options->word_count == 0 && !options->from_header) {
        fprintf(stderr, "weir-sendmail: there is no queue here to run: what was accepted is in the cluster's spool\n");
        *status = EX_OK;
        return false;
    }
    return true;
}
