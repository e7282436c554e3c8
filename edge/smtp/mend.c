/*
 * mend.c - see mend.h
 *
 *     LINE --name--> NAME --":"--> FIELD or DROP --LF--> LINE      LINE --CRLF--> BODY
 *                    NAME, LINE --what no field begins with--> separator, BODY
 */
#include "edge/smtp/mend.h"
#include <string.h>
#include <strings.h>
#include "edge/smtp/leniency.h"

enum state {
    AT_LINE,    /* at a line's start */
    AFTER_CR,   /* a CR was there: the empty line, if LF follows */
    IN_NAME,    /* held */
    AFTER_NAME, /* held: white space in front of the colon (RFC 5322 4.5) */
    IN_FIELD,
    IN_DROPPED, /* a field that goes, or an mbox line */
    IN_BODY,
};

static void put(struct smtp_mender *mender, const char *bytes, size_t len)
{
    if (len > 0)
        mender->put(mender->arg, bytes, len);
}

static void end_header(struct smtp_mender *mender)
{
    for (int f = 0; f < SMTP_FIELD_COUNT; f++)
        if (!mender->seen[f] && mender->missing[f] != NULL) {
            mender->forgiven |= SMTP_LENIENCY_MISSING_FIELD;
            put(mender, mender->missing[f], strlen(mender->missing[f]));
        }
    put(mender, "\r\n", 2);
    mender->state = IN_BODY;
}

static void put_held(struct smtp_mender *mender)
{
    put(mender, mender->held, mender->held_len);
    mender->held_len = 0;
}

static void no_field(struct smtp_mender *mender)
{
    mender->forgiven |= SMTP_LENIENCY_SEPARATOR;
    end_header(mender);
    put_held(mender);
}

static bool held_is(const struct smtp_mender *mender, const char *name)
{
    size_t len = mender->held_len;
    while (len > 0 && (mender->held[len - 1] == ' ' || mender->held[len - 1] == '\t'))
        len--;
    return len == strlen(name) && strncasecmp(mender->held, name, len) == 0;
}

static void field_begins(struct smtp_mender *mender)
{
    static const struct {
        const char *name;
        bool once;
    } fields[SMTP_FIELD_COUNT] = {
        [SMTP_FIELD_DATE] = { "date", true },
        [SMTP_FIELD_MESSAGE_ID] = { "message-id", true },
        [SMTP_FIELD_FROM] = { "from", false },
    };
    mender->dropping = false;
    for (int f = 0; f < SMTP_FIELD_COUNT; f++)
        if (held_is(mender, fields[f].name)) {
            mender->dropping = mender->single && fields[f].once && mender->seen[f];
            mender->seen[f] = true;
        }
    mender->begun = true;
    mender->state = mender->dropping ? IN_DROPPED : IN_FIELD;
    if (mender->dropping) {
        mender->forgiven |= SMTP_LENIENCY_REPEATED_FIELD;
        mender->held_len = 0;
    } else {
        put_held(mender);
        put(mender, ":", 1);
    }
}

static void hold(struct smtp_mender *mender, char byte)
{
    mender->held[mender->held_len++] = byte;
    if (mender->held_len == sizeof mender->held) /* longer than any line of a header may be */
        no_field(mender);
}

static bool is_mbox_line(const struct smtp_mender *mender)
{
    return !mender->begun && (held_is(mender, "from") || held_is(mender, ">from"));
}

/* A byte of a line whose kind is not known yet. */
static void decide(struct smtp_mender *mender, char byte)
{
    bool blank = byte == ' ' || byte == '\t', printable = byte > ' ' && byte <= '~';
    switch (mender->state) {
    case AT_LINE:
        if (blank && mender->begun) {
            mender->state = mender->dropping ? IN_DROPPED : IN_FIELD;
            if (!mender->dropping)
                put(mender, &byte, 1);
        } else if (byte == '\r') {
            mender->state = AFTER_CR;
        } else {
            mender->held[mender->held_len++] = byte;
            mender->state = IN_NAME;
            if (!printable || byte == ':')
                no_field(mender);
        }
        return;
    case AFTER_CR:
        end_header(mender);
        if (byte != '\n') {
            put(mender, "\r", 1);
            put(mender, &byte, 1);
        }
        return;
    case AFTER_NAME:
        if (is_mbox_line(mender) && byte != ':' && !blank) {
            mender->forgiven |= SMTP_LENIENCY_MBOX;
            mender->held_len = 0;
            mender->state = IN_DROPPED;
            return;
        }
        break;
    default:
        break;
    }
    if (byte == ':') {
        field_begins(mender);
        return;
    }
    hold(mender, byte);
    if (mender->state == IN_BODY)
        return;
    if (blank)
        mender->state = AFTER_NAME;
    else if (mender->state == AFTER_NAME || !printable)
        no_field(mender);
}

void smtp_mender_feed(struct smtp_mender *mender, const char *bytes, size_t len)
{
    size_t pos = 0;
    while (pos < len && mender->state != IN_BODY) {
        if (mender->state != IN_FIELD && mender->state != IN_DROPPED) {
            decide(mender, bytes[pos++]);
            continue;
        }
        const char *lf = memchr(bytes + pos, '\n', len - pos);
        size_t piece = lf != NULL ? (size_t)(lf - bytes) + 1 - pos : len - pos;
        if (mender->state == IN_FIELD)
            put(mender, bytes + pos, piece);
        pos += piece;
        if (lf != NULL)
            mender->state = AT_LINE;
    }
    put(mender, bytes + pos, len - pos);
}

void smtp_mender_finish(struct smtp_mender *mender)
{
    if (mender->state == IN_FIELD) /* the message ends inside of a line: only BDAT can do that */
        put(mender, "\r\n", 2);
    if (mender->state == IN_NAME || mender->state == AFTER_NAME) {
        no_field(mender);
    } else if (mender->state != IN_BODY) {
        mender->forgiven |= SMTP_LENIENCY_SEPARATOR;
        end_header(mender);
    }
}
