/*
 * test_dns_records.c - addresses as records of a zone, and as an update of it; nsupdate as a process
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/dns_records.h"
#include "coordinator/nsupdate.h"
#include "tests/unit/suite.h"

static const struct {
    const char *address, *record; /* NULL: it is no address */
} records[] = {
    { "192.0.2.1", "mx.example.edu. 60 IN A 192.0.2.1\n" },
    { "2001:DB8:0::1", "mx.example.edu. 60 IN AAAA 2001:db8::1\n" },
    { "192.0.2.1\nupdate delete example.edu.", NULL },
    { "192.0.2.1:25", NULL },
    { "", NULL },
    { NULL, NULL },
};

START_TEST(test_record)
{
    struct text out;
    text_init(&out);
    ck_assert_int_eq(dns_record_add(&out, "mx.example.edu", 60, records[_i].address), records[_i].record != NULL);
    ck_assert_str_eq(out.data, records[_i].record != NULL ? records[_i].record : "");
    text_fini(&out);
}
END_TEST

#define HEAD "zone example.edu.\nprereq nxrrset mx.example.edu. CNAME\nupdate delete mx.example.edu. A\nupdate delete mx.example.edu. AAAA\n"

static const struct {
    const char *server, *addresses, *script; /* NULL: there is none */
} scripts[] = {
    { "192.0.2.53", "[\"192.0.2.1\"]", "server 192.0.2.53 53\n" HEAD "update add mx.example.edu. 60 IN A 192.0.2.1\nsend\n" },
    { "[2001:db8::53]:5353", "[\"192.0.2.1\", \"x\", 7, \"2001:db8::1\"]",
      "server 2001:db8::53 5353\n" HEAD "update add mx.example.edu. 60 IN A 192.0.2.1\nupdate add mx.example.edu. 60 IN AAAA 2001:db8::1\nsend\n" },
    { "192.0.2.53", "[]", NULL },
    { "192.0.2.53", "[\"x\"]", NULL },
    { "ns.example.edu", "[\"192.0.2.1\"]", NULL },
};

START_TEST(test_script)
{
    struct dns_update update = { scripts[_i].server, "example.edu", "mx.example.edu", 60 };
    json_t *addresses = json_loads(scripts[_i].addresses, 0, NULL);
    struct text out;
    text_init(&out);
    ck_assert_int_eq(dns_update_script(&out, &update, addresses), scripts[_i].script != NULL);
    ck_assert_str_eq(out.data, scripts[_i].script != NULL ? scripts[_i].script : "");
    text_fini(&out);
    json_decref(addresses);
}
END_TEST

static const struct {
    const char *server, *addresses, *script; /* NULL: there is none */
} removals[] = {
    { "192.0.2.53", "[\"192.0.2.1\", \"x\", 7, \"2001:db8::1\"]",
      "server 192.0.2.53 53\nzone example.edu.\nupdate delete mx.example.edu. A 192.0.2.1\nupdate delete mx.example.edu. AAAA 2001:db8::1\nsend\n" },
    { "ns.example.edu", "[\"192.0.2.1\"]", NULL },
};

START_TEST(test_removal)
{
    struct dns_update update = { removals[_i].server, "example.edu", "mx.example.edu", 0 };
    json_t *addresses = json_loads(removals[_i].addresses, 0, NULL);
    struct text out;
    text_init(&out);
    ck_assert_int_eq(dns_removal_script(&out, &update, addresses), removals[_i].script != NULL);
    ck_assert_str_eq(out.data, removals[_i].script != NULL ? removals[_i].script : "");
    text_fini(&out);
    json_decref(addresses);
}
END_TEST

/* ---- the process; its server is in tests/integration/test_dns_push.py ---- */

struct ending {
    struct event_base *base;
    int calls;
    char *error; /* NULL: it was done */
};

static void on_done(void *arg, const char *error)
{
    struct ending *ending = arg;
    ending->calls++;
    ending->error = error != NULL ? xstrdup(error) : NULL;
    event_base_loopbreak(ending->base);
}

START_TEST(test_process)
{
    struct ending ending = { .base = event_base_new() };
    struct error why;

    struct nsupdate *nsupdate = nsupdate_start(ending.base, "nonsense\nsend\n", "", 30000, on_done, &ending, &why);
    ck_assert_msg(nsupdate != NULL, "%s", why.text);
    event_base_dispatch(ending.base);
    ck_assert_int_eq(ending.calls, 1);
    ck_assert_msg(ending.error != NULL && strstr(ending.error, "nonsense") != NULL && strchr(ending.error, '\n') == NULL, "%s", ending.error);
    free(ending.error);

    ck_assert_ptr_nonnull(nsupdate_start(ending.base, "quit\n", "", 30000, on_done, &ending, &why));
    event_base_dispatch(ending.base);
    ck_assert_msg(ending.calls == 2 && ending.error == NULL, "%s", ending.error);

    nsupdate = nsupdate_start(ending.base, "quit\n", "", 30000, on_done, &ending, &why); /* ended before it says anything */
    nsupdate_free(&nsupdate);
    ck_assert_ptr_null(nsupdate);
    event_base_loop(ending.base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(ending.calls, 2);
    event_base_free(ending.base);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dns_records");
    TCase *tcase = tcase_create("dns_records");
    tcase_add_loop_test(tcase, test_record, 0, sizeof records / sizeof *records);
    tcase_add_loop_test(tcase, test_script, 0, sizeof scripts / sizeof *scripts);
    tcase_add_loop_test(tcase, test_removal, 0, sizeof removals / sizeof *removals);
    tcase_add_test(tcase, test_process);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
