/*
 * local.c - what weirctl does without a coordinator
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "common/input.h"
#include "common/memory.h"
#include "common/policy/policy.h"
#include "common/settings.h"
#include "common/signature_set.h"
#include "coordinator/ctl/local.h"
#include "coordinator/text.h"

static int fail(int status, const char *words)
{
    fprintf(stderr, "weirctl: %s\n", words);
    return status;
}

int local_keys_generate(const char *path, bool json)
{
    struct curve_keypair pair;
    struct error why;
    char hex[CURVE_HEX_LEN + 1];
    curve_keypair_generate(&pair);
    bool written = curve_keypair_write(&pair, path, &why);
    curve_key_format(pair.public_key, hex);
    explicit_bzero(&pair, sizeof pair);
    if (!written)
        return fail(EX_CANTCREAT, why.text);
    printf(json ? "{\"public\":\"%s\"}\n" : "%s\n", hex);
    return EXIT_SUCCESS;
}

/* --- configuration --- */

/* What is right and yet rarely meant. */
static void warn_of(const struct config *config)
{
    struct spam_settings spam = { 0 };
    struct error why;
    if (config_fill(config, "spam", NULL, &spam, &why) && spam.spam_engines.count > 0 && *spam.authserv_id == '\0')
        fprintf(stderr, "weirctl: warning: [spam] authserv_id is not set: each edge removes foreign Authentication-Results in its own name only, and not those in another edge's\n");
    config_clear(settings_table("spam"), &spam);
}

int local_config_check(const struct options *options)
{
    struct error why;
    struct config *config = settings_load(options->config_path, options->overrides, options->override_count, &why);
    if (config == NULL)
        return fail(EX_CONFIG, why.text);
    warn_of(config);
    config_free(&config);
    if (!options->json)
        printf("%s: ok\n", options->config_path);
    else
        puts("{\"ok\":true}");
    return EXIT_SUCCESS;
}

struct show {
    const struct options *options;
    json_t *json;
    const char *section; /* whose header was printed last */
    char *instance;
};

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static char *public_sources(const char *list)
{
    struct text shown;
    text_init(&shown);
    for (size_t len; *list != '\0'; list += len) {
        len = strspn(list, ", \t");
        text_add(&shown, list, len);
        list += len;
        len = strcspn(list, ", \t");
        char *source = xstrndup(list, len), *part = signature_source_public(source);
        text_add(&shown, part, strlen(part));
        free(part);
        free(source);
    }
    return shown.data;
}

/* A conninfo may hold a password, and what signatures are fetched from a customer's key: what is shown ends up in tickets and terminals' memories. */
static char *public_value(const char *key, const char *value)
{
    bool secret = strcmp(key, "database") == 0 &&
                  (strstr(value, "password") != NULL || (strstr(value, "://") != NULL && strchr(value, '@') != NULL));
    if (secret)
        return xstrdup("(not shown: it holds a password)");
    return strcmp(key, "signature_mirrors") == 0 || strcmp(key, "signature_urls") == 0 ? public_sources(value) : xstrdup(value);
}

static void show_key(void *arg, const char *section, const char *instance, const struct config_key *key,
                     const char *raw, const char *origin)
{
    struct show *show = arg;
    bool is_default = strcmp(origin, "default") == 0 || strcmp(origin, "not set") == 0;
    if ((show->options->given & OPTION_CHANGED) && is_default)
        return;
    char *value = public_value(key->name, raw != NULL ? raw : "");
    if (show->json != NULL) {
        json_array_append_new(show->json,
                              json_pack("{s:s, s:s?, s:s, s:s, s:s, s:s}", "section", section, "instance", instance,
                                        "key", key->name, "value", value, "origin", origin, "help", key->help));
        free(value);
        return;
    }
    if (!same_text(show->section, section) || !same_text(show->instance, instance)) {
        printf(instance != NULL ? "%s[%s \"%s\"]\n" : "%s[%s]\n", show->section != NULL ? "\n" : "", section, instance);
        show->section = section;
        free(show->instance);
        show->instance = instance != NULL ? xstrdup(instance) : NULL;
    }
    bool defaults = show->options->given & OPTION_DEFAULTS;
    char *line = xasprintf("%s = %s", key->name, value);
    printf("%-44s # %s\n", line, defaults ? key->help : origin);
    free(line);
    free(value);
}

static void show_table(struct show *show, const struct config_section *section)
{
    for (const struct config_key *key = section->keys; key->name != NULL; key++)
        show_key(show, section->name, section->named ? "NAME" : NULL, key, key->value,
                 key->value != NULL ? "default" : "not set");
}

int local_config_show(const struct options *options)
{
    struct error why;
    struct config *config =
        config_load(options->config_path, settings_tables, options->overrides, options->override_count, &why);
    if (config == NULL)
        return fail(EX_CONFIG, why.text);
    struct show show = { .options = options, .json = options->json ? json_array() : NULL };
    bool defaults = options->given & OPTION_DEFAULTS;
    if (!defaults)
        config_visit(config, show_key, &show);
    for (const struct config_section *section = settings_tables; section->name != NULL; section++)
        if (defaults || (section->named && config_instance(config, section->name, 0) == NULL))
            show_table(&show, section); /* what a section would get that the file does not have */
    if (show.json != NULL) {
        json_dumpf(show.json, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
        puts("");
        json_decref(show.json);
    }
    free(show.instance);
    config_free(&config);
    return EXIT_SUCCESS;
}

/* --- files --- */

bool local_file_read(const char *path, struct text *out, struct error *why)
{
    char part[16384];
    size_t len;
    struct error reason;
    int fd = input_open(path, &reason);
    FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
    while (in != NULL && (len = fread(part, 1, sizeof part, in)) > 0)
        text_add(out, part, len);
    bool fine = in != NULL && !ferror(in);
    if (!fine)
        error_set(why, "%s: %s", path, fd < 0 ? reason.text : strerror(errno));
    if (in != NULL)
        fclose(in);
    return fine;
}

/* --- policy --- */

/* In all no more payloads than a message has: one for each 4 MiB, and one for the end of each file. */
#define POLICY_ROOM ((size_t)(WIRE_PAYLOADS_MAX / 4) * WIRE_PAYLOAD_MAX)
#define POLICY_FILES_MAX (WIRE_PAYLOADS_MAX / 4 * 3)

/* room: what all files together may still have. How large a policy may be is the coordinators' to say (policy_size); this is what a message holds. */
static bool read_file(struct request_file *file, const char *dir, const char *name, size_t *room, bool *exists, struct error *why)
{
    char *path = xasprintf("%s/%s", dir, name);
    struct error reason;
    int fd = input_open(path, &reason);
    bool fine = fd >= 0 || errno == ENOENT;
    FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
    *exists = in != NULL;
    if (!fine)
        error_set(why, "%s: %s", path, reason.text);
    if (in != NULL) {
        struct text text;
        char part[16384];
        size_t len;
        text_init(&text);
        while ((len = fread(part, 1, sizeof part, in)) > 0 && text.len <= *room)
            text_add(&text, part, len);
        fine = !ferror(in) && text.len <= *room;
        if (ferror(in))
            error_set(why, "%s: %s", path, strerror(errno));
        else if (!fine)
            error_set(why, "%s: the policy's files are larger than %zu MiB in all", path, POLICY_ROOM >> 20);
        else
            *room -= text.len;
        *file = (struct request_file){ .name = xstrdup(name), .text = text.data, .len = text.len };
        fclose(in);
    }
    free(path);
    return fine;
}

/* A misspelt name would be a policy without that file, and pass. What begins with a dot is the version control's or an editor's. */
static void tell_unread(DIR *opened, const struct local_policy *policy, const char *dir)
{
    for (const struct dirent *entry; (entry = readdir(opened)) != NULL;) {
        bool known = entry->d_name[0] == '.';
        for (size_t i = 0; policy_file_name(i) != NULL; i++)
            known |= strcmp(entry->d_name, policy_file_name(i)) == 0;
        for (size_t i = 0; i < policy->count; i++)
            known |= strcmp(entry->d_name, policy->files[i].name) == 0;
        if (!known)
            fprintf(stderr, "weirctl: %s/%s is not read: no policy file has that name\n", dir, entry->d_name);
    }
}

/* The files that aliases includes; one that is missing is told when all is parsed, with the line that asks for it. */
static bool read_included(struct local_policy *policy, const char *dir, size_t *room, struct error *why)
{
    char names[WIRE_PAYLOADS_MAX][POLICY_NAME_MAX + 1];
    size_t count = 0;
    for (size_t i = 0; i < policy->count; i++)
        if (strcmp(policy->files[i].name, "aliases") == 0)
            count = policy_included(&(struct policy_file){ "aliases", policy->files[i].text, policy->files[i].len }, names, WIRE_PAYLOADS_MAX);
    for (size_t i = 0; i < count; i++) {
        bool exists;
        if (policy->count == POLICY_FILES_MAX) {
            error_set(why, "%s: more than %d files", dir, POLICY_FILES_MAX);
            return false;
        }
        if (!read_file(&policy->files[policy->count], dir, names[i], room, &exists, why))
            return false;
        policy->count += exists;
    }
    return true;
}

bool local_policy_read(struct local_policy *policy, const char *dir, struct error *why)
{
    *policy = (struct local_policy){ 0 };
    DIR *opened = opendir(dir);
    if (opened == NULL) {
        error_set(why, "%s: %s", dir, strerror(errno));
        return false;
    }
    bool fine = true;
    size_t room = POLICY_ROOM;
    for (size_t i = 0; fine && policy_file_name(i) != NULL; i++) {
        bool exists;
        fine = read_file(&policy->files[policy->count], dir, policy_file_name(i), &room, &exists, why);
        policy->count += exists;
    }
    fine = fine && read_included(policy, dir, &room, why);
    tell_unread(opened, policy, dir);
    closedir(opened);
    if (fine && policy->count == 0) {
        error_set(why, "%s has no policy file: mailertable, local-host-names, networks, exceptions, aliases, verify, limits, recipient_delimiter, hosts, spam", dir);
        fine = false;
    }
    struct policy_file files[WIRE_PAYLOADS_MAX];
    for (size_t i = 0; i < policy->count; i++)
        files[i] = (struct policy_file){ policy->files[i].name, policy->files[i].text, policy->files[i].len };
    struct policy *parsed = NULL;
    struct error words;
    if (fine && ((parsed = policy_parse(files, policy->count, &words)) == NULL || policy_doubt(parsed, &words))) {
        error_set(why, "%s/%s", dir, words.text);
        fine = false;
    }
    if (fine && policy_warns(parsed, &words))
        fprintf(stderr, "weirctl: %s/%s\n", dir, words.text);
    if (fine && policy_warns_of_limits(parsed, &words))
        fprintf(stderr, "weirctl: %s/%s\n", dir, words.text);
    if (fine && policy_warns_of_hosts(parsed, &words))
        fprintf(stderr, "weirctl: %s/%s\n", dir, words.text);
    if (fine && policy_warns_of_aliases(parsed, &words))
        fprintf(stderr, "weirctl: %s/%s\n", dir, words.text);
    policy_free(&parsed);
    if (!fine)
        local_policy_clear(policy);
    return fine;
}

void local_policy_clear(struct local_policy *policy)
{
    for (size_t i = 0; i < policy->count; i++) {
        free(policy->files[i].name);
        free(policy->files[i].text);
    }
    *policy = (struct local_policy){ 0 };
}

int local_policy_check(const char *dir)
{
    struct local_policy policy;
    struct error why;
    if (!local_policy_read(&policy, dir, &why))
        return fail(EX_DATAERR, why.text);
    printf("%s: ok:", dir);
    for (size_t i = 0; i < policy.count; i++)
        printf(" %s", policy.files[i].name);
    puts("");
    local_policy_clear(&policy);
    return EXIT_SUCCESS;
}
