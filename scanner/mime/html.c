/* html.c - see html.h */
#include "scanner/mime/html.h"
#include "scanner/mime/parts.h"

#define TAG_MAX 16
#define ENTITY_MAX 12
#define NEAR_QUOTE_MAX 2048

struct tag {
    char name[TAG_MAX]; /* lower case, cut */
    bool closing, empty;
    struct mime_span attributes;
};

struct reader {
    struct mime_parser *parser;
    struct html *html;
    const char *at, *end;
    char *text;
    size_t len, room;
    char hidden_by[TAG_MAX]; /* the element whose content is not shown; its depth counts those of its name within */
    uint32_t hidden_depth;
    struct html_link *anchor; /* open */
    size_t anchor_start;
    bool word_cut;
    bool quote_open; /* a quote ran to the end of the part: later ones are read only where they close near by */
};

/* --- entities --- */

static const struct {
    const char *name;
    uint32_t code;
} entities[] = {
    { "amp", '&' },     { "lt", '<' },      { "gt", '>' },      { "quot", '"' },    { "apos", '\'' },   { "nbsp", ' ' },     { "copy", 0xa9 },
    { "reg", 0xae },    { "trade", 0x2122 }, { "euro", 0x20ac }, { "pound", 0xa3 },  { "yen", 0xa5 },    { "cent", 0xa2 },    { "sect", 0xa7 },
    { "laquo", 0xab },  { "raquo", 0xbb },  { "bull", 0x2022 }, { "middot", 0xb7 }, { "hellip", 0x2026 }, { "ndash", 0x2013 }, { "mdash", 0x2014 },
    { "lsquo", 0x2018 }, { "rsquo", 0x2019 }, { "ldquo", 0x201c }, { "rdquo", 0x201d }, { "shy", 0xad },  { "zwnj", 0x200c },  { "zwj", 0x200d },
    { "agrave", 0xe0 }, { "aacute", 0xe1 }, { "acirc", 0xe2 },  { "atilde", 0xe3 }, { "auml", 0xe4 },   { "aring", 0xe5 },   { "aelig", 0xe6 },
    { "ccedil", 0xe7 }, { "egrave", 0xe8 }, { "eacute", 0xe9 }, { "ecirc", 0xea },  { "euml", 0xeb },   { "igrave", 0xec },  { "iacute", 0xed },
    { "icirc", 0xee },  { "iuml", 0xef },   { "ntilde", 0xf1 }, { "ograve", 0xf2 }, { "oacute", 0xf3 }, { "ocirc", 0xf4 },   { "otilde", 0xf5 },
    { "ouml", 0xf6 },   { "oslash", 0xf8 }, { "ugrave", 0xf9 }, { "uacute", 0xfa }, { "ucirc", 0xfb },  { "uuml", 0xfc },    { "szlig", 0xdf },
    { "Agrave", 0xc0 }, { "Aacute", 0xc1 }, { "Acirc", 0xc2 },  { "Atilde", 0xc3 }, { "Auml", 0xc4 },   { "Ccedil", 0xc7 },  { "Egrave", 0xc8 },
    { "Eacute", 0xc9 }, { "Iacute", 0xcd }, { "Oacute", 0xd3 }, { "Otilde", 0xd5 }, { "Ouml", 0xd6 },   { "Uacute", 0xda },  { "Uuml", 0xdc },
    { "period", '.' },  { "colon", ':' },   { "sol", '/' },     { "commat", '@' },  { "num", '#' },     { "Tab", '\t' },     { "NewLine", '\n' },
};

static size_t put_utf8(char out[4], uint32_t code)
{
    if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        code = 0xfffd;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6), out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12), out[1] = (char)(0x80 | (code >> 6 & 0x3f)), out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18), out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f)), out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

static size_t numeric_entity(struct mime_span in, uint32_t *code)
{
    bool hex = in.len > 2 && lower(in.bytes[2]) == 'x';
    size_t i = hex ? 3 : 2, start = i;
    *code = 0;
    for (; i < in.len; i++) {
        char c = lower(in.bytes[i]);
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : hex && c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 16;
        if (digit >= (hex ? 16u : 10u))
            break;
        *code = *code > 0x110000 ? *code : *code * (hex ? 16 : 10) + digit;
    }
    if (i == start)
        return 0;
    return i + (i < in.len && in.bytes[i] == ';' ? 1 : 0);
}

/* The bytes of the entity at the start of in ('&'), or 0. Browsers take most of them without ';', and so do we. */
static size_t read_entity(struct mime_span in, uint32_t *code)
{
    if (in.len < 3)
        return 0;
    if (in.bytes[1] == '#')
        return numeric_entity(in, code);
    size_t len = 1;
    while (len < in.len && len < ENTITY_MAX && lower(in.bytes[len]) >= 'a' && lower(in.bytes[len]) <= 'z')
        len++;
    for (size_t i = 0; i < sizeof entities / sizeof entities[0]; i++)
        if (entities[i].name[0] == in.bytes[1] && strlen(entities[i].name) == len - 1 && memcmp(entities[i].name, in.bytes + 1, len - 1) == 0) {
            *code = entities[i].code;
            return len + (len < in.len && in.bytes[len] == ';' ? 1 : 0);
        }
    return 0;
}

/* --- text --- */

static void put(struct reader *r, const char *bytes, size_t len)
{
    if (r->room - r->len < len)
        return; /* cannot be: what is written is never longer than what was read; a line end stands for a tag */
    memcpy(r->text + r->len, bytes, len);
    r->len += len;
}

static void put_break(struct reader *r, char mark)
{
    if (r->len > 0 && r->text[r->len - 1] != '\n') {
        if (r->text[r->len - 1] == ' ')
            r->len--;
        put(r, &mark, 1);
    }
}

static bool is_word_byte(char c)
{
    return (unsigned char)c >= 0x80 || (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

static bool is_zero_width(uint32_t code)
{
    return code == 0xad || (code >= 0x200b && code <= 0x200f) || code == 0x2060 || code == 0xfeff || code == 0x34f;
}

static bool may_be_zero_width(char c)
{
    return c == '\xc2' || c == '\xcd' || c == '\xe2' || c == '\xef';
}

/* Zero-width characters in UTF-8 at the start of in; 0: none. Without a full decode of all other text. */
static size_t zero_width_bytes(const char *at, const char *end)
{
    static const char *const marks[] = { "\xc2\xad", "\xe2\x80\x8b", "\xe2\x80\x8c", "\xe2\x80\x8d", "\xe2\x80\x8e", "\xe2\x80\x8f", "\xe2\x81\xa0", "\xef\xbb\xbf", "\xcd\x8f" };
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        size_t len = strlen(marks[i]);
        if ((size_t)(end - at) >= len && memcmp(at, marks[i], len) == 0)
            return len;
    }
    return 0;
}

static void note_cut(struct reader *r)
{
    r->word_cut = r->len > 0 && is_word_byte(r->text[r->len - 1]);
}

static void put_char(struct reader *r, const char *bytes, size_t len)
{
    if (r->word_cut && is_word_byte(bytes[0]))
        r->html->breaks++;
    r->word_cut = false;
    put(r, bytes, len);
}

static void read_text(struct reader *r, const char *stop)
{
    while (r->at < stop) {
        char c = *r->at;
        uint32_t code = 0;
        size_t len = c == '&' ? read_entity((struct mime_span){ r->at, (size_t)(stop - r->at) }, &code) : 0;
        size_t zero = len == 0 && may_be_zero_width(c) ? zero_width_bytes(r->at, stop) : 0;
        if (r->hidden_depth > 0) {
            r->html->hidden += is_word_byte(c) && zero == 0 ? 1 : 0; /* not the blanks and invisible marks behind a preview */
            r->at += len > 0 ? len : zero > 0 ? zero : 1;
        } else if (zero > 0 || (len > 0 && is_zero_width(code))) {
            note_cut(r);
            r->at += zero + len;
        } else if (len > 0) {
            char bytes[4];
            put_char(r, bytes, put_utf8(bytes, code));
            r->at += len;
        } else if (is_space(c)) {
            r->word_cut = false;
            if (r->len > 0 && !is_space(r->text[r->len - 1]))
                put(r, " ", 1);
            r->at++;
        } else {
            const char *start = r->at++;
            while (r->at < stop && *r->at != '&' && !is_space(*r->at) && !may_be_zero_width(*r->at))
                r->at++;
            put_char(r, start, (size_t)(r->at - start));
        }
    }
}

/* --- attributes --- */

/* The value of an attribute, with what quotes it taken off; len 0: none. */
static struct mime_span attribute(struct mime_span in, const char *name)
{
    const char *at = in.bytes, *end = at + in.len;
    while (at < end) {
        while (at < end && (is_space(*at) || *at == '/'))
            at++;
        const char *start = at;
        while (at < end && !is_space(*at) && *at != '=' && *at != '/')
            at++;
        struct mime_span found = { start, (size_t)(at - start) }, value = { "", 0 };
        while (at < end && is_space(*at))
            at++;
        if (at < end && *at == '=') {
            at++;
            while (at < end && is_space(*at))
                at++;
            if (at < end && (*at == '"' || *at == '\'')) {
                char quote = *at++;
                const char *close = memchr(at, quote, (size_t)(end - at));
                close = close == NULL ? end : close;
                value = (struct mime_span){ at, (size_t)(close - at) };
                at = close < end ? close + 1 : end;
            } else {
                start = at;
                while (at < end && !is_space(*at))
                    at++;
                value = (struct mime_span){ start, (size_t)(at - start) };
            }
        } else if (found.len == 0) {
            at++;
        }
        if (mime_span_is(found, name))
            return value;
    }
    return (struct mime_span){ "", 0 };
}

/* Browsers drop white space and control characters within an address. */
static struct mime_span clean_target(struct mime_parser *parser, struct mime_span in)
{
    char *out = arena_take(&parser->arena, in.len + 4);
    size_t used = 0;
    for (size_t i = 0; i < in.len;) {
        uint32_t code = (unsigned char)in.bytes[i];
        size_t len = code == '&' ? read_entity((struct mime_span){ in.bytes + i, in.len - i }, &code) : 0;
        char bytes[4] = { in.bytes[i] };
        size_t count = len > 0 ? put_utf8(bytes, code) : 1;
        i += len > 0 ? len : 1;
        if (count > 1 || (unsigned char)bytes[0] > ' ') {
            memcpy(out + used, bytes, count);
            used += count;
        }
    }
    arena_trim(&parser->arena, out, used);
    return (struct mime_span){ out, used };
}

static struct html_link *add_link(struct reader *r, enum html_link_kind kind, struct mime_span target)
{
    struct html *html = r->html;
    target = mime_span_trim(target);
    if (target.len == 0 || html->link_count == HTML_LINKS_MAX)
        return NULL;
    struct html_link *link = &html->links[html->link_count++];
    *link = (struct html_link){ .kind = kind, .target = clean_target(r->parser, target), .text = { "", 0 } };
    return link;
}

/* "display : none" and its like, without white space and in any case */
static bool style_hides(struct mime_span style)
{
    static const char *const hiding[] = { "display:none", "visibility:hidden", "font-size:0", "font-size:1px", "opacity:0;", "max-height:0", "mso-hide:all", "text-indent:-9" };
    char text[512];
    size_t len = 0;
    for (size_t i = 0; i < style.len && len < sizeof text - 2; i++)
        if (!is_space(style.bytes[i]))
            text[len++] = lower(style.bytes[i]);
    text[len++] = ';';
    text[len] = '\0';
    for (size_t i = 0; i < sizeof hiding / sizeof hiding[0]; i++) {
        const char *found = strstr(text, hiding[i]);
        if (found != NULL && !(strncmp(hiding[i], "font-size:0", 11) == 0 && (found[11] == '.' || (found[11] >= '1' && found[11] <= '9'))))
            return true;
    }
    return false;
}

static uint32_t small_number(struct mime_span text)
{
    uint32_t value = 0;
    if (text.len == 0)
        return UINT32_MAX;
    for (size_t i = 0; i < text.len && text.bytes[i] >= '0' && text.bytes[i] <= '9' && value < 10000; i++)
        value = value * 10 + (uint32_t)(text.bytes[i] - '0');
    return value;
}

/* --- tags --- */

static bool one_of(const char *name, const char *const names[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}
#define ONE_OF(name, names) one_of(name, names, sizeof(names) / sizeof(names)[0])

static bool is_void(const char *name)
{
    static const char *const names[] = { "br", "img", "hr", "meta", "input", "link", "base", "area", "col", "wbr", "param", "source", "embed", "bgsound" };
    return ONE_OF(name, names);
}

static bool is_inline(const char *name)
{
    static const char *const names[] = { "a", "b", "i", "u", "s", "em", "strong", "font", "span", "small", "big", "sub", "sup", "tt", "code", "abbr", "wbr", "label", "ins", "del", "strike", "img", "o:p", "bdo" };
    return ONE_OF(name, names);
}

static void close_anchor(struct reader *r)
{
    if (r->anchor == NULL)
        return;
    size_t start = r->anchor_start < r->len ? r->anchor_start : r->len;
    r->anchor->text = mime_span_trim((struct mime_span){ r->text + start, r->len - start });
    r->anchor = NULL;
}

static void read_image(struct reader *r, struct mime_span attributes)
{
    add_link(r, HTML_IMAGE, attribute(attributes, "src"));
    if (small_number(attribute(attributes, "width")) <= 2 || small_number(attribute(attributes, "height")) <= 2)
        r->html->tiny_images++;
    else
        r->html->images++;
    if (r->anchor != NULL)
        r->anchor->has_image = true;
}

static void read_meta(struct reader *r, struct mime_span attributes)
{
    struct mime_span content = attribute(attributes, "content");
    if (!mime_span_is(attribute(attributes, "http-equiv"), "refresh") || content.len == 0)
        return;
    for (size_t i = 0; i + 4 < content.len; i++)
        if (strncasecmp(content.bytes + i, "url=", 4) == 0) {
            add_link(r, HTML_REFRESH, (struct mime_span){ content.bytes + i + 4, content.len - i - 4 });
            return;
        }
}

static void open_tag(struct reader *r, const struct tag *tag)
{
    struct html *html = r->html;
    struct mime_span attributes = tag->attributes;
    if (strcmp(tag->name, "a") == 0) {
        close_anchor(r);
        r->anchor = add_link(r, HTML_ANCHOR, attribute(attributes, "href"));
        r->anchor_start = r->len;
    } else if (strcmp(tag->name, "img") == 0) {
        read_image(r, attributes);
    } else if (strcmp(tag->name, "area") == 0) {
        struct html_link *link = add_link(r, HTML_ANCHOR, attribute(attributes, "href"));
        if (link != NULL)
            link->has_image = true;
    } else if (strcmp(tag->name, "form") == 0) {
        html->forms++;
        add_link(r, HTML_FORM, attribute(attributes, "action"));
    } else if (strcmp(tag->name, "input") == 0) {
        struct mime_span type = attribute(attributes, "type");
        html->inputs += mime_span_is(type, "hidden") ? 0 : 1;
        html->passwords += mime_span_is(type, "password") ? 1 : 0;
    } else if (strcmp(tag->name, "script") == 0) {
        html->scripts++;
    } else if (strcmp(tag->name, "style") == 0) {
        html->styles++;
    } else if (strcmp(tag->name, "iframe") == 0 || strcmp(tag->name, "frame") == 0) {
        html->frames++;
        add_link(r, HTML_FRAME, attribute(attributes, "src"));
    } else if (strcmp(tag->name, "meta") == 0) {
        read_meta(r, attributes);
    } else if (strcmp(tag->name, "base") == 0) {
        html->has_base = true;
    }
}

/* What is not shown: by its style, or by an attribute; until the element ends. */
static void track_hidden(struct reader *r, const struct tag *tag)
{
    if (is_void(tag->name) || tag->empty)
        return;
    if (r->hidden_depth > 0) {
        if (strcmp(tag->name, r->hidden_by) == 0)
            r->hidden_depth += tag->closing ? (uint32_t)-1 : 1;
        return;
    }
    if (tag->closing || tag->attributes.len == 0)
        return;
    struct mime_span style = attribute(tag->attributes, "style");
    if (style.len > 0 && style_hides(style)) {
        memcpy(r->hidden_by, tag->name, TAG_MAX);
        r->hidden_depth = 1;
    }
}

/* script, style and title hold text, not tags: up to their end. */
static void skip_raw(struct reader *r, const char *name)
{
    const char *at = r->at;
    size_t len = strlen(name);
    while (at < r->end && (at = memchr(at, '<', (size_t)(r->end - at))) != NULL) {
        if ((size_t)(r->end - at) >= len + 2 && at[1] == '/' && strncasecmp(at + 2, name, len) == 0)
            break;
        at++;
    }
    at = at == NULL ? r->end : at;
    if (strcmp(name, "title") == 0)
        r->html->title = mime_span_trim((struct mime_span){ r->at, (size_t)(at - r->at) });
    r->at = at;
}

/*
 * The '>' outside quotes that belong to an attribute, or the end. Where a quote never ends, the tag ends at the first '>'. Such a tag was read
 * to the end of the part for nothing; that happens once, or a part full of them would cost the square of its size.
 */
static const char *tag_end(struct reader *r, const char *start)
{
    const char *at = start;
    for (char before = 0; at < r->end && *at != '>'; at++) {
        if ((*at == '"' || *at == '\'') && before == '=') {
            size_t left = (size_t)(r->end - at - 1);
            const char *close = memchr(at + 1, *at, r->quote_open && left > NEAR_QUOTE_MAX ? NEAR_QUOTE_MAX : left);
            if (close == NULL && !r->quote_open) {
                r->quote_open = true;
                const char *stop = memchr(start, '>', (size_t)(r->end - start));
                return stop == NULL ? r->end : stop;
            }
            at = close == NULL ? at : close;
        }
        if (!is_space(*at))
            before = *at;
    }
    return at;
}

/* at stands behind '<'. */
static bool read_tag(struct reader *r, struct tag *tag)
{
    const char *at = r->at + 1;
    *tag = (struct tag){ .closing = at < r->end && *at == '/' };
    at += tag->closing ? 1 : 0;
    if (at == r->end || !(lower(*at) >= 'a' && lower(*at) <= 'z'))
        return false;
    size_t len = 0;
    for (; at < r->end && !is_space(*at) && *at != '>' && *at != '/'; at++)
        if (len < TAG_MAX - 1)
            tag->name[len++] = lower(*at);
    const char *start = at;
    at = tag_end(r, start);
    tag->attributes = (struct mime_span){ start, (size_t)(at - start) };
    tag->empty = at > start && at[-1] == '/';
    r->at = at < r->end ? at + 1 : r->end;
    return true;
}

/* Comments, "<!DOCTYPE>", "<?xml?>" */
static void skip_markup(struct reader *r)
{
    const char *stop;
    size_t left = (size_t)(r->end - r->at);
    if (left >= 4 && memcmp(r->at, "<!--", 4) == 0) {
        r->html->comments++;
        stop = memmem(r->at + 4, left - 4, "-->", 3);
        r->at = stop == NULL ? r->end : stop + 3;
        return;
    }
    stop = memchr(r->at, '>', left);
    r->at = stop == NULL ? r->end : stop + 1;
}

static void on_tag(struct reader *r, const struct tag *tag)
{
    static const char *const raw[] = { "script", "style", "title", "textarea", "noembed", "xmp" };
    static const char *const cells[] = { "td", "th" };
    r->html->tags++;
    if (is_inline(tag->name))
        note_cut(r);
    else if (r->hidden_depth == 0)
        put_break(r, ONE_OF(tag->name, cells) ? ' ' : '\n');
    if (tag->closing && strcmp(tag->name, "a") == 0)
        close_anchor(r);
    if (!tag->closing)
        open_tag(r, tag);
    track_hidden(r, tag);
    if (!tag->closing && ONE_OF(tag->name, raw))
        skip_raw(r, tag->name);
}

void html_read(struct mime_parser *parser, struct mime_span source, struct html *html)
{
    struct reader r = { .parser = parser, .html = html, .at = source.bytes, .end = source.bytes + source.len, .room = source.len + 4 };
    html->text = html->title = (struct mime_span){ "", 0 };
    memset((char *)html + offsetof(struct html, link_count), 0, sizeof *html - offsetof(struct html, link_count));
    r.text = arena_take(&parser->arena, r.room); /* links' targets are taken behind it, so it cannot be cut afterwards */
    while (r.at < r.end) {
        const char *mark = memchr(r.at, '<', (size_t)(r.end - r.at));
        read_text(&r, mark == NULL ? r.end : mark);
        if (mark == NULL)
            break;
        struct tag tag;
        if (r.end - r.at >= 2 && (r.at[1] == '!' || r.at[1] == '?'))
            skip_markup(&r);
        else if (read_tag(&r, &tag))
            on_tag(&r, &tag);
        else
            put_char(&r, r.at++, 1);
    }
    close_anchor(&r);
    html->text = mime_span_trim((struct mime_span){ r.text, r.len });
}
