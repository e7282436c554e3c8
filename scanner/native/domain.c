/* domain.c - see domain.h */
#include "scanner/native/domain.h"
#include <stdlib.h>
#include <string.h>
#include "common/idn.h"
#include "common/utf8.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_alnum(char c)
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

/* Behind "scheme://" or "//"; NULL: another scheme, as mailto. */
static const char *authority(struct mime_span url)
{
    const char *colon = memchr(url.bytes, ':', url.len < 12 ? url.len : 12);
    size_t scheme = colon == NULL ? 0 : (size_t)(colon - url.bytes);
    const char *at = url.bytes;
    if ((scheme == 4 && strncasecmp(at, "http", 4) == 0) || (scheme == 5 && strncasecmp(at, "https", 5) == 0) || (scheme == 3 && strncasecmp(at, "ftp", 3) == 0))
        at = colon + 1;
    else if (url.len >= 4 && strncasecmp(at, "www.", 4) == 0)
        return at;
    else if (!(url.len > 2 && at[0] == '/' && at[1] == '/'))
        return NULL;
    while (at < url.bytes + url.len && (*at == '/' || *at == '\\'))
        at++;
    return at;
}

static size_t authority_len(const char *at, const char *end)
{
    const char *start = at;
    while (at < end && *at != '/' && *at != '\\' && *at != '?' && *at != '#' && (unsigned char)*at > ' ' && *at != '"' && *at != '<' && *at != '>')
        at++;
    return (size_t)(at - start);
}

bool url_is_web(struct mime_span url)
{
    return url.len > 0 && authority(url) != NULL;
}

bool url_has_user(struct mime_span url)
{
    const char *at = url.len > 0 ? authority(url) : NULL;
    if (at == NULL)
        return false;
    const char *mark = memchr(at, '@', authority_len(at, url.bytes + url.len));
    return mark != NULL && memchr(at, '.', (size_t)(mark - at)) != NULL;
}

void url_host(struct mime_span url, char out[HOST_MAX])
{
    out[0] = '\0';
    const char *at = url.len > 0 ? authority(url) : NULL;
    if (at == NULL)
        return;
    size_t len = authority_len(at, url.bytes + url.len);
    const char *user = memrchr(at, '@', len);
    if (user != NULL) {
        len -= (size_t)(user + 1 - at);
        at = user + 1;
    }
    bool literal = len > 0 && *at == '[';
    const char *port = memchr(at, literal ? ']' : ':', len);
    if (port != NULL)
        len = (size_t)(port - at) + (literal ? 1 : 0);
    while (len > 0 && at[len - 1] == '.')
        len--;
    if (len == 0 || len >= HOST_MAX)
        return;
    for (size_t i = 0; i < len; i++)
        out[i] = lower(at[i]);
    out[len] = '\0';
}

static int compare_words(const void *key, const void *word)
{
    return strcmp(key, *(const char *const *)word);
}

/* In a sorted list. */
static bool in_words(const char *const *words, size_t count, const char *word)
{
    return bsearch(word, words, count, sizeof *words, compare_words) != NULL;
}
#define IN_WORDS(words, word) in_words(words, sizeof(words) / sizeof(words)[0], word)

/* The host, or what it is a part of, is in the list. */
static bool host_in(const char *const *words, size_t count, const char *host)
{
    for (const char *at = host; at != NULL && *at != '\0'; at = strchr(at, '.') == NULL ? NULL : strchr(at, '.') + 1)
        if (strchr(at, '.') != NULL && in_words(words, count, at))
            return true;
    return false;
}
#define HOST_IN(words, host) host_in(words, sizeof(words) / sizeof(words)[0], host)

static const char *const free_pages[] = {
    "000webhostapp.com", "16mb.com", "altervista.org", "amplifyapp.com", "angelfire.com", "appspot.com", "atwebpages.com", "azureedge.net",
    "azurestaticapps.net", "azurewebsites.net", "blob.core.windows.net", "blogger.com", "blogspot.com", "blogspot.com.br", "carrd.co",
    "cloudflare-ipfs.com", "cloudfront.net", "ddns.net", "docs.google.com", "drive.google.com", "duckdns.org", "dweb.link", "firebaseapp.com",
    "forms.gle", "forms.office.com", "formstack.com", "framer.app", "framer.website", "freewebs.com", "geocities.com", "github.io",
    "gitlab.io", "glitch.me", "godaddysites.com", "herokuapp.com", "hopto.org", "infinityfreeapp.com", "ipfs.io", "jimdofree.com",
    "jimdosite.com", "jotform.com", "myftp.org", "mystrikingly.com", "netlify.app", "ngrok-free.app", "ngrok.io", "notion.site", "pages.dev",
    "r2.dev", "repl.co", "replit.app", "run.app", "s3.amazonaws.com", "site123.me", "sites.google.com", "square.site",
    "storage.googleapis.com", "strikingly.com", "surge.sh", "sytes.net", "translate.goog", "tripod.com", "trycloudflare.com", "tumblr.com",
    "typeform.com", "vercel.app", "web.app", "web.core.windows.net", "webador.com", "webflow.io", "webnode.com", "webnode.page", "weebly.com",
    "weeblysite.com", "wixsite.com", "wordpress.com", "workers.dev", "yolasite.com", "zapto.org"
};

const char *host_organisation(const char *host)
{
    static const char *const second[] = {
        "ac", "ad", "art", "asn", "biz", "co", "com", "ed", "edu", "firm", "gen", "go", "gob", "gouv", "gov", "gr", "id", "in", "ind", "info",
        "lg", "ltd", "me", "mil", "ne", "net", "nhs", "nom", "or", "org", "plc", "police", "sch", "school", "web"
    };
    const char *labels[3] = { host, host, host }; /* starts of the last three */
    size_t count = 0;
    for (const char *at = host; *at != '\0'; at++)
        if (at == host || at[-1] == '.') {
            labels[0] = labels[1], labels[1] = labels[2], labels[2] = at;
            count++;
        }
    if (count <= 2)
        return host;
    for (const char *at = host; at != NULL; at = strchr(at, '.') == NULL ? NULL : strchr(at, '.') + 1) /* a page of its own owner's */
        if (at > host && IN_WORDS(free_pages, at)) {
            const char *before = at - 1;
            while (before > host && before[-1] != '.')
                before--;
            return before;
        }
    char middle[8] = "";
    size_t len = (size_t)(labels[2] - labels[1] - 1);
    if (len < sizeof middle)
        memcpy(middle, labels[1], len);
    return strlen(labels[2]) == 2 && IN_WORDS(second, middle) ? labels[0] : labels[1];
}

bool host_is_address(const char *host)
{
    if (host[0] == '[')
        return true;
    size_t dots = 0;
    bool hex = host[0] == '0' && host[1] == 'x';
    for (const char *at = host + (hex ? 2 : 0); *at != '\0'; at++) {
        if (*at == '.')
            dots++;
        else if (!(*at >= '0' && *at <= '9') && !(hex && *at >= 'a' && *at <= 'f') && !(*at == 'x' && at > host && at[-1] == '0'))
            return false;
    }
    return host[0] != '\0' && (dots == 3 || dots == 0);
}

bool host_is_shortener(const char *host)
{
    static const char *const list[] = {
        "acortar.link", "adf.ly", "app.link", "bit.do", "bit.ly", "bitly.com", "bl.ink", "buff.ly", "clck.ru", "cli.gs", "cutt.ly", "dwz.cn",
        "encurtador.com.br", "goo.gl", "han.gl", "hyperurl.co", "is.gd", "l.ead.me", "linktr.ee", "lnkd.in", "mcaf.ee", "me2.do", "n9.cl",
        "notlong.com", "ow.ly", "page.link", "qr.co", "qrco.de", "rb.gy", "rebrand.ly", "s.id", "short.gy", "shorte.st", "shorturl.asia",
        "shorturl.at", "snip.ly", "snipurl.com", "soo.gd", "suo.im", "t.cn", "t.co", "t.ly", "tiny.cc", "tinyurl.com", "tinyurl.is", "tr.im",
        "u.to", "url.cn", "urlz.fr", "urlzs.com", "v.gd", "vk.cc", "x.co"
    };
    return HOST_IN(list, host);
}

bool host_is_free_page(const char *host)
{
    return HOST_IN(free_pages, host);
}

bool host_is_free_mail(const char *host)
{
    static const char *const list[] = {
        "126.com", "163.com", "21cn.com", "263.net", "abv.bg", "aim.com", "aliyun.com", "aol.com", "bk.ru", "bol.com.br", "citromail.hu",
        "consultant.com", "daum.net", "email.com", "excite.com", "fastmail.com", "financier.com", "foxmail.com", "free.fr", "freemail.hu",
        "freenet.de", "gmail.com", "gmx.com", "gmx.de", "gmx.net", "googlemail.com", "hanmail.net", "hotmail.co.uk", "hotmail.com", "hotmail.de",
        "hotmail.es", "hotmail.fr", "hotmail.it", "hushmail.com", "icloud.com", "ig.com.br", "inbox.ru", "interia.pl", "laposte.net", "libero.it",
        "list.ru", "live.co.uk", "live.com", "live.fr", "lycos.com", "mac.com", "mail.com", "mail.ru", "mail2world.com", "me.com", "msn.com",
        "naver.com", "netscape.net", "o2.pl", "onet.pl", "orange.fr", "outlook.com", "outlook.de", "outlook.es", "outlook.fr", "pm.me",
        "proton.me", "protonmail.com", "qq.com", "rambler.ru", "rediffmail.com", "rocketmail.com", "seznam.cz", "sina.cn", "sina.com", "sohu.com",
        "t-online.de", "terra.com.br", "terra.es", "tiscali.it", "tom.com", "tutanota.com", "ukr.net", "uol.com.br", "usa.com", "virgilio.it",
        "wanadoo.fr", "web.de", "wp.pl", "yahoo.co.jp", "yahoo.co.uk", "yahoo.com", "yahoo.com.br", "yahoo.com.cn", "yahoo.de", "yahoo.es",
        "yahoo.fr", "yahoo.it", "yandex.com", "yandex.ru", "yeah.net", "ymail.com", "zoho.com"
    };
    return HOST_IN(list, host);
}

bool host_is_odd_zone(const char *host)
{
    static const char *const list[] = {
        "accountant", "autos", "beauty", "bid", "boats", "bond", "buzz", "cf", "cfd", "click", "country", "cricket", "cyou", "date", "download",
        "faith", "fun", "ga", "gq", "hair", "homes", "icu", "kim", "life", "link", "live", "loan", "lol", "makeup", "men", "ml", "monster",
        "online", "party", "pics", "quest", "racing", "rest", "review", "sbs", "science", "shop", "site", "skin", "space", "store", "stream", "tk",
        "top", "trade", "website", "win", "work", "xyz"
    };
    const char *dot = strrchr(host, '.');
    return dot != NULL && IN_WORDS(list, dot + 1);
}

bool is_host_name(const char *text, size_t len)
{
    size_t dots = 0, last = 0;
    if (len < 4 || len >= HOST_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.') {
            if (i == last)
                return false;
            dots++;
            last = i + 1;
        } else if (!is_alnum(text[i]) && text[i] != '-' && (unsigned char)text[i] < 0x80) {
            return false;
        }
    }
    return dots > 0 && last < len;
}

bool looks_like_host(const char *text, size_t len)
{
    static const char *const zones[] = {
        "ae", "app", "ar", "at", "au", "bank", "be", "biz", "br", "ca", "cc", "ch", "cl", "cloud", "club", "cn", "co", "com", "cz", "de", "dev",
        "dk", "edu", "es", "eu", "fi", "fr", "gov", "gr", "hk", "hu", "id", "ie", "il", "in", "info", "int", "io", "it", "jp", "kr", "live", "me",
        "mil", "mx", "my", "name", "net", "nl", "no", "nz", "online", "org", "pe", "ph", "pl", "pt", "ro", "ru", "sa", "se", "sg", "shop", "site",
        "store", "th", "top", "tr", "tv", "tw", "ua", "uk", "us", "vn", "xyz", "za"
    };
    const char *dot = memrchr(text, '.', len);
    size_t last = dot == NULL ? 0 : (size_t)(dot + 1 - text);
    if (!is_host_name(text, len) || len - last > 6)
        return false;
    char zone[8] = { 0 };
    for (size_t i = last; i < len; i++)
        zone[i - last] = lower(text[i]);
    return IN_WORDS(zones, zone);
}

/* --- what names look like --- */

static const struct {
    uint32_t from, to;
    char as;
} confusable[] = {
    { 0x430, 0x430, 'a' }, { 0x435, 0x435, 'e' }, { 0x43e, 0x43e, 'o' }, { 0x440, 0x440, 'p' }, { 0x441, 0x441, 'c' }, { 0x443, 0x443, 'y' }, { 0x445, 0x445, 'x' },
    { 0x456, 0x457, 'i' }, { 0x458, 0x458, 'j' }, { 0x455, 0x455, 's' }, { 0x501, 0x501, 'd' }, { 0x51b, 0x51b, 'q' }, { 0x51d, 0x51d, 'w' }, { 0x4bb, 0x4bb, 'h' },
    { 0x43c, 0x43c, 'm' }, { 0x43d, 0x43d, 'h' }, { 0x442, 0x442, 't' }, { 0x43a, 0x43a, 'k' }, { 0x432, 0x432, 'b' }, { 0x433, 0x433, 'r' },
    { 0x3b1, 0x3b1, 'a' }, { 0x3b5, 0x3b5, 'e' }, { 0x3b9, 0x3b9, 'i' }, { 0x3bf, 0x3bf, 'o' }, { 0x3c1, 0x3c1, 'p' }, { 0x3bd, 0x3bd, 'v' }, { 0x3c5, 0x3c5, 'u' },
    { 0x3c4, 0x3c4, 't' }, { 0x3ba, 0x3ba, 'k' }, { 0x3c9, 0x3c9, 'w' }, { 0x585, 0x585, 'o' }, { 0x578, 0x578, 'n' }, { 0x57d, 0x57d, 'u' },
    { 0xe0, 0xe5, 'a' }, { 0xe7, 0xe7, 'c' }, { 0xe8, 0xeb, 'e' }, { 0xec, 0xef, 'i' }, { 0xf1, 0xf1, 'n' }, { 0xf2, 0xf6, 'o' }, { 0xf8, 0xf8, 'o' }, { 0xf9, 0xfc, 'u' },
    { 0xfd, 0xfd, 'y' }, { 0xff, 0xff, 'y' }, { 0x101, 0x101, 'a' }, { 0x103, 0x103, 'a' }, { 0x105, 0x105, 'a' }, { 0x107, 0x107, 'c' }, { 0x10d, 0x10d, 'c' }, { 0x113, 0x113, 'e' },
    { 0x117, 0x117, 'e' }, { 0x119, 0x119, 'e' }, { 0x11b, 0x11b, 'e' }, { 0x11f, 0x11f, 'g' }, { 0x12b, 0x12b, 'i' }, { 0x12f, 0x12f, 'i' }, { 0x131, 0x131, 'i' }, { 0x142, 0x142, 'l' },
    { 0x144, 0x144, 'n' }, { 0x148, 0x148, 'n' }, { 0x14d, 0x14d, 'o' }, { 0x151, 0x151, 'o' }, { 0x159, 0x159, 'r' }, { 0x15b, 0x15b, 's' }, { 0x15f, 0x15f, 's' }, { 0x161, 0x161, 's' },
    { 0x163, 0x163, 't' }, { 0x165, 0x165, 't' }, { 0x16b, 0x16b, 'u' }, { 0x16f, 0x16f, 'u' }, { 0x171, 0x171, 'u' }, { 0x17a, 0x17a, 'z' }, { 0x17c, 0x17c, 'z' }, { 0x17e, 0x17e, 'z' },
    { 0x251, 0x251, 'a' }, { 0x261, 0x261, 'g' }, { 0x1e37, 0x1e37, 'l' }, { 0x1ea1, 0x1ea1, 'a' }, { 0x1eb9, 0x1eb9, 'e' }, { 0x1ecd, 0x1ecd, 'o' }, { 0x1ecb, 0x1ecb, 'i' },
};

static char looks_like(uint32_t code)
{
    if (code >= 0xff21 && code <= 0xff5a) /* full width */
        code -= 0xfee0;
    if (code < 0x80) {
        char c = lower((char)code);
        return c == '0' ? 'o' : c == '1' || c == '|' ? 'l' : c == '3' ? 'e' : c == '5' ? 's' : c;
    }
    for (size_t i = 0; i < sizeof confusable / sizeof confusable[0]; i++)
        if (code >= confusable[i].from && code <= confusable[i].to)
            return confusable[i].as;
    return '?';
}

void label_skeleton(const char *label, size_t len, char out[HOST_MAX])
{
    size_t used = 0;
    for (size_t i = 0; i < len && used < HOST_MAX - 1;) {
        uint32_t code;
        size_t size = utf8_read(label + i, len - i, &code);
        i += size > 0 ? size : 1;
        char c = size > 0 ? looks_like(code) : '?';
        if (c == '-')
            continue;
        if (c == 'n' && used > 0 && out[used - 1] == 'r') /* "rn" is an m, "vv" a w */
            out[used - 1] = 'm';
        else if (c == 'v' && used > 0 && out[used - 1] == 'v')
            out[used - 1] = 'w';
        else
            out[used++] = c == 'i' ? 'l' : c;
    }
    out[used] = '\0';
}

size_t organisation_label(const char *host, const char **label)
{
    *label = host_organisation(host);
    const char *dot = strchr(*label, '.');
    return dot == NULL ? strlen(*label) : (size_t)(dot - *label);
}

/* One letter changed, added, taken away, or two swapped. */
static bool one_apart(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), start = 0, end = 0;
    while (start < la && start < lb && a[start] == b[start])
        start++;
    while (end < la - start && end < lb - start && a[la - 1 - end] == b[lb - 1 - end])
        end++;
    size_t ra = la - start - end, rb = lb - start - end;
    return (ra <= 1 && rb <= 1) || (ra == 2 && rb == 2 && a[start] == b[start + 1] && a[start + 1] == b[start]);
}

bool host_resembles(const char *host, const char *organisation)
{
    char unicode[IDN_NAME_MAX], mine[HOST_MAX], theirs[HOST_MAX];
    const char *label, *other, *own = host_organisation(host), *whole = host_organisation(organisation);
    if (strcmp(own, whole) == 0)
        return false;
    size_t other_len = organisation_label(organisation, &other);
    const char *seen = strstr(own, "xn--") != NULL && strlen(own) < IDN_NAME_MAX && idn_to_unicode(unicode, own) ? unicode : own;
    size_t len = organisation_label(seen, &label);
    if (other_len < 4 || len < 3 || (len == other_len && memcmp(label, other, len) == 0)) /* the same name elsewhere is nothing: example.de and example.com */
        return false;
    label_skeleton(label, len, mine);
    label_skeleton(other, other_len, theirs);
    if (strcmp(mine, theirs) == 0)
        return true;
    return other_len >= 7 && len >= 7 && one_apart(mine, theirs);
}
