/* http.c - see http.h */
#include "scanner/spam/http.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_DIGITS_MAX 15

static bool parse_status(struct http_head *head, const char *line, size_t len)
{
    if (len < 12 || strncmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ' || strspn(line + 9, "0123456789") < 3 ||
        (len > 12 && line[12] != ' '))
        return false;
    head->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    head->close = line[7] == '0';
    return true;
}

static bool is_field(const char *line, size_t len, const char *name, const char **value, size_t *value_len)
{
    size_t name_len = strlen(name);
    if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
        return false;
    line += name_len + 1, len -= name_len + 1;
    while (len > 0 && (*line == ' ' || *line == '\t'))
        line++, len--;
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
        len--;
    *value = line, *value_len = len;
    return true;
}

/* Two lengths that differ would be two answers. */
static bool take_length(struct http_head *head, bool *has_length, const char *value, size_t len)
{
    uint64_t length = 0;
    bool good = len > 0 && len <= BODY_DIGITS_MAX;
    for (size_t i = 0; good && i < len; i++) {
        good = value[i] >= '0' && value[i] <= '9';
        length = length * 10 + (uint64_t)(value[i] - '0');
    }
    good = good && (!*has_length || length == head->body);
    head->body = length;
    *has_length = true;
    return good;
}

bool http_head_parse(struct http_head *head, const char *bytes, size_t len, struct error *why)
{
    const char *end = memmem(bytes, len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX, "\r\n\r\n", 4), *line = bytes, *value;
    bool has_length = false, good = true;
    size_t value_len;
    *head = (struct http_head){ 0 };
    if (end == NULL) {
        if (len >= HTTP_HEAD_MAX)
            error_set(why, "its head has more than %d bytes", HTTP_HEAD_MAX);
        return len < HTTP_HEAD_MAX;
    }
    head->len = (size_t)(end - bytes) + 4;
    for (bool first = true; good && line < end + 2; first = false) {
        const char *line_end = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        size_t line_len = (size_t)(line_end - line);
        if (first)
            good = parse_status(head, line, line_len);
        else if (is_field(line, line_len, "Content-Length", &value, &value_len))
            good = take_length(head, &has_length, value, value_len);
        else if (is_field(line, line_len, "Transfer-Encoding", &value, &value_len))
            good = false;
        else if (is_field(line, line_len, "Connection", &value, &value_len))
            head->close |= value_len == 5 && strncasecmp(value, "close", 5) == 0;
        line = line_end + 2;
    }
    if (!good || !has_length)
        error_set(why, "it is no HTTP answer with a Content-Length");
    return good && has_length;
}
