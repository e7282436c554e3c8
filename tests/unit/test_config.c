/* test_config.c - the grammar of weir.conf, its errors word by word, and the settings' defaults */
#include <check.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/config.h"
#include "common/settings.h"
#include "tests/unit/suite.h"

static char folder[64];
static char path[512]; /* of the main file */

static char *place(const char *name)
{
    static char out[512];

    snprintf(out, sizeof out, "%s/%s", folder, name);
    return out;
}

static void write_bytes(const char *name, const char *text, size_t len)
{
    int fd = open(place(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
}

static void write_file(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/weir-test-config-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(mkdir(place("conf.d"), 0700), 0);
    snprintf(path, sizeof path, "%s", place("weir.conf"));
}

static void teardown(void)
{
    static const char *const names[] = { "weir.conf", "a.conf", "b.conf", "conf.d/1.conf", "conf.d/2.conf", "conf.d/other" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(place(names[i]));
    rmdir(place("conf.d"));
    ck_assert_int_eq(rmdir(folder), 0);
}

static struct config *load(const char *text, ...)
{
    char *overrides[8];
    size_t count = 0;
    struct error why = { "" };
    va_list args;

    va_start(args, text);
    while ((overrides[count] = va_arg(args, char *)) != NULL)
        count++;
    va_end(args);
    write_file("weir.conf", text);
    struct config *config = config_load(path, settings_tables, overrides, count, &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    return config;
}

/* The effective value and origin of a key; "section.key" or "section.name.key". */
struct wanted {
    const char *name;
    char value[200], origin[600];
};

static void find(void *arg, const char *section, const char *instance, const struct config_key *key, const char *value,
                 const char *origin)
{
    struct wanted *wanted = arg;
    char name[200];

    snprintf(name, sizeof name, "%s%s%s.%s", section, instance != NULL ? "." : "", instance != NULL ? instance : "", key->name);
    if (strcmp(name, wanted->name) == 0) {
        snprintf(wanted->value, sizeof wanted->value, "%s", value);
        const char *slash = strrchr(origin, '/');
        snprintf(wanted->origin, sizeof wanted->origin, "%s", slash != NULL ? slash + 1 : origin);
    }
}

static void check_value(const struct config *config, const char *name, const char *value, const char *origin)
{
    struct wanted wanted = { .name = name, .origin = "not visited" };

    config_visit(config, find, &wanted);
    ck_assert_str_eq(wanted.origin, origin);
    ck_assert_str_eq(wanted.value, value);
}

START_TEST(values_and_origins)
{
    struct config *config = load("\ufeff# all sections, behind a byte order mark\n"
                                 "max_message_size = 10MB\r\n"
                                 "memory_threshold=64KiB   # edge and scanner\n"
                                 "\n"
                                 "[edge]\n"
                                 "  hostname =\tmx.example.edu\t\n"
                                 "memory_threshold = 128KiB\n"
                                 "[listener \"relay\"]\n"
                                 "listen = 192.0.2.1:25 ,[2001:db8::1]:25\n"
                                 "[listener \"inside\"]\n"
                                 "max_message_size = 1GiB\n"
                                 "[coordinator \"c.1\"]\n"
                                 "database = \"host=db password='x # \\\"y\\\\'\" # secret\n"
                                 "[edge]\n"
                                 "workers = 3", NULL);

    check_value(config, "edge.hostname", "mx.example.edu", "weir.conf:6");
    check_value(config, "edge.workers", "3", "weir.conf:15");
    check_value(config, "edge.memory_threshold", "128KiB", "weir.conf:7");
    check_value(config, "scanner.memory_threshold", "64KiB", "weir.conf:3");
    check_value(config, "listener.relay.max_message_size", "10MB", "weir.conf:2");
    check_value(config, "listener.inside.max_message_size", "1GiB", "weir.conf:11");
    check_value(config, "listener.inside.max_hops", "100", "default");
    check_value(config, "coordinator.c.1.database", "host=db password='x # \"y\\'", "weir.conf:13");
    check_value(config, "coordinator.c.1.public_key", "", "not set");
    ck_assert_str_eq(config_instance(config, "listener", 0), "relay");
    ck_assert_str_eq(config_instance(config, "listener", 1), "inside");
    ck_assert_ptr_null(config_instance(config, "listener", 2));
    ck_assert_ptr_null(config_instance(config, "edge", 0));

    struct listener_settings listener;
    ck_assert(config_fill(config, "listener", "relay", &listener, NULL));
    ck_assert_uint_eq(listener.max_message_size, 10000000);
    ck_assert_uint_eq(listener.listen.count, 2);
    ck_assert_str_eq(listener.listen.items[0], "192.0.2.1:25");
    ck_assert_str_eq(listener.listen.items[1], "[2001:db8::1]:25");
    config_clear(settings_table("listener"), &listener);
    ck_assert_ptr_null(listener.listen.items);
    config_free(&config);
    ck_assert_ptr_null(config);
    config_free(&config);
}
END_TEST

START_TEST(includes)
{
    write_file("conf.d/1.conf", "[edge]\nworkers = 1\n");
    write_file("conf.d/2.conf", "max_recipients = 7\n[listener \"relay\"]\nmax_errors = 3\n");
    write_file("conf.d/other", "not a configuration");
    write_file("a.conf", "include b.conf\n");
    write_file("b.conf", "[tls]\nca_file = /x\n");
    struct config *config = load("[scanner]\n"
                                 "slots = 5\n"
                                 "include conf.d/*.conf\n"
                                 "include \"a.conf\"   # a chain\n"
                                 "include none/*.conf\n"
                                 "large_workers = 9\n", NULL); /* still [scanner] */

    check_value(config, "scanner.slots", "5", "weir.conf:2");
    check_value(config, "scanner.large_workers", "9", "weir.conf:6");
    check_value(config, "edge.workers", "1", "1.conf:2");
    check_value(config, "listener.relay.max_recipients", "7", "2.conf:1");
    check_value(config, "listener.relay.max_errors", "3", "2.conf:3");
    check_value(config, "tls.ca_file", "/x", "b.conf:2");
    config_free(&config);
}
END_TEST

START_TEST(overrides_win)
{
    struct config *config = load("memory_threshold = 1KiB\n[edge]\nworkers = 1\n[listener \"a.b\"]\nmax_errors = 3\n[listener \"c\"]\n",
                                 "workers=4", "edge.workers = 5", "memory_threshold=2KiB", "listener.max_errors=6",
                                 "listener.a.b.listen=192.0.2.1:25", "cluster.contact=", NULL);
    check_value(config, "edge.workers", "5", "--set");
    check_value(config, "scanner.workers", "4", "--set");
    check_value(config, "edge.memory_threshold", "2KiB", "--set");
    check_value(config, "listener.a.b.max_errors", "6", "--set");
    check_value(config, "listener.c.max_errors", "6", "--set");
    check_value(config, "listener.a.b.listen", "192.0.2.1:25", "--set");
    check_value(config, "listener.c.listen", "127.0.0.1:25, [::1]:25", "default");
    config_free(&config);
}
END_TEST

#define SIXTY "an-egress-pool-may-have-a-name-as-long-as-nodes-can-tell-one" /* of 60 characters */

/* One line of weir.conf and what is said about it; the folder's name is left out. */
static const struct {
    const char *text, *why;
} errors[] = {
    { "[edge]\nworkerz = 1\n", "weir.conf:2: error: unknown key 'workerz' in [edge]; did you mean 'workers'?" },
    { "max_mesage_size = 1MiB\n", "weir.conf:1: error: unknown key 'max_mesage_size'; did you mean 'max_message_size'?" },
    { "xyzzy = 1\n", "weir.conf:1: error: unknown key 'xyzzy'" },
    { "[edge]\nxyzzy = 1\n", "weir.conf:2: error: unknown key 'xyzzy' in [edge]" },
    { "[edge]\nmax_recipients = 1\n", "weir.conf:2: error: key 'max_recipients' does not belong in [edge] but in [listener]" },
    { "[edge]\nmax_recipient = 1\n", "weir.conf:2: error: unknown key 'max_recipient' in [edge]; did you mean 'max_recipients' in [listener]?" },
    { "[edges]\n", "weir.conf:1: error: unknown section 'edges'; did you mean [edge]?" },
    { "[qqqqqqq]\n", "weir.conf:1: error: unknown section 'qqqqqqq'" },
    { "[listener]\n", "weir.conf:1: error: [listener] needs a name: [listener \"name\"]" },
    { "[edge \"x\"]\n", "weir.conf:1: error: [edge] takes no name" },
    { "[listener relay]\n", "weir.conf:1: error: [listener relay]: a section's name is written in quotes" },
    { "[listener \"re lay\"]\n", "weir.conf:1: error: [listener \"re lay\"]: a name has letters, digits, '-', '_' and '.', at most 63" },
    { "[listener \"" SIXTY "abcd\"]\n", "weir.conf:1: error: [listener \"" SIXTY "abcd\"]: a name has letters, digits, '-', '_' and '.', at most 63" },
    { "[listener \"" SIXTY "abc\"]\nxyzzy = 1\n", "weir.conf:2: error: unknown key 'xyzzy' in [listener]" },
    { "[listener \"\"]\n", "weir.conf:1: error: [listener \"\"]: a name has letters, digits, '-', '_' and '.', at most 63" },
    { "[listener \"relay]\n", "weir.conf:1: error: the closing quote is missing" },
    { "[edge\n", "weir.conf:1: error: '[edge': a section header ends with ']'" },
    { "[]\n", "weir.conf:1: error: unknown section ''" },
    { "[edge]\nworkers\n", "weir.conf:2: error: 'workers': expected 'key = value', '[section]' or 'include FILE'" },
    { "[edge]\n= 3\n", "weir.conf:2: error: unknown key '' in [edge]" },
    { "[edge]\nworkers = many\n", "weir.conf:2: error: workers = many: expected a whole number" },
    { "[edge]\nworkers = -1\n", "weir.conf:2: error: workers = -1: expected a whole number" },
    { "[edge]\nworkers =\n", "weir.conf:2: error: workers = : expected a whole number" },
    { "[edge]\nworkers = 99999999999999999999\n", "weir.conf:2: error: workers = 99999999999999999999: expected a whole number" },
    { "[edge]\nworkers = 1025\n", "weir.conf:2: error: workers = 1025 is too large: the most is 1024" },
    { "[edge]\nscan = maybe\n", "weir.conf:2: error: scan = maybe: expected on or off" },
    { "[edge]\nvirus_action = delete\n", "weir.conf:2: error: virus_action = delete: expected one of reject|discard|quarantine" },
    { "[edge]\nvirus_action = reject|discard\n", "weir.conf:2: error: virus_action = reject|discard: expected one of reject|discard|quarantine" },
    { "[edge]\nscan_chunk = 2MiB\n", "weir.conf:2: error: scan_chunk = 2MiB is too large: the most is 1MiB" },
    { "[edge]\nscan_chunk = 1.5KiB\n", "weir.conf:2: error: scan_chunk = 1.5KiB: expected a size, as 512, 64KiB, 50MiB, 1GiB" },
    { "[edge]\nscan_chunk = 99999999999TiB\n", "weir.conf:2: error: scan_chunk = 99999999999TiB: expected a size, as 512, 64KiB, 50MiB, 1GiB" },
    { "[edge]\nscan_stall = 10ms\n", "weir.conf:2: error: scan_stall = 10ms is too small: the least is 50ms" },
    { "[edge]\nscan_stall = 10 parsecs\n", "weir.conf:2: error: scan_stall = 10 parsecs: expected a duration, as 250ms, 5s, 10m, 2h, 14d" },
    { "[listener \"a\"]\nlisten = 1.2.3.4:25,\n",
      "weir.conf:2: error: listen = 1.2.3.4:25,: expected addresses with ports, separated by commas" },
    { "[listener \"a\"]\nlisten =\n", "weir.conf:2: error: listen = : expected addresses with ports, separated by commas" },
    { "[listener \"a\"]\nlisten = 1.2.3.4:25, ::1:25\n",
      "weir.conf:2: error: listen: '::1:25': an IPv6 address is written in brackets: [::1]:25" },
    { "[edge]\nworkers = 1\n[tls]\n[edge]\nworkers = 1\n", "weir.conf:5: error: duplicate key 'workers', set before at weir.conf:2" },
    { "workers = 1\nworkers = 2\n", "weir.conf:2: error: duplicate key 'workers', set before at weir.conf:1" },
    { "workers = 9999\n", "weir.conf:1: error: workers = 9999 is too large: the most is 1024" },
    { "listen = 1.2.3.4:25\n",
      "weir.conf:1: error: 'listen' means different things in [coordinator], [listener], [scanner]: name the section" },
    { "[edge]\nhostname = \"x\n", "weir.conf:2: error: the closing quote is missing" },
    { "[edge]\nhostname = \"x\" y\n", "weir.conf:2: error: text after the closing quote: ' y'" },
    { "[edge]\nhostname = a\x01\n", "weir.conf:2: error: the line has a control character (0x01)" },
    { "[edge]\rworkers = 1\n", "weir.conf:1: error: the line has a control character (0x0d)" },
    { "include\n", "weir.conf:1: error: include needs a file name or pattern" },
    { "\ninclude nowhere.conf\n", "weir.conf:2: error: cannot open nowhere.conf: No such file or directory" },
    { "include a.conf\n", "weir.conf:1: error: unknown key 'a'" },
    { "include conf.d\n", "weir.conf:1: error: cannot read conf.d: Is a directory" },
};

/* Takes "FOLDER/" out of text wherever it stands. */
static void drop_folder(char *text)
{
    char prefix[80];

    snprintf(prefix, sizeof prefix, "%s/", folder);
    for (char *at; (at = strstr(text, prefix)) != NULL;)
        memmove(at, at + strlen(prefix), strlen(at + strlen(prefix)) + 1);
}

static void check_error(const char *text, size_t len, char *override, const char *expected)
{
    struct error why = { "" };

    write_bytes("weir.conf", text, len);
    struct config *config = config_load(path, settings_tables, &override, override != NULL, &why);
    ck_assert_ptr_null(config);
    drop_folder(why.text);
    ck_assert_str_eq(why.text, expected);
    ck_assert_ptr_null(config_load(path, settings_tables, &override, override != NULL, NULL));
}

START_TEST(errors_say_what_is_right)
{
    write_file("a.conf", "a = 1\n");
    const char *expected = errors[_i].why;
    if (strcmp(errors[_i].text, "include a.conf\n") == 0) /* the place is where the fault is, not the include */
        expected = "a.conf:1: error: unknown key 'a'";
    check_error(errors[_i].text, strlen(errors[_i].text), NULL, expected);
}
END_TEST

static const struct {
    const char *override, *why;
} override_errors[] = {
    { "workers", "--set workers: error: expected key=value or section.key=value" },
    { "workerz=1", "--set workerz=1: error: unknown key 'workerz'; did you mean 'workers'?" },
    { "workers=x", "--set workers=x: error: workers = x: expected a whole number" },
    { "listen=1.2.3.4:25", "--set listen=1.2.3.4:25: error: 'listen' means different things in [coordinator], [listener], [scanner]: name the section" },
    { "edgy.workers=1", "--set edgy.workers=1: error: unknown section 'edgy'; did you mean [edge]?" },
    { "edge.workerz=1", "--set edge.workerz=1: error: unknown key 'workerz' in [edge]; did you mean 'workers'?" },
    { "edge.x.workers=1", "--set edge.x.workers=1: error: [edge] takes no name" },
    { "listener.x.max_hops=1", "--set listener.x.max_hops=1: error: there is no [listener \"x\"]" },
    { "edge.scan_stall=1ms", "--set edge.scan_stall=1ms: error: scan_stall = 1ms is too small: the least is 50ms" },
    { ".=", "--set .=: error: unknown section ''" },
};

START_TEST(override_errors_say_what_is_right)
{
    check_error("", 0, (char *)override_errors[_i].override, override_errors[_i].why);
}
END_TEST

START_TEST(odd_files)
{
    struct error why = { "" };

    check_error("[edge]\nhostname = a\0b\n", 22, NULL, "weir.conf:2: error: the line has a NUL byte");
    unlink(path);
    ck_assert_ptr_null(config_load(path, settings_tables, NULL, 0, &why));
    drop_folder(why.text);
    ck_assert_str_eq(why.text, "weir.conf: error: cannot open weir.conf: No such file or directory");

    write_file("a.conf", "include b.conf\n");
    write_file("b.conf", "\ninclude a.conf\n");
    check_error("include a.conf\n", 15, NULL, "b.conf:2: error: a.conf includes itself");
    check_error("include weir.conf\n", 18, NULL, "weir.conf:1: error: weir.conf includes itself");

    size_t size = 1024 * 1024 + 1;
    char *large = malloc(size);
    memset(large, '#', size);
    check_error(large, size, NULL, "weir.conf: error: cannot read weir.conf: larger than 1048576 bytes");
    free(large);
}
END_TEST

static const struct {
    const char *text;
    uint64_t value;
} sizes[] = {
    { "0", 0 }, { "512", 512 }, { "512B", 512 }, { "64KiB", 65536 }, { "50 MiB", 52428800 }, { "1GiB", 1073741824 },
    { "2TiB", 2199023255552 }, { "10MB", 10000000 }, { "10kB", 10000 }, { "10KB", 10000 }, { "1GB", 1000000000 },
}, durations[] = {
    { "0", 0 }, { "250ms", 250 }, { "5", 5000 }, { "5s", 5000 }, { "10m", 600000 }, { "2 h", 7200000 }, { "1d", 86400000 },
};

START_TEST(quantities)
{
    char override[100];
    char *overrides[1] = { override };
    struct edge_settings edge;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] + sizeof durations / sizeof durations[0]; i++) {
        bool size = i < sizeof sizes / sizeof sizes[0];
        size_t at = size ? i : i - sizeof sizes / sizeof sizes[0];
        snprintf(override, sizeof override, size ? "scanner.large_message=%s" : "edge.drain_timeout=%s",
                 size ? sizes[at].text : durations[at].text);
        struct error why = { "" };
        struct config *config = config_load(NULL, settings_tables, overrides, 1, &why);
        if (size && sizes[at].value < 1024) {
            ck_assert_ptr_null(config); /* below the least */
            continue;
        }
        ck_assert_msg(config != NULL, "%s", why.text);
        if (size) {
            struct scanner_settings scanner;
            ck_assert(config_fill(config, "scanner", NULL, &scanner, NULL));
            ck_assert_uint_eq(scanner.large_message, sizes[at].value);
            config_clear(settings_table("scanner"), &scanner);
        } else {
            ck_assert(config_fill(config, "edge", NULL, &edge, NULL));
            ck_assert_uint_eq(edge.drain_timeout, durations[at].value);
            config_clear(settings_table("edge"), &edge);
        }
        config_free(&config);
    }
}
END_TEST

/* No section has a plain list yet, so the type gets a table of its own. */
START_TEST(lists)
{
    struct plain {
        struct config_list names;
    };
    static const struct config_key keys[] = {
        { "names", CONFIG_LIST, offsetof(struct plain, names), "", NULL, 0, 0, "names", NULL }, { .name = NULL } };
    static const struct config_section tables[] = { { "plain", false, sizeof(struct plain), keys }, { .name = NULL } };
    static const struct {
        char *override;
        size_t count; /* SIZE_MAX: refused */
    } cases[] = {
        { "names=", 0 }, { "names=a", 1 }, { "names= a b ,\tc", 2 }, { "names=a,,b", SIZE_MAX }, { "names=a,", SIZE_MAX }, { "names=,", SIZE_MAX },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *overrides[1] = { cases[i].override };
        struct error why = { "" };
        struct config *config = config_load(NULL, tables, overrides, 1, &why);
        ck_assert_int_eq(config != NULL, cases[i].count != SIZE_MAX);
        if (config == NULL) {
            ck_assert_ptr_nonnull(strstr(why.text, ": the list has an empty item"));
            continue;
        }
        struct plain plain;
        ck_assert(config_fill(config, "plain", NULL, &plain, NULL));
        ck_assert_uint_eq(plain.names.count, cases[i].count);
        if (plain.names.count == 2)
            ck_assert_str_eq(plain.names.items[0], "a b");
        config_clear(tables, &plain);
        config_free(&config);
    }
}
END_TEST

START_TEST(booleans)
{
    static const char *const texts[] = { "on", "Yes", "true", "1", "off", "NO", "false", "0" };

    for (size_t i = 0; i < 8; i++) {
        char override[32];
        char *overrides[1] = { override };
        snprintf(override, sizeof override, "edge.scan=%s", texts[i]);
        struct config *config = config_load(NULL, settings_tables, overrides, 1, NULL);
        struct edge_settings edge;
        ck_assert(config_fill(config, "edge", NULL, &edge, NULL));
        ck_assert_int_eq(edge.scan, i < 4);
        config_clear(settings_table("edge"), &edge);
        config_free(&config);
    }
}
END_TEST

START_TEST(missing_keys_are_named)
{
    struct config *config = load("\n[coordinator \"c1\"]\nlisten = tcp://127.0.0.1:1\npublish = tcp://127.0.0.1:2\n", NULL);
    struct coordinator_settings settings;
    struct error why = { "" };

    ck_assert(!config_fill(config, "coordinator", "c1", &settings, &why));
    drop_folder(why.text);
    ck_assert_str_eq(why.text, "weir.conf:2: error: [coordinator \"c1\"] needs public_key: it has no default");
    ck_assert_ptr_null(settings.listen);
    ck_assert(!config_fill(config, "coordinator", "c2", &settings, &why));
    drop_folder(why.text);
    ck_assert_str_eq(why.text, "weir.conf: error: there is no [coordinator \"c2\"]");
    config_free(&config);
}
END_TEST

START_TEST(nearest_keys)
{
    static const char *const cases[][2] = {
        { "workres", "workers" }, { "max-recipients", "max_recipients" }, { "MAX_HOPS", "max_hops" },
        { "hostnmae", "hostname" }, { "q", NULL }, { "", NULL }, { "completely_different_thing", NULL },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *near = config_nearest_key(settings_tables, cases[i][0]);
        ck_assert_msg((near == NULL) == (cases[i][1] == NULL), "%s: %s", cases[i][0], near);
        if (near != NULL)
            ck_assert_str_eq(near, cases[i][1]);
    }
}
END_TEST

/* Every default is a good value, every key has a place of its own in its struct, and choices match the enums. */
START_TEST(tables_are_sound)
{
    for (const struct config_section *table = settings_tables; table->name != NULL; table++) {
        ck_assert_ptr_eq(settings_table(table->name), table);
        for (const struct config_key *key = table->keys; key->name != NULL; key++) {
            ck_assert_uint_lt(key->offset, table->size);
            ck_assert_ptr_nonnull(key->help);
            ck_assert_uint_gt(strlen(key->help), 0);
            if (key[1].name != NULL)
                ck_assert_msg(key->offset < key[1].offset, "%s.%s is out of order", table->name, key[1].name);
        }
    }
    ck_assert_ptr_null(settings_table("nothing"));

    struct error why = { "" };
    char *overrides[] = { "unknown_action=discard", "virus_action=discard", "next_hop_tls=require", "drain_mode=close", "log.format=json",
                          "level=error" };
    struct config *config = config_load(NULL, settings_tables, overrides, 6, &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    struct edge_settings edge;
    ck_assert(config_fill(config, "edge", NULL, &edge, &why));
    ck_assert_int_eq(edge.virus_action, VIRUS_DISCARD);
    ck_assert_int_eq(edge.unknown_action, UNKNOWN_DISCARD);
    ck_assert_int_eq(edge.unscannable_action, UNKNOWN_QUARANTINE);
    ck_assert_int_eq(edge.limits_action, UNKNOWN_REJECT);
    ck_assert_int_eq(edge.next_hop_tls, NEXT_HOP_TLS_REQUIRE);
    ck_assert_int_eq(edge.drain_mode, DRAIN_CLOSE);
    ck_assert_uint_eq(edge.message_disk, 16ull << 30);
    ck_assert_uint_eq(edge.scan_stall, 1500);
    config_clear(settings_table("edge"), &edge);
    struct log_settings log;
    ck_assert(config_fill(config, "log", NULL, &log, &why));
    ck_assert_int_eq(log.format, 1);
    ck_assert_int_eq(log.level, 4);
    config_clear(settings_table("log"), &log);
    static const char *const unnamed[] = { "log", "cluster", "edge", "tls", "scanner" };
    union { struct scanner_settings scanner; struct edge_settings edge; struct cluster_settings cluster; } any;
    for (size_t i = 0; i < 5; i++) {
        ck_assert_msg(config_fill(config, unnamed[i], NULL, &any, &why), "%s", why.text);
        config_clear(settings_table(unnamed[i]), &any);
    }
    config_free(&config);

    config = load("[listener \"relay\"]\n", NULL);
    struct listener_settings listener;
    ck_assert(config_fill(config, "listener", "relay", &listener, &why));
    ck_assert_uint_eq(listener.listen.count, 2);
    ck_assert_uint_eq(listener.max_message_size, 50 << 20);
    ck_assert_uint_eq(listener.max_recipients, 100);
    ck_assert_uint_eq(listener.session_timeout, 7200000);
    ck_assert(listener.starttls);
    config_clear(settings_table("listener"), &listener);
    config_free(&config);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tests = tcase_create("config");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, values_and_origins);
    tcase_add_test(tests, includes);
    tcase_add_test(tests, overrides_win);
    tcase_add_loop_test(tests, errors_say_what_is_right, 0, sizeof errors / sizeof errors[0]);
    tcase_add_loop_test(tests, override_errors_say_what_is_right, 0, sizeof override_errors / sizeof override_errors[0]);
    tcase_add_test(tests, odd_files);
    tcase_add_test(tests, quantities);
    tcase_add_test(tests, lists);
    tcase_add_test(tests, booleans);
    tcase_add_test(tests, missing_keys_are_named);
    tcase_add_test(tests, nearest_keys);
    tcase_add_test(tests, tables_are_sound);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
