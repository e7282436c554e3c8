/*
 * operators.c - see operators.h
 */
#include "coordinator/ctl/operators.h"
#include "coordinator/ctl/override.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"

static void add_row(struct table *table, const json_t *one)
{
    char when[32], sessions[24];
    bool waits = json_is_true(json_object_get(one, "waits")), usable = json_is_true(json_object_get(one, "usable"));
    bool keyless = json_is_false(json_object_get(one, "key"));
    snprintf(sessions, sizeof sessions, "%lld", (long long)json_integer_value(json_object_get(one, "sessions")));
    table_add(table, view_word(one, "name"));
    table_add(table, keyless && usable ? "no key counts"
                     : waits && usable ? "active, a password waits"
                     : waits           ? "waits for another operator"
                     : usable          ? "active"
                                       : "never approved");
    table_add(table, view_time(when, view_word(one, "password_at")));
    table_add(table, view_time(when, view_word(one, "last_used_at")));
    table_add(table, sessions);
    table_add(table, view_word(one, "created_by"));
}

void operators_print(const json_t *body, FILE *out)
{
    static const char *const titles[] = { "NAME", "STATE", "PASSWORD", "USED", ">LOGINS", "BY" };
    if (override_print_pending(body, out))
        return;
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    const json_t *one;
    size_t i;
    if (json_is_object(body))
        add_row(table, body);
    json_array_foreach(body, i, one)
        add_row(table, one);
    if (json_is_array(body) && json_array_size(body) == 0)
        fputs("nobody may log in at the dashboard: weirctl operator add NAME\n", out);
    else
        table_print(table, out);
    table_free(&table);
}
