/*
 * fuzz_exposition.c - what nodes said of themselves, as the coordinator stores it and shows it
 *
 * The first byte chooses: stored samples (JSON) from two processes of a node into Prometheus text, which must stay line by
 * line what a scraper reads; or any bytes as text for JSON and for PostgreSQL's arrays, which must both take it.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/exposition.h"
#include "coordinator/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line, size_t len)
{
    if (len > 2 && line[0] == '#') {
        weir_assert(strncmp(line, "# HELP ", 7) == 0 || strncmp(line, "# TYPE ", 7) == 0);
        return;
    }
    const char *blank = memrchr(line, ' ', len);
    weir_assert(blank != NULL);
    size_t series = (size_t)(blank - line);
    const char *brace = memchr(line, '{', series);
    weir_assert(exposition_name_is_valid(line, brace != NULL ? (size_t)(brace - line) : series));
    weir_assert(brace == NULL || line[series - 1] == '}');
    weir_assert(len - series > 1);
}

static void samples(const char *json)
{
    struct exposition *exposition = exposition_new();
    struct error why;
    struct text out;

    text_init(&out);
    (void)exposition_add_json(exposition, "edge-1", true, json, &why);
    (void)exposition_add_json(exposition, "edge-1", false, json, &why);
    exposition_add_conservation(exposition);
    exposition_render(exposition, &out);
    const char *at = out.data;
    for (const char *end; (end = strchr(at, '\n')) != NULL; at = end + 1)
        check_line(at, (size_t)(end - at));
    weir_assert(*at == '\0');
    text_fini(&out);
    exposition_free(&exposition);
}

static void texts(const uint8_t *bytes, size_t len)
{
    struct text json;
    json_error_t error;
    struct rows rows;

    text_init(&json);
    text_add_json(&json, bytes, len);
    weir_assert(text_valid_prefix(json.data, json.len) == json.len);
    json_t *parsed = json_loads(json.data, JSON_DECODE_ANY, &error);
    weir_assert(json_is_string(parsed));
    json_decref(parsed);
    text_fini(&json);

    rows_init(&rows, 1);
    rows_text(&rows, bytes, len, 100);
    rows_end(&rows);
    const char *array = rows_values(&rows)[0];
    weir_assert(text_valid_prefix(array, strlen(array)) == strlen(array));
    weir_assert(array[0] == '{' && array[strlen(array) - 1] == '}');
    size_t quotes = 0;
    for (const char *at = array; *at != '\0'; at++) {
        weir_assert((unsigned char)*at >= 0x20);
        if (*at == '\\')
            at++;
        else
            quotes += *at == '"';
    }
    weir_assert(quotes == 2);
    rows_fini(&rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1) {
        texts(data + 1, size - 1);
        return 0;
    }
    char *json = malloc(size);
    memcpy(json, data + 1, size - 1);
    json[size - 1] = '\0';
    samples(json);
    free(json);
    return 0;
}
