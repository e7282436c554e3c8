/* rules_headers.c - what programs that send in bulk get wrong in headers; nothing here is a trait of one site */
#include <string.h>
#include "scanner/native/rules.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool stands_in(struct mime_span text, struct mime_span wanted)
{
    for (size_t i = 0; i + wanted.len <= text.len; i++)
        if (strncasecmp(text.bytes + i, wanted.bytes, wanted.len) == 0)
            return true;
    return false;
}

/* One word of letters and digits. */
struct word {
    struct mime_span text, run; /* run: its longest one of digits */
    size_t digits, changes;     /* from letters to digits, and back */
};

static bool next_word(struct mime_span *left, struct word *out)
{
    size_t begin = 0, end, run = 0;
    while (begin < left->len && !is_digit(left->bytes[begin]) && !is_letter(left->bytes[begin]))
        begin++;
    *out = (struct word){ .text.bytes = left->bytes + begin };
    for (end = begin; end < left->len && (is_digit(left->bytes[end]) || is_letter(left->bytes[end])); end++) {
        bool digit = is_digit(left->bytes[end]);
        out->digits += digit ? 1 : 0;
        out->changes += end > begin && digit != is_digit(left->bytes[end - 1]) ? 1 : 0;
        run = digit ? run + 1 : 0;
        if (run > out->run.len)
            out->run = (struct mime_span){ left->bytes + end + 1 - run, run };
    }
    out->text.len = end - begin;
    *left = (struct mime_span){ left->bytes + end, left->len - end };
    return out->text.len > 0;
}

/* A run of six digits, or a word that goes from letters to digits and back, with so many digits; not where it stands in `told` as well. */
static bool has_code(struct mime_span text, size_t digits, const struct mime_span told[], size_t told_count)
{
    struct word word;
    while (next_word(&text, &word)) {
        struct mime_span code = word.text.len >= 8 && word.changes >= 2 && word.digits >= digits ? word.text : word.run;
        bool known = code.len < 6;
        for (size_t i = 0; i < told_count && !known; i++)
            known = stands_in(told[i], code);
        if (!known)
            return true;
    }
    return false;
}

static void identity(const struct view *view, struct native_result *result)
{
    struct mime_span id = view_header(view, "Message-ID");
    if (id.len == 0)
        symbol_text(result, "NO_MESSAGE_ID", view->is_bounce ? 0 : 600, "");
    else if (id.bytes[0] != '<' || memchr(id.bytes, '@', id.len) == NULL || memchr(id.bytes, ' ', id.len) != NULL)
        symbol_add(result, "BAD_MESSAGE_ID", 400, id);
    if (view_header(view, "Date").len == 0)
        symbol_text(result, "NO_DATE", 500, "");
    if (view->from.address.len == 0)
        symbol_text(result, "NO_FROM", 800, "");
    if (view->subject.len == 0)
        symbol_text(result, "NO_SUBJECT", 200, "");
}

static void recipients(const struct view *view, struct native_result *result)
{
    struct mime_span to = view_header(view, "To");
    if (to.len == 0 && view_header(view, "Cc").len == 0)
        symbol_text(result, "NO_TO", 600, "");
    else if (view->to.address.len == 0)
        symbol_text(result, "UNDISCLOSED_RECIPIENTS", 800, "");
    else if (view->from.address.len > 0 && view->to.address.len == view->from.address.len && strncasecmp(view->to.address.bytes, view->from.address.bytes, view->to.address.len) == 0)
        symbol_text(result, "TO_IS_FROM", 1000, "");
    struct mime_span name = view->to.address;
    const char *at = name.len > 3 ? memchr(name.bytes, '@', name.len) : NULL;
    size_t user = at == NULL ? 0 : (size_t)(at - name.bytes);
    if (user >= 4 && view->subject.len > user + 2 && !view->is_reply && strncasecmp(view->subject.bytes, name.bytes, user) == 0 && memchr(" ,:!", view->subject.bytes[user], 4) != NULL)
        symbol_text(result, "SUBJECT_NAMES_RECIPIENT", 1000, "");
}

#define HOST_DIGITS 5 /* in a word of a host's name: more than a year has */

static void sender(const struct view *view, struct native_result *result)
{
    struct mime_span address = view->from.address;
    size_t digits = 0, user = 0;
    for (; user < address.len && address.bytes[user] != '@'; user++)
        digits += is_digit(address.bytes[user]) ? 1 : 0;
    if (user > 0 && digits >= 4 && digits < user)
        symbol_add(result, "FROM_WITH_DIGITS", digits >= 6 ? 700 : 300, address);
    bool coded = false; /* shop24direct and congress2026online are names */
    for (const char *label = view->from.host; *label != '\0' && !coded; label += strcspn(label, ".") + (label[strcspn(label, ".")] == '.' ? 1 : 0))
        coded = strcspn(label, ".") >= 10 && has_code((struct mime_span){ label, strcspn(label, ".") }, HOST_DIGITS, NULL, 0);
    if (coded)
        symbol_text(result, "FROM_HOST_CODE", 900, view->from.host);
    if (view->from.host[0] != '\0' && host_is_odd_zone(view->from.host))
        symbol_text(result, "FROM_ODD_ZONE", 1000, view->from.host);
}

/* --- the sender's name: people and firms have no numbers of contracts in theirs --- */

static bool is_shouted(struct mime_span text)
{
    size_t capitals = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.bytes[i] >= 'a' && text.bytes[i] <= 'z')
            return false;
        capitals += text.bytes[i] >= 'A' && text.bytes[i] <= 'Z' ? 1 : 0;
    }
    return capitals >= 8;
}

#define NAME_MOST 1000 /* however many of these it has: ticket systems and students have some */

/* Adds what is left of `room`. */
static void name_symbol(struct native_result *result, int32_t *room, const char *symbol, int32_t weight, struct mime_span name)
{
    weight = weight < *room ? weight : *room;
    *room -= weight;
    if (weight > 0)
        symbol_add(result, symbol, weight, name);
}

static void sender_name(const struct view *view, struct native_result *result)
{
    struct mime_span name = view->from.name;
    const struct mime_span told[] = { view->from.address, view->subject }; /* a number of a student, or of a ticket */
    int32_t room = NAME_MOST;
    if (name.len == 0 || view->is_list || view->is_reply || memchr(name.bytes, '@', name.len) != NULL)
        return;
    size_t marks = 0;
    for (size_t i = 0; i < name.len; i++)
        marks += memchr("#*!$_", name.bytes[i], 5) != NULL ? 1 : 0;
    if (has_code(name, 1, told, sizeof told / sizeof told[0]))
        name_symbol(result, &room, "FROM_NAME_CODE", host_is_free_mail(view->from.host) ? 1000 : 900, name);
    if (memchr(",:-", name.bytes[name.len - 1], 3) != NULL)
        name_symbol(result, &room, "FROM_NAME_OPEN", 1000, name); /* ends as a sentence goes on */
    if (name.len > 80)
        name_symbol(result, &room, "FROM_NAME_LONG", 700, name);
    if (marks >= 2 || name.bytes[0] == '#' || name.bytes[0] == '*')
        name_symbol(result, &room, "FROM_NAME_MARKS", 600, name);
    if (is_shouted(name))
        name_symbol(result, &room, "FROM_NAME_CAPITALS", 500, name);
}

/* Emoji: U+1F000 and up, and U+2600 to U+27BF. */
static bool has_pictures(struct mime_span text)
{
    for (size_t i = 0; i + 2 < text.len; i++) {
        unsigned char a = (unsigned char)text.bytes[i], b = (unsigned char)text.bytes[i + 1];
        if ((a == 0xf0 && b == 0x9f) || (a == 0xe2 && b >= 0x98 && b <= 0x9e))
            return true;
    }
    return false;
}

static void subject(const struct view *view, struct native_result *result)
{
    struct mime_span text = view->subject;
    size_t capitals = 0, letters = 0, marks = 0, gap = 0, longest = 0, money = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.bytes[i];
        bool capital = c >= 'A' && c <= 'Z';
        capitals += capital ? 1 : 0;
        letters += capital || (c >= 'a' && c <= 'z') ? 1 : 0;
        marks += c == '!' ? 1 : 0;
        money += c == '$' || c == '%' ? 1 : 0;
        gap = c == ' ' ? gap + 1 : 0;
        longest = gap > longest ? gap : longest;
    }
    if (letters >= 10 && capitals * 10 >= letters * 9)
        symbol_text(result, "SUBJECT_CAPITALS", 1300, "");
    if (marks > 0 && !view->is_reply)
        symbol_text(result, "SUBJECT_EXCLAIMS", marks > 2 ? 1600 : 1000, "");
    if (money > 0 && !view->is_reply)
        symbol_text(result, "SUBJECT_MONEY", 900, "");
    if (longest >= 6)
        symbol_text(result, "SUBJECT_GAP", 1800, ""); /* a number to the right, to tell copies apart */
    if (has_pictures(text))
        symbol_text(result, "SUBJECT_PICTURES", 500, "");
    struct mime_span to = view->to.address;
    if (to.len > 5 && text.len >= to.len && memmem(text.bytes, text.len, to.bytes, to.len) != NULL)
        symbol_text(result, "SUBJECT_NAMES_ADDRESS", 1600, "");
    if (to.len > 5 && view->from.name.len >= to.len && memmem(view->from.name.bytes, view->from.name.len, to.bytes, to.len) != NULL &&
        !(view->from.address.len == to.len && memcmp(view->from.address.bytes, to.bytes, to.len) == 0))
        symbol_text(result, "FROM_NAMES_ADDRESS", 1500, "");
    bool reply = text.len > 3 && strncasecmp(text.bytes, "re:", 3) == 0;
    if (reply && !view->is_reply)
        symbol_text(result, "FALSE_REPLY", 200, "");
    struct mime_span end = text;
    size_t tail = 0;
    while (tail < end.len && is_digit(end.bytes[end.len - 1 - tail]))
        tail++;
    if (tail >= 5 && tail < text.len && !view->is_reply)
        symbol_text(result, "SUBJECT_NUMBER", 400, "");
}

static bool begins(struct mime_span text, const char *with)
{
    size_t len = strlen(with);
    return text.len >= len && strncasecmp(text.bytes, with, len) == 0;
}

/* Names of programs that leave more traces than these messages have. */
static void false_program(const struct view *view, struct native_result *result)
{
    struct mime_span mailer = view_header(view, "X-Mailer");
    bool macintosh = mailer.len > 0 && memmem(mailer.bytes, mailer.len, "Macintosh", 9) != NULL; /* which is another program of that name */
    if (begins(mailer, "Microsoft Outlook Express") && !macintosh && view_header(view, "X-MimeOLE").len == 0)
        symbol_text(result, "FALSE_MAILER", 2900, "Outlook Express");
    else if (begins(mailer, "Microsoft Outlook,") && view_header(view, "X-MimeOLE").len == 0 && view_header(view, "Thread-Index").len == 0)
        symbol_text(result, "FALSE_MAILER", 1600, "Outlook");
    else if (begins(mailer, "The Bat!") && view_header(view, "MIME-Version").len == 0)
        symbol_text(result, "FALSE_MAILER", 1600, "The Bat!");
    else if (begins(mailer, "Foxmail") && view->wide == 0 && view->letters > 200)
        symbol_text(result, "FALSE_MAILER", 1000, "Foxmail");
    if (view_header(view, "X-MSMail-Priority").len > 0 && view_header(view, "X-MimeOLE").len == 0 && view_header(view, "X-Mailer").len == 0)
        symbol_text(result, "FALSE_PRIORITY", 1200, "");
}

/* Marked as important: people seldom do. */
static void urgency(const struct view *view, struct native_result *result)
{
    struct mime_span priority = view_header(view, "X-Priority");
    if (view->is_reply || view->is_list)
        return;
    if ((priority.len > 0 && (priority.bytes[0] == '1' || priority.bytes[0] == '2')) || mime_span_is(view_header(view, "Importance"), "high"))
        symbol_text(result, "MARKED_IMPORTANT", 400, "");
}

static void form(const struct view *view, struct native_result *result)
{
    uint64_t anomalies = result->anomalies;
    if ((anomalies & MIME_BIT(MIME_HEADER_8BIT)) != 0)
        symbol_text(result, "HEADER_8BIT", 500, "");
    if ((anomalies & (MIME_BIT(MIME_DUPLICATE_TYPE) | MIME_BIT(MIME_DUPLICATE_PARAMETER) | MIME_BIT(MIME_BAD_BOUNDARY) | MIME_BIT(MIME_NUL))) != 0)
        symbol_text(result, "AMBIGUOUS_MIME", 500, "");
    if ((anomalies & MIME_BIT(MIME_NO_VERSION)) != 0)
        symbol_text(result, "NO_MIME_VERSION", 800, "");
    const struct mime_part *only = view->message->part_count == 1 ? view->top : NULL;
    /* Who writes from a mailbox that costs nothing has a program, or a page, that adds plain text. */
    bool by_hand = host_is_free_mail(view->from.host) && !view->is_list && !view->is_reply;
    if (only != NULL && mime_type_is(only, "text", "html"))
        symbol_text(result, "HTML_ONLY", view->is_reply ? 400 : 1600, "");
    else if (view->html_bytes > 0 && view->plain_bytes == 0) {
        symbol_text(result, "HTML_WITHOUT_TEXT", 700, "");
        if (by_hand)
            symbol_text(result, "FREE_MAIL_HTML_ONLY", 900, view->from.host); /* both together are HTML_ONLY, not more */
    }
    for (size_t i = 0; i < view->message->part_count; i++) {
        const struct mime_part *part = &view->message->parts[i];
        if (mime_span_is(part->type, "text") && part->encoding == MIME_BASE64 && view->wide == 0 && part->text.len > 20 && part->file_name.len == 0) {
            symbol_text(result, "TEXT_IN_BASE64", 600, "");
            break;
        }
    }
}

/* Who brings it. Neither is spam by itself: what a site is sure of it refuses before there is a message. */
void rules_client(const struct view *view, struct native_result *result)
{
    const char *listed = view->facts->listed;
    if (listed != NULL && *listed != '\0')
        symbol_text(result, "CLIENT_LISTED", 1500, listed);
    if (view->facts->ill_reputed)
        symbol_text(result, "CLIENT_ILL_REPUTED", 1500, "");
}

void rules_headers(const struct view *view, struct native_result *result)
{
    if (view->is_bounce)
        return;
    identity(view, result);
    recipients(view, result);
    sender(view, result);
    subject(view, result);
    sender_name(view, result);
    false_program(view, result);
    urgency(view, result);
    form(view, result);
}
