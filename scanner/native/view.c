/* view.c - see view.h */
#include "scanner/native/view.h"
#include <string.h>
#include "scanner/native/fold.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct mime_span view_header(const struct view *view, const char *name)
{
    const struct mime_header *header = mime_header(view->message, view->top, name);
    return header == NULL ? (struct mime_span){ "", 0 } : header->value;
}

/* --- addresses --- */

static void copy_host(struct mime_span address, char out[HOST_MAX])
{
    const char *at = memrchr(address.bytes, '@', address.len);
    out[0] = '\0';
    if (at == NULL)
        return;
    size_t len = (size_t)(address.bytes + address.len - at - 1);
    while (len > 0 && at[len] == '.')
        len--;
    if (len >= HOST_MAX)
        return;
    for (size_t i = 0; i < len; i++)
        out[i] = lower(at[1 + i]);
    out[len] = '\0';
}

/* The first mailbox of a field, for eyes and not for delivery: what stands in the last <>, and what stands before it. */
static void read_address(struct mime_span value, struct view_address *out)
{
    *out = (struct view_address){ .name = { "", 0 }, .address = { "", 0 } };
    if (value.len == 0)
        return;
    bool quoted = false, named = false;
    size_t end = value.len;
    for (size_t i = 0; i < value.len && end == value.len; i++) {
        quoted ^= value.bytes[i] == '"';
        named |= value.bytes[i] == '@';
        if (value.bytes[i] == ',' && !quoted && named)
            end = i;
    }
    value.len = end;
    const char *open = memrchr(value.bytes, '<', value.len);
    if (open != NULL) {
        const char *close = memchr(open, '>', (size_t)(value.bytes + value.len - open));
        close = close == NULL ? value.bytes + value.len : close;
        out->address = mime_span_trim((struct mime_span){ open + 1, (size_t)(close - open - 1) });
        out->name = mime_span_trim((struct mime_span){ value.bytes, (size_t)(open - value.bytes) });
    } else {
        const char *comment = memchr(value.bytes, '(', value.len);
        size_t len = comment == NULL ? value.len : (size_t)(comment - value.bytes);
        out->address = mime_span_trim((struct mime_span){ value.bytes, len });
        if (comment != NULL)
            out->name = (struct mime_span){ comment + 1, value.len - len - (value.bytes[value.len - 1] == ')' && value.len - len > 1 ? 2 : 1) };
        if (memchr(out->address.bytes, '@', out->address.len) == NULL)
            out->name = out->address, out->address.len = 0;
    }
    if (out->name.len >= 2 && out->name.bytes[0] == '"' && out->name.bytes[out->name.len - 1] == '"')
        out->name = mime_span_trim((struct mime_span){ out->name.bytes + 1, out->name.len - 2 });
    copy_host(out->address, out->host);
}

/* --- links --- */

static struct view_host *find_host(struct view *view, const char *host)
{
    for (size_t i = 0; i < view->host_count; i++)
        if (strcmp(view->hosts[i].host, host) == 0)
            return &view->hosts[i];
    if (view->host_count == VIEW_HOSTS_MAX)
        return NULL;
    struct view_host *made = &view->hosts[view->host_count++];
    memcpy(made->host, host, strlen(host) + 1);
    made->is_address = host_is_address(host);
    made->organisation = made->is_address ? made->host : host_organisation(made->host);
    made->is_shortener = host_is_shortener(host);
    made->is_free_page = host_is_free_page(host);
    made->is_odd_zone = host_is_odd_zone(host);
    made->links = 0;
    return made;
}

static void add_link(struct view *view, enum html_link_kind kind, struct mime_span url, struct mime_span text, bool in_html, bool has_image)
{
    char host[HOST_MAX];
    if (view->link_count == VIEW_LINKS_MAX)
        return;
    url_host(url, host);
    struct view_host *known = host[0] != '\0' ? find_host(view, host) : NULL;
    if (known != NULL && kind != HTML_IMAGE)
        known->links++;
    view->links[view->link_count++] = (struct view_link){ .kind = kind, .url = url, .text = text, .host = known, .in_html = in_html, .has_image = has_image };
}

/* The link at start: up to what cannot be part of one. Gives its end. */
static const char *take_link(struct view *view, const char *start, const char *from, const char *end)
{
    const char *stop = from;
    while (stop < end && !is_space(*stop) && (unsigned char)*stop < 0x80 && strchr("<>\"')]|", *stop) == NULL)
        stop++;
    while (stop > from && strchr(".,;:!?", stop[-1]) != NULL)
        stop--;
    if (stop > from)
        add_link(view, HTML_ANCHOR, (struct mime_span){ start, (size_t)(stop - start) }, (struct mime_span){ "", 0 }, false, false);
    return stop > from ? stop : from;
}

/* "http://" and "https://" in plain text, and "www." at the start of a word. */
static void find_links(struct view *view, struct mime_span text)
{
    const char *end = text.bytes + text.len;
    for (const char *at = text.bytes; at < end && (at = memmem(at, (size_t)(end - at), "://", 3)) != NULL;) {
        size_t before = (size_t)(at - text.bytes), scheme = before >= 5 && strncasecmp(at - 5, "https", 5) == 0 ? 5 : before >= 4 && strncasecmp(at - 4, "http", 4) == 0 ? 4 : 0;
        at = scheme > 0 ? take_link(view, at - scheme, at + 3, end) : at + 3;
    }
    for (const char *at = text.bytes; at < end && (at = memmem(at, (size_t)(end - at), "www.", 4)) != NULL;) {
        bool word = at == text.bytes || is_space(at[-1]) || strchr("(<[\"'", at[-1]) != NULL;
        at = word ? take_link(view, at, at + 4, end) : at + 4;
    }
}

/* --- parts --- */

/* Within a message that is attached: not what this one says. */
static bool is_foreign(const struct view *view, const struct mime_part *part)
{
    for (int32_t up = part->parent; up > 0; up = view->message->parts[up].parent)
        if (mime_type_is(&view->message->parts[up], "message", NULL))
            return true;
    return part->parent == 0 && mime_type_is(view->top, "message", NULL);
}

static void add_file(struct view *view, const struct mime_part *part)
{
    if (view->file_count == VIEW_FILES_MAX)
        return;
    struct view_file *file = &view->files[view->file_count++];
    size_t before;
    *file = (struct view_file){ .part = part, .name = part->file_name };
    file_extension(mime_span_trim(part->file_name), file->extension, &before);
    file_extension((struct mime_span){ part->file_name.bytes, before }, file->inner, &before);
    file->inline_image = mime_type_is(part, "image", NULL);
}

static void take_plain(struct view *view, struct mime_span text)
{
    view->plain_bytes += text.len;
    if (view->seen_count < sizeof view->seen / sizeof view->seen[0])
        view->seen[view->seen_count++] = text;
    else
        view->text_cut = true;
    find_links(view, text);
}

static void take_html(struct view *view, const struct mime_part *part)
{
    struct html *html = mime_memory(view->parser, sizeof *html);
    html_read(view->parser, part->text, html);
    view->html_bytes += part->text.len;
    view->html_seen += html->text.len;
    view->hidden += html->hidden;
    view->breaks += html->breaks;
    view->forms += html->forms;
    view->passwords += html->passwords;
    view->scripts += html->scripts;
    view->images += html->images;
    view->tiny_images += html->tiny_images;
    for (size_t i = 0; i < html->link_count; i++)
        add_link(view, html->links[i].kind, html->links[i].target, html->links[i].text, true, html->links[i].has_image);
    if (view->seen_count < sizeof view->seen / sizeof view->seen[0])
        view->seen[view->seen_count++] = html->text;
    else
        view->text_cut = true;
    if (view->html == NULL || html->text.len > view->html->text.len)
        view->html = html;
}

static void take_part(struct view *view, const struct mime_part *part)
{
    bool text = mime_span_is(part->type, "text"), attached = mime_span_is(part->disposition, "attachment");
    if (is_foreign(view, part))
        return;
    if (part->composite) { /* a multipart whose parts are missing is read as the text that is there */
        if (part->text.len == 0)
            return;
        if (memmem(part->text.bytes, part->text.len < 4096 ? part->text.len : 4096, "</", 2) != NULL)
            take_html(view, part);
        else
            take_plain(view, part->text);
        return;
    }
    if (text && !attached && mime_span_is(part->subtype, "html")) {
        take_html(view, part);
        if (part->file_name.len > 0)
            add_file(view, part);
    } else if (text && !attached && (mime_span_is(part->subtype, "plain") || mime_span_is(part->subtype, "enriched") || mime_span_is(part->subtype, "richtext"))) {
        take_plain(view, part->text);
    } else {
        add_file(view, part);
    }
}

static bool begins(struct mime_span text, const char *with)
{
    size_t len = strlen(with);
    return text.len >= len && strncasecmp(text.bytes, with, len) == 0;
}

/* Reports about mail: their type says so, or nobody sent them, in plain text, under the name of a mail system. */
static bool is_bounce(const struct view *view)
{
    bool null_sender = (view->facts->sender != NULL && view->facts->sender[0] == '\0') || mime_span_is(view_header(view, "Return-Path"), "<>");
    bool system = begins(view->from.address, "mailer-daemon") || begins(view->from.address, "postmaster") || begins(view->from.name, "mail delivery") ||
                  begins(view->from.name, "mailer-daemon");
    if (mime_type_is(view->top, "multipart", "report"))
        for (size_t i = 1; i < view->message->part_count && i < 8; i++) {
            const struct mime_part *part = &view->message->parts[i];
            if (mime_type_is(part, "message", NULL) || mime_type_is(part, "text", "rfc822-headers"))
                return true;
        }
    return system && view->html_bytes == 0 && (null_sender || view_header(view, "Auto-Submitted").len > 0 || begins(view->from.address, "mailer-daemon"));
}

static bool in_own(const struct view *view, const char *organisation)
{
    for (size_t i = 0; view->facts->direction == NATIVE_INBOUND && i < view->facts->recipient_count; i++) {
        const char *at = strrchr(view->facts->recipients[i], '@');
        if (at != NULL && strcasecmp(host_organisation(at + 1), organisation) == 0 && !host_is_free_mail(organisation))
            return true;
    }
    return false;
}

bool view_is_own(const struct view *view, const char *host)
{
    return host[0] != '\0' && in_own(view, host_organisation(host));
}

/* In that many bytes; of a long text its beginning and its end, for whoever fills up one of them to hide the other. False: not all of it. */
static bool fold_ends(struct fold *fold, struct mime_span text, size_t share)
{
    size_t room = fold->room, end = fold->len + share;
    fold->room = fold->len + share / 2;
    size_t read = fold_text(fold, text);
    fold->room = end;
    if (read > 0) /* what is empty may have no address */
        text.bytes += read, text.len -= read;
    size_t left = end - fold->len, fits = left > FOLD_SPARE ? left - FOLD_SPARE : 0;
    bool all = text.len <= fits;
    if (!all) {
        text.bytes += text.len - fits, text.len = fits;
        while (text.len > 0 && ((unsigned char)text.bytes[0] & 0xc0) == 0x80)
            text.bytes++, text.len--;
    }
    if (text.len > 0)
        fold_text(fold, text);
    fold->room = room;
    return all;
}

static void fold_all(struct view *view)
{
    struct fold fold = { .out = mime_memory(view->parser, VIEW_FOLDED_MAX), .room = VIEW_FOLDED_MAX };
    fold.out[fold.len++] = ' ';
    view->text_cut |= !fold_ends(&fold, view->subject, VIEW_FOLDED_MAX / 4);
    view->folded_subject = fold.len;
    fold.letters = fold.capitals = 0;
    for (size_t i = 0; i < view->seen_count; i++) { /* what one text leaves is for the others */
        view->text_cut |= !fold_ends(&fold, view->seen[i], (fold.room - fold.len) / (view->seen_count - i));
        view->seen_bytes += view->seen[i].len;
    }
    mime_memory_trim(view->parser, fold.out, fold.len);
    view->folded = (struct mime_span){ fold.out, fold.len };
    view->letters = fold.letters;
    view->capitals = fold.capitals;
    view->wide = fold.wide;
    view->mixed_words = fold.mixed;
    view->styled = fold.styled;
}

bool watch_is_late(struct watch *watch)
{
    watch->late |= watch->now_us != NULL && watch->now_us() >= watch->end_us;
    return watch->late;
}

void view_make(struct view *view, struct mime_parser *parser, const struct mime_message *message, const struct native_facts *facts, struct watch *watch)
{
    memset(view, 0, offsetof(struct view, hosts));
    view->host_count = view->link_count = view->file_count = 0;
    view->parser = parser;
    view->message = message;
    view->facts = facts;
    view->top = &message->parts[0];
    view->subject = view_header(view, "Subject");
    read_address(view_header(view, "From"), &view->from);
    read_address(view_header(view, "Reply-To"), &view->reply_to);
    read_address(view_header(view, "To"), &view->to);
    view->has_message_id = view_header(view, "Message-ID").len > 0;
    for (size_t i = 0; i < message->part_count && !watch_is_late(watch); i++)
        take_part(view, &message->parts[i]);
    /* Headers that claim a conversation or a list are free to write, and bulk mail in HTML alone writes them. */
    bool text = view->plain_bytes > 0;
    view->is_reply = text && (view_header(view, "In-Reply-To").len > 0 || view_header(view, "References").len > 0);
    view->is_list = text && (view_header(view, "List-Id").len > 0 || view_header(view, "List-Post").len > 0);
    view->is_bounce = is_bounce(view);
    view->from_is_own = view_is_own(view, view->from.host);
    fold_all(view);
}
