/*
 * rspamd.c - rspamd's protocol: a POST to /checkv2, answered with JSON
 *
 * The message travels in the body, or the body is empty and Shm names the memory that has it (shared.h). rspamd that cannot open that answers with a status of
 * 503, "Cannot open shm segment".
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "scanner/spam/engine.h"
#include "scanner/spam/http.h"

static void rspamd_ask(struct evbuffer *out, const struct spam_facts *facts, const char *shared)
{
    unsigned long long size = facts->size;
    evbuffer_add_printf(out, "POST /checkv2 HTTP/1.1\r\nHost: rspamd\r\nConnection: keep-alive\r\nContent-Length: %llu\r\n", shared != NULL ? 0 : size);
    if (shared != NULL)
        evbuffer_add_printf(out, "Shm: %s\r\nShm-Offset: 0\r\nShm-Length: %llu\r\n", shared, size);
    spam_add_header(out, "Queue-Id", facts->id);
    spam_add_header(out, "IP", facts->client);
    spam_add_header(out, "Hostname", facts->client_name);
    spam_add_header(out, "Helo", facts->helo);
    spam_add_header(out, "From", *facts->sender != '\0' ? facts->sender : "<>");
    for (size_t i = 0; i < facts->recipient_count; i++)
        spam_add_header(out, "Rcpt", facts->recipients[i]);
    spam_add_header(out, "User", facts->login);
    spam_add_header(out, "MTA-Name", facts->edge);
    evbuffer_add(out, "\r\n", 2);
}

/* ---- Authentication-Results ---- */

/* Which result a symbol of rspamd's own modules means (RFC 8601 2.7). */
static const struct {
    const char *symbol, *method, *result;
} authentications[] = {
    { "R_SPF_ALLOW", "spf", "pass" },          { "R_SPF_FAIL", "spf", "fail" },           { "R_SPF_SOFTFAIL", "spf", "softfail" },
    { "R_SPF_NEUTRAL", "spf", "neutral" },     { "R_SPF_DNSFAIL", "spf", "temperror" },   { "R_SPF_PERMFAIL", "spf", "permerror" },
    { "R_SPF_NA", "spf", "none" },             { "R_DKIM_ALLOW", "dkim", "pass" },        { "R_DKIM_REJECT", "dkim", "fail" },
    { "R_DKIM_TEMPFAIL", "dkim", "temperror" },{ "R_DKIM_PERMFAIL", "dkim", "permerror" },{ "R_DKIM_NA", "dkim", "none" },
    { "DMARC_POLICY_ALLOW", "dmarc", "pass" }, { "DMARC_POLICY_REJECT", "dmarc", "fail" },{ "DMARC_POLICY_QUARANTINE", "dmarc", "fail" },
    { "DMARC_POLICY_SOFTFAIL", "dmarc", "fail" }, { "DMARC_NA", "dmarc", "none" },        { "DMARC_DNSFAIL", "dmarc", "temperror" },
    { "DMARC_BAD_POLICY", "dmarc", "permerror" }, { "ARC_ALLOW", "arc", "pass" },         { "ARC_REJECT", "arc", "fail" },
    { "ARC_INVALID", "arc", "fail" },          { "ARC_DNSFAIL", "arc", "temperror" },     { "ARC_NA", "arc", "none" },
};

/* A token of a property (RFC 8601 2.2): a domain, or nothing. It comes from who wrote the mail. */
static size_t domain_len(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_");
    return len <= 253 ? len : 0;
}

static void add_result(struct spam_answer *out, const char *method, const char *result, const char *property, const char *value)
{
    size_t len = strlen(out->authentication), value_len = value != NULL ? domain_len(value) : 0;
    char text[400];
    snprintf(text, sizeof text, "%s%s=%s%s%s%.*s", len > 0 ? "; " : "", method, result, value_len > 0 ? " " : "", value_len > 0 ? property : "",
             (int)value_len, value_len > 0 ? value : "");
    if (len + strlen(text) < sizeof out->authentication)
        strcpy(out->authentication + len, text);
}

/* The sender's domain is told by the envelope; the others in the symbol's options: "example.org:s=selector", "example.org". */
static void take_authentication(struct spam_answer *out, const char *name, const json_t *options)
{
    for (size_t i = 0; i < sizeof authentications / sizeof *authentications; i++) {
        const char *method = authentications[i].method;
        if (strcmp(authentications[i].symbol, name) != 0)
            continue;
        if (strcmp(method, "dkim") == 0 && json_array_size(options) > 0) { /* one for each signature */
            for (size_t k = 0; k < json_array_size(options) && k < SPAM_SIGNATURES_MAX; k++)
                add_result(out, method, authentications[i].result, "header.d=", json_string_value(json_array_get(options, k)));
            return;
        }
        add_result(out, method, authentications[i].result, "header.from=",
                   strcmp(method, "dmarc") == 0 ? json_string_value(json_array_get(options, 0)) : NULL);
        return;
    }
}

/* ---- the answer ---- */

static void take_symbol(struct spam_answer *out, const char *name, const json_t *symbol)
{
    char detail[SPAM_DETAIL_MAX + 1] = "";
    const json_t *options = json_object_get(symbol, "options"), *option;
    double weight = json_number_value(json_object_get(symbol, "score")) * 100;
    size_t i, len = 0;
    json_array_foreach(options, i, option) {
        const char *text = json_string_value(option);
        if (text == NULL || len + 2 >= sizeof detail)
            continue;
        int added = snprintf(detail + len, sizeof detail - len, "%s%s", len > 0 ? " " : "", text);
        len = added < 0 || (size_t)added >= sizeof detail - len ? sizeof detail - 1 : len + (size_t)added;
    }
    take_authentication(out, name, options);
    spam_answer_add(out, name, fabs(weight) < 1e8 ? (int32_t)lround(weight) : 0, detail);
}

/* RFC 5322 2.2.3: a line end is one of a folded field, or its words would be the next field. */
static bool is_foldable(const char *value)
{
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\r' && p[1] == '\n' && (p[2] == ' ' || p[2] == '\t'))
            p++;
        else if ((*p < ' ' && *p != '\t') || *p > '~')
            return false;
    }
    return strlen(value) <= SPAM_SIGNATURE_MAX;
}

static void take_signature(struct spam_answer *out, const json_t *field)
{
    const json_t *item;
    size_t i;
    if (json_is_array(field)) {
        json_array_foreach(field, i, item)
            if (!json_is_array(item))
                take_signature(out, item);
        return;
    }
    const char *value = json_string_value(json_is_object(field) ? json_object_get(field, "value") : field);
    if (value != NULL && *value != '\0' && is_foldable(value) && out->signature_count < SPAM_SIGNATURES_MAX)
        out->signatures[out->signature_count++] = xstrdup(value);
}

static void take_answer(struct spam_answer *out, const json_t *root, const struct spam_scale *scale)
{
    const json_t *symbols = json_object_get(root, "symbols"), *required = json_object_get(root, "required_score"), *symbol;
    const json_t *signature = json_object_get(json_object_get(json_object_get(root, "milter"), "add_headers"), "DKIM-Signature");
    const char *name;
    double most = json_number_value(required); /* 0 where it does not say */
    out->score = spam_curve(json_number_value(json_object_get(root, "score")), scale->half, most > scale->half ? most : scale->most);
    json_object_foreach((json_t *)(uintptr_t)symbols, name, symbol)
        take_symbol(out, name, symbol);
    take_signature(out, signature != NULL ? signature : json_object_get(root, "dkim-signature"));
}

static enum spam_reply rspamd_read(struct evbuffer *in, bool ended, const struct spam_scale *scale, struct spam_answer *out, uint64_t *wanted, bool *again,
                                   struct error *why)
{
    struct http_head head;
    json_error_t json_why;
    size_t len = evbuffer_get_length(in), begin = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX; /* the rest is put in one piece once, when it is whole */
    const char *bytes = len > 0 ? (const char *)evbuffer_pullup(in, (ev_ssize_t)begin) : "";
    if (!http_head_parse(&head, bytes, begin, why))
        return SPAM_REPLY_BAD;
    if (head.len == 0 || len < head.len + head.body) {
        if (head.len > 0)
            *wanted = head.len + head.body;
        if (ended)
            error_set(why, "it broke off after %zu bytes", len);
        return ended ? SPAM_REPLY_BAD : SPAM_REPLY_MORE;
    }
    if (head.status != 200) {
        const char *line_end = memmem(bytes, head.len, "\r\n", 2);
        error_set(why, "HTTP status %d%.*s", head.status, (int)(line_end - bytes > 12 ? line_end - bytes - 12 : 0), bytes + 12);
        *again = !head.close && len == head.len + head.body;
        evbuffer_drain(in, head.len + (size_t)head.body);
        return SPAM_REPLY_REFUSED;
    }
    bytes = (const char *)evbuffer_pullup(in, (ev_ssize_t)(head.len + head.body));
    json_t *root = json_loadb(bytes + head.len, (size_t)head.body, 0, &json_why);
    bool good = json_is_number(json_object_get(root, "score")) && json_is_object(json_object_get(root, "symbols"));
    if (good)
        take_answer(out, root, scale);
    else
        error_set(why, "no JSON with score and symbols: %s", root == NULL ? json_why.text : "they are not there");
    json_decref(root);
    *again = !head.close;
    evbuffer_drain(in, head.len + (size_t)head.body);
    return good ? SPAM_REPLY_DONE : SPAM_REPLY_BAD;
}

const struct spam_protocol rspamd_protocol = { .ask = rspamd_ask, .read = rspamd_read };
