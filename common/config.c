/*
 * config.c - see config.h
 *
 * Loading reads the files into instances (one per section, or per named section and name), each with one slot per key of its table, and
 * checks every value at once, where its file and line are still known. What stands before any section is kept aside and fills the slots
 * that nobody set; overrides come last. So after loading, a slot has its effective text and origin, and config_fill() only converts.
 */
#include "common/config.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/config_value.h"
#include "common/input.h"
#include "common/memory.h"
#include "common/utf8.h"

#define FILE_MAX_BYTES (1024 * 1024)
#define INCLUDE_DEPTH_MAX 16

struct slot {
    char *text;   /* owned; NULL: not set */
    char *origin; /* owned; with text */
};

struct instance {
    const struct config_section *table;
    char *name;    /* owned; NULL for an unnamed section */
    char *origin;  /* owned; where its header is; NULL: not in the file */
    struct slot *slots;
};

/* A line before any section. */
struct common_line {
    char *key, *text, *origin; /* owned */
};

struct config {
    const struct config_section *tables;
    char *source; /* owned; the file's name, for errors without a line */
    struct instance *instances;
    size_t instance_count;
    struct common_line *commons;
    size_t common_count;
};

/* One file being read. A chain of them is the way back through the includes. */
struct reading {
    struct config *config;
    const struct reading *parent;
    const char *path;
    unsigned line;
    dev_t device;
    ino_t inode;
    size_t section; /* index of the instance + 1; 0: before any section */
    bool *located;  /* the error's words begin with a file and line already; one for the whole chain */
};

static size_t key_count(const struct config_section *table)
{
    size_t count = 0;

    while (table->keys[count].name != NULL)
        count++;
    return count;
}

/* ---- names -------------------------------------------------------------------------------------------------------------------- */

static const struct config_section *find_table(const struct config_section *tables, const char *name, size_t len)
{
    for (; tables->name != NULL; tables++)
        if (strlen(tables->name) == len && memcmp(tables->name, name, len) == 0)
            return tables;
    return NULL;
}

static const struct config_key *find_key(const struct config_section *table, const char *name)
{
    for (const struct config_key *key = table->keys; key->name != NULL; key++)
        if (strcmp(key->name, name) == 0)
            return key;
    return NULL;
}

#define WORD_MAX 64 /* longer ones are nobody's slip of the pen */

/* Edits (insert, delete, replace, swap of neighbours) from a to b. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t a_len = strlen(a), b_len = strlen(b);

    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *row = rows[i % 3], *above = rows[(i - 1) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = above[j - 1] + (tolower((unsigned char)a[i - 1]) != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < best)
                best = above2[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[a_len % 3][b_len];
}

/* Keeps the nearer of *best and name. Farther than a third of the name nobody sees a likeness. */
static void consider(const char *wanted, const char *name, const char **best, size_t *best_distance)
{
    size_t edits = distance(wanted, name), most = strlen(name) / 3;

    if (edits <= (most > 2 ? most : 2) && edits < strlen(name) && edits < *best_distance)
        *best = name, *best_distance = edits;
}

const char *config_nearest_key(const struct config_section *tables, const char *name)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;

    for (; tables->name != NULL; tables++)
        for (const struct config_key *key = tables->keys; key->name != NULL; key++)
            consider(name, key->name, &best, &best_distance);
    return best;
}

static const char *nearest_section(const struct config_section *tables, const char *name)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;

    for (; tables->name != NULL; tables++)
        consider(name, tables->name, &best, &best_distance);
    return best;
}

static void unknown_section(const struct config_section *tables, const char *name, struct error *why)
{
    const char *near = nearest_section(tables, name);

    if (near != NULL)
        error_set(why, "unknown section '%s'; did you mean [%s]?", name, near);
    else
        error_set(why, "unknown section '%s'", name);
}

/* table NULL: looked for in all of them. */
static void unknown_key(const struct config_section *tables, const struct config_section *table, const char *name, struct error *why)
{
    const char *near = NULL;
    size_t near_distance = SIZE_MAX;

    if (table == NULL) {
        near = config_nearest_key(tables, name);
        error_set(why, near != NULL ? "unknown key '%s'; did you mean '%s'?" : "unknown key '%s'", name, near);
        return;
    }
    for (const struct config_section *other = tables; other->name != NULL; other++)
        if (find_key(other, name) != NULL) {
            error_set(why, "key '%s' does not belong in [%s] but in [%s]", name, table->name, other->name);
            return;
        }
    for (const struct config_key *key = table->keys; key->name != NULL; key++)
        consider(name, key->name, &near, &near_distance);
    if (near != NULL) {
        error_set(why, "unknown key '%s' in [%s]; did you mean '%s'?", name, table->name, near);
        return;
    }
    near = config_nearest_key(tables, name);
    for (const struct config_section *other = tables; near != NULL && other->name != NULL; other++)
        if (find_key(other, near) != NULL) {
            error_set(why, "unknown key '%s' in [%s]; did you mean '%s' in [%s]?", name, table->name, near, other->name);
            return;
        }
    error_set(why, "unknown key '%s' in [%s]", name, table->name);
}

/*
 * May a key without a section stand for all that know it? Not when it is of another kind in another section ("listen" is an endpoint here
 * and a list of addresses there): then no value is right for all.
 */
static bool check_key_for_all(const struct config_section *tables, const char *name, struct error *why)
{
    const struct config_key *first = NULL;
    char where[256] = "";
    bool differs = false;

    for (const struct config_section *table = tables; table->name != NULL; table++) {
        const struct config_key *key = find_key(table, name);
        if (key == NULL)
            continue;
        size_t used = strlen(where);
        snprintf(where + used, sizeof where - used, "%s[%s]", used > 0 ? ", " : "", table->name);
        if (first == NULL)
            first = key;
        differs |= key->type != first->type || (key->type == CONFIG_ENUM && strcmp(key->choices, first->choices) != 0);
    }
    if (first == NULL) {
        unknown_key(tables, NULL, name, why);
        return false;
    }
    if (differs)
        error_set(why, "'%s' means different things in %s: name the section", name, where);
    return !differs;
}

/* Names the value's fault in any of the sections it would go to. */
static bool check_value_for_all(const struct config_section *tables, const char *name, const char *text, struct error *why)
{
    for (const struct config_section *table = tables; table->name != NULL; table++) {
        const struct config_key *key = find_key(table, name);
        if (key != NULL && !config_value_is_good(key, text, why))
            return false;
    }
    return true;
}

/* ---- instances ---------------------------------------------------------------------------------------------------------------- */

static struct instance *find_instance(const struct config *config, const struct config_section *table, const char *name)
{
    for (size_t i = 0; i < config->instance_count; i++) {
        struct instance *instance = &config->instances[i];
        if (instance->table == table && (name == NULL || strcmp(instance->name, name) == 0))
            return instance;
    }
    return NULL;
}

static struct instance *add_instance(struct config *config, const struct config_section *table, const char *name)
{
    config->instances = xrealloc(config->instances, (config->instance_count + 1) * sizeof *config->instances);
    struct instance *instance = &config->instances[config->instance_count++];
    *instance = (struct instance){
        .table = table,
        .name = name != NULL ? xstrdup(name) : NULL,
        .slots = xcalloc(key_count(table), sizeof *instance->slots),
    };
    return instance;
}

static void slot_set(struct slot *slot, const char *text, const char *origin)
{
    free(slot->text);
    free(slot->origin);
    slot->text = xstrdup(text);
    slot->origin = xstrdup(origin);
}

/* Sets the key in every instance of its section (or in the one named), or only where nobody has set it. */
static void set_in_instances(struct config *config, const struct config_section *table, const char *name,
                             const struct config_key *key, const char *text, const char *origin, bool only_unset)
{
    for (size_t i = 0; i < config->instance_count; i++) {
        struct instance *instance = &config->instances[i];
        if (instance->table != table || (name != NULL && strcmp(instance->name, name) != 0))
            continue;
        struct slot *slot = &instance->slots[key - table->keys];
        if (slot->text == NULL || !only_unset)
            slot_set(slot, text, origin);
    }
}

/* ---- files -------------------------------------------------------------------------------------------------------------------- */

static bool read_file(struct reading *parent, const char *path, struct error *why);

static char *skip_space(char *text)
{
    return text + strspn(text, " \t");
}

/* Cuts a comment ('#' at the start or behind white space, not inside quotes) and white space at both ends, in place. */
static char *strip(char *line)
{
    bool quoted = false;

    for (char *p = line; *p != '\0'; p++) {
        if (quoted && *p == '\\' && p[1] != '\0')
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (*p == '#' && !quoted && (p == line || p[-1] == ' ' || p[-1] == '\t')) {
            *p = '\0';
            break;
        }
    }
    while (*line == ' ' || *line == '\t')
        line++;
    size_t len = strlen(line);
    while (len > 0 && strchr(" \t\r", line[len - 1]) != NULL)
        line[--len] = '\0';
    return line;
}

/* Takes the quotes off a value that is in quotes as a whole; inside, \" and \\ stand for themselves. */
static bool unquote(char *text, struct error *why)
{
    char *out = text;

    if (*text != '"')
        return true;
    for (char *p = text + 1;; p++) {
        if (*p == '\0') {
            error_set(why, "the closing quote is missing");
            return false;
        }
        if (*p == '"') {
            if (p[1] == '\0')
                break;
            error_set(why, "text after the closing quote: '%s'", p + 1);
            return false;
        }
        if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
            p++;
        *out++ = *p;
    }
    *out = '\0';
    return true;
}

static bool name_is_good(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len <= CONFIG_NAME_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

/* [section] or [section "name"]. The same header may come again, in another file say: its keys add up. */
static bool read_header(struct reading *reading, char *line, struct error *why)
{
    struct config *config = reading->config;
    size_t len = strlen(line);
    char *name = NULL;

    if (line[len - 1] != ']') {
        error_set(why, "'%s': a section header ends with ']'", line);
        return false;
    }
    line[len - 1] = '\0';
    char *section = strip(line + 1);
    char *space = section + strcspn(section, " \t\"");
    if (*space != '\0') {
        name = strip(space);
        if (*name != '"') {
            error_set(why, "[%s]: a section's name is written in quotes", section);
            return false;
        }
        if (!unquote(name, why))
            return false;
        memmove(space + 1, name, strlen(name) + 1); /* behind the section's own end: `space` may be the quote itself */
        name = space + 1;
        *space = '\0';
    }
    const struct config_section *table = find_table(config->tables, section, strlen(section));
    if (table == NULL) {
        unknown_section(config->tables, section, why);
        return false;
    }
    if (table->named != (name != NULL)) {
        error_set(why, table->named ? "[%s] needs a name: [%s \"name\"]" : "[%s] takes no name", section, section);
        return false;
    }
    if (name != NULL && !name_is_good(name)) {
        error_set(why, "[%s \"%s\"]: a name has letters, digits, '-', '_' and '.', at most %d", section, name, CONFIG_NAME_MAX);
        return false;
    }
    struct instance *instance = find_instance(config, table, name);
    if (instance == NULL)
        instance = add_instance(config, table, name);
    if (instance->origin == NULL)
        instance->origin = xasprintf("%s:%u", reading->path, reading->line);
    reading->section = (size_t)(instance - config->instances) + 1;
    return true;
}

static bool read_common(struct reading *reading, const char *name, const char *text, struct error *why)
{
    struct config *config = reading->config;

    if (!check_key_for_all(config->tables, name, why) || !check_value_for_all(config->tables, name, text, why))
        return false;
    for (size_t i = 0; i < config->common_count; i++)
        if (strcmp(config->commons[i].key, name) == 0) {
            error_set(why, "duplicate key '%s', set before at %s", name, config->commons[i].origin);
            return false;
        }
    config->commons = xrealloc(config->commons, (config->common_count + 1) * sizeof *config->commons);
    config->commons[config->common_count++] = (struct common_line){
        .key = xstrdup(name),
        .text = xstrdup(text),
        .origin = xasprintf("%s:%u", reading->path, reading->line),
    };
    return true;
}

static bool read_assignment(struct reading *reading, char *line, struct error *why)
{
    struct config *config = reading->config;
    char *equals = strchr(line, '=');

    if (equals == NULL) {
        error_set(why, "'%s': expected 'key = value', '[section]' or 'include FILE'", line);
        return false;
    }
    *equals = '\0';
    char *name = strip(line), *text = skip_space(equals + 1);
    if (!unquote(text, why))
        return false;
    if (reading->section == 0)
        return read_common(reading, name, text, why);

    struct instance *instance = &config->instances[reading->section - 1];
    const struct config_key *key = find_key(instance->table, name);
    if (key == NULL) {
        unknown_key(config->tables, instance->table, name, why);
        return false;
    }
    struct slot *slot = &instance->slots[key - instance->table->keys];
    if (slot->text != NULL) {
        error_set(why, "duplicate key '%s', set before at %s", name, slot->origin);
        return false;
    }
    if (!config_value_is_good(key, text, why))
        return false;
    char *origin = xasprintf("%s:%u", reading->path, reading->line);
    slot_set(slot, text, origin);
    free(origin);
    return true;
}

/* "a.conf", below the folder of the including file unless absolute. */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');

    if (name[0] == '/' || slash == NULL)
        return xstrdup(name);
    return xasprintf("%.*s/%s", (int)(slash - path), path, name);
}

static bool read_include(struct reading *reading, char *pattern, struct error *why)
{
    if (!unquote(pattern, why))
        return false;
    if (*pattern == '\0') {
        error_set(why, "include needs a file name or pattern");
        return false;
    }
    char *path = beside(reading->path, pattern);
    if (strpbrk(path, "*?[") == NULL) {
        bool read = read_file(reading, path, why);
        free(path);
        return read;
    }
    glob_t found = { 0 };
    errno = 0;
    int status = glob(path, GLOB_ERR, NULL, &found);
    bool ok = status == 0 || status == GLOB_NOMATCH || errno == ENOENT; /* the pattern's folder need not exist */
    if (!ok)
        error_set(why, "cannot read %s: %s", path, strerror(errno));
    for (size_t i = 0; ok && i < found.gl_pathc; i++)
        ok = read_file(reading, found.gl_pathv[i], why);
    globfree(&found);
    free(path);
    return ok;
}

static bool read_line(struct reading *reading, char *line, struct error *why)
{
    for (const char *p = line; *p != '\0'; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t' && !(*p == '\r' && p[1] == '\0')) || *p == 0x7f) {
            error_set(why, "the line has a control character (0x%02x)", (unsigned char)*p);
            return false;
        }
    line = strip(line);
    if (*line == '\0')
        return true;
    if (*line == '[')
        return read_header(reading, line, why);
    if (strncmp(line, "include", 7) == 0 && (line[7] == ' ' || line[7] == '\t' || line[7] == '\0') &&
        *skip_space(line + 7) != '=')
        return read_include(reading, skip_space(line + 7), why);
    return read_assignment(reading, line, why);
}

/* Splits text (which is edited) into lines and reads each; why gets the place in front. */
static bool read_text(struct reading *reading, char *text, size_t len, struct error *why)
{
    char *end = text + len;

    for (char *line = text + utf8_mark(text, len), *next; line < end; line = next) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        next = newline != NULL ? newline + 1 : end;
        if (newline != NULL)
            *newline = '\0';
        reading->line++;
        bool whole = strlen(line) == (size_t)((newline != NULL ? newline : end) - line);
        if (!whole)
            error_set(why, "the line has a NUL byte");
        if (!whole || !read_line(reading, line, why)) {
            if (!*reading->located)
                error_set(why, "%s:%u: error: %s", reading->path, reading->line, why != NULL ? why->text : "");
            *reading->located = true;
            return false;
        }
    }
    return true;
}

/* The whole file with a NUL behind it, or NULL. The caller frees it. */
static char *slurp(int fd, size_t *len, struct error *why)
{
    size_t room = 4096;
    char *text = xmalloc(room);

    *len = 0;
    for (;;) {
        ssize_t got = read(fd, text + *len, room - *len - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0) {
            text[*len] = '\0';
            return text;
        }
        if (got < 0)
            error_set(why, "%s", strerror(errno));
        else if ((*len += (size_t)got) > FILE_MAX_BYTES)
            error_set(why, "larger than %d bytes", FILE_MAX_BYTES);
        else {
            if (*len == room - 1)
                text = xrealloc(text, room *= 2);
            continue;
        }
        free(text);
        return NULL;
    }
}

/* Is the file open somewhere up the chain of includes? And is that chain short enough? */
static bool check_chain(const struct reading *reading, struct error *why)
{
    unsigned depth = 0;

    for (const struct reading *above = reading->parent; above != NULL; above = above->parent) {
        if (above->device == reading->device && above->inode == reading->inode) {
            error_set(why, "%s includes itself", reading->path);
            return false;
        }
        if (++depth >= INCLUDE_DEPTH_MAX) {
            error_set(why, "includes are nested deeper than %d", INCLUDE_DEPTH_MAX);
            return false;
        }
    }
    return true;
}

/* A file begins outside of any section, wherever it is included, and leaves the includer's section as it was. */
static bool read_open_file(struct reading *reading, int fd, struct error *why)
{
    struct stat status;
    size_t len;

    if (fstat(fd, &status) != 0) {
        error_set(why, "cannot read %s: %s", reading->path, strerror(errno));
        return false;
    }
    reading->device = status.st_dev, reading->inode = status.st_ino;
    if (!check_chain(reading, why))
        return false;
    struct error reason;
    char *text = slurp(fd, &len, &reason);
    if (text == NULL) {
        error_set(why, "cannot read %s: %s", reading->path, reason.text);
        return false;
    }
    bool ok = read_text(reading, text, len, why);
    free(text);
    return ok;
}

static bool read_path(struct config *config, struct reading *parent, bool *located, const char *path, struct error *why)
{
    struct reading reading = { .config = config, .parent = parent, .path = path, .located = located };
    struct error reason;
    int fd = input_open(path, &reason);

    if (fd < 0) {
        error_set(why, "cannot open %s: %s", path, reason.text);
        return false;
    }
    bool ok = read_open_file(&reading, fd, why);
    close(fd);
    return ok;
}

static bool read_file(struct reading *parent, const char *path, struct error *why)
{
    return read_path(parent->config, parent, parent->located, path, why);
}

/* ---- overrides ---------------------------------------------------------------------------------------------------------------- */

/* "section.key", "section.name.key": a name may have dots itself, so the key is what follows the last one. */
static bool override_in_section(struct config *config, char *target, const char *text, struct error *why)
{
    char *first = strchr(target, '.'), *last = strrchr(target, '.');
    const struct config_section *table = find_table(config->tables, target, (size_t)(first - target));

    *first = '\0';
    if (table == NULL) {
        unknown_section(config->tables, target, why);
        return false;
    }
    *last = '\0';
    const char *name = last > first ? first + 1 : NULL;
    const struct config_key *key = find_key(table, last + 1);
    if (key == NULL) {
        unknown_key(config->tables, table, last + 1, why);
        return false;
    }
    if (name != NULL && (!table->named || find_instance(config, table, name) == NULL)) {
        error_set(why, table->named ? "there is no [%s \"%s\"]" : "[%s] takes no name", table->name, name);
        return false;
    }
    if (!config_value_is_good(key, text, why))
        return false;
    set_in_instances(config, table, name, key, text, "--set", false);
    return true;
}

static bool override_everywhere(struct config *config, const char *name, const char *text, struct error *why)
{
    if (!check_key_for_all(config->tables, name, why) || !check_value_for_all(config->tables, name, text, why))
        return false;
    for (const struct config_section *table = config->tables; table->name != NULL; table++) {
        const struct config_key *key = find_key(table, name);
        if (key != NULL)
            set_in_instances(config, table, NULL, key, text, "--set", false);
    }
    return true;
}

static bool apply_override(struct config *config, const char *override, struct error *why)
{
    struct error reason = { "" };
    char *target = xstrdup(override), *equals = strchr(target, '=');
    bool ok = false;

    if (equals == NULL) {
        error_set(&reason, "expected key=value or section.key=value");
    } else {
        *equals = '\0';
        char *name = strip(target), *text = strip(equals + 1);
        ok = strchr(name, '.') != NULL ? override_in_section(config, name, text, &reason)
                                       : override_everywhere(config, name, text, &reason);
    }
    free(target);
    if (!ok)
        error_set(why, "--set %s: error: %s", override, reason.text);
    return ok;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------- */

static void spread_commons(struct config *config)
{
    for (size_t i = 0; i < config->common_count; i++) {
        const struct common_line *line = &config->commons[i];
        for (const struct config_section *table = config->tables; table->name != NULL; table++) {
            const struct config_key *key = find_key(table, line->key);
            if (key != NULL)
                set_in_instances(config, table, NULL, key, line->text, line->origin, true);
        }
    }
}

static bool load(struct config *config, const char *path, char *const *overrides, size_t count, struct error *why)
{
    bool located = false;

    for (const struct config_section *table = config->tables; table->name != NULL; table++)
        if (!table->named)
            add_instance(config, table, NULL);
    if (path != NULL && !read_path(config, NULL, &located, path, why)) {
        if (!located)
            error_set(why, "%s: error: %s", path, why->text);
        return false;
    }
    spread_commons(config);
    for (size_t i = 0; i < count; i++)
        if (!apply_override(config, overrides[i], why))
            return false;
    return true;
}

struct config *config_load(const char *path, const struct config_section *tables, char *const *overrides, size_t count,
                           struct error *why)
{
    struct config *config = xcalloc(1, sizeof *config);
    struct error reason = { "" };

    config->tables = tables;
    config->source = xstrdup(path != NULL ? path : "configuration");
    if (!load(config, path, overrides, count, &reason)) {
        error_set(why, "%s", reason.text);
        config_free(&config);
    }
    return config;
}

void config_free(struct config **config)
{
    struct config *c = *config;

    if (c == NULL)
        return;
    for (size_t i = 0; i < c->instance_count; i++) {
        struct instance *instance = &c->instances[i];
        for (size_t k = key_count(instance->table); k-- > 0;) {
            free(instance->slots[k].text);
            free(instance->slots[k].origin);
        }
        free(instance->slots);
        free(instance->name);
        free(instance->origin);
    }
    for (size_t i = 0; i < c->common_count; i++) {
        free(c->commons[i].key);
        free(c->commons[i].text);
        free(c->commons[i].origin);
    }
    free(c->instances);
    free(c->commons);
    free(c->source);
    free(c);
    *config = NULL;
}

static void store(const struct config_key *key, const union config_value *value, void *out)
{
    char *field = (char *)out + key->offset;

    switch (key->type) {
    case CONFIG_STRING:
        memcpy(field, &value->string, sizeof value->string);
        break;
    case CONFIG_BOOL:
        memcpy(field, &value->boolean, sizeof value->boolean);
        break;
    case CONFIG_UINT:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        memcpy(field, &value->number, sizeof value->number);
        break;
    case CONFIG_LIST:
    case CONFIG_ENDPOINTS:
    case CONFIG_NETWORKS:
        memcpy(field, &value->list, sizeof value->list);
        break;
    case CONFIG_ENUM:
        memcpy(field, &value->choice, sizeof value->choice);
        break;
    }
}

static void not_set(const struct config *config, const struct instance *instance, const struct config_key *key, struct error *why)
{
    error_set(why, "%s: error: [%s%s%s%s] needs %s: it has no default", instance->origin != NULL ? instance->origin : config->source,
              instance->table->name, instance->name != NULL ? " \"" : "", instance->name != NULL ? instance->name : "",
              instance->name != NULL ? "\"" : "", key->name);
}

bool config_fill(const struct config *config, const char *section, const char *instance_name, void *out, struct error *why)
{
    const struct config_section *table = find_table(config->tables, section, strlen(section));
    weir_assert(table != NULL && table->named == (instance_name != NULL));
    const struct instance *instance = find_instance(config, table, instance_name);

    memset(out, 0, table->size);
    if (instance == NULL) {
        error_set(why, "%s: error: there is no [%s \"%s\"]", config->source, section, instance_name);
        return false;
    }
    for (const struct config_key *key = table->keys; key->name != NULL; key++) {
        const char *set = instance->slots[key - table->keys].text, *text = set != NULL ? set : key->value;
        union config_value value;
        struct error reason = { "" };
        if (text == NULL)
            not_set(config, instance, key, why);
        else if (!config_value_convert(key, text, &value, &reason))
            error_set(why, "%s: error: %s", config->source, reason.text);
        else {
            store(key, &value, out);
            continue;
        }
        config_clear(table, out);
        return false;
    }
    return true;
}

void config_clear(const struct config_section *table, void *filled)
{
    for (const struct config_key *key = table->keys; key->name != NULL; key++) {
        void *field = (char *)filled + key->offset;
        if (key->type == CONFIG_STRING)
            free(*(char **)field);
        else if (key->type == CONFIG_LIST || key->type == CONFIG_ENDPOINTS || key->type == CONFIG_NETWORKS)
            config_list_clear(field);
    }
    memset(filled, 0, table->size);
}

const char *config_origin(const struct config *config, const char *section, const char *instance_name, const char *key)
{
    const struct config_section *table = find_table(config->tables, section, strlen(section));
    const struct instance *instance = table != NULL ? find_instance(config, table, instance_name) : NULL;

    if (instance == NULL)
        return config->source;
    for (size_t i = 0; table->keys[i].name != NULL; i++)
        if (strcmp(table->keys[i].name, key) == 0 && instance->slots[i].text != NULL)
            return instance->slots[i].origin;
    return instance->origin != NULL ? instance->origin : config->source;
}

void config_blame(const struct config *config, const char *section, const char *instance, const char *key, struct error *why,
                  const char *format, ...)
{
    char words[sizeof why->text];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    error_set(why, "%s: error: [%s%s%s%s] %s: %s", config_origin(config, section, instance, key), section, instance != NULL ? " \"" : "",
              instance != NULL ? instance : "", instance != NULL ? "\"" : "", key, words);
}

const char *config_instance(const struct config *config, const char *section, size_t index)
{
    for (size_t i = 0; i < config->instance_count; i++) {
        const struct instance *instance = &config->instances[i];
        if (instance->name != NULL && strcmp(instance->table->name, section) == 0 && index-- == 0)
            return instance->name;
    }
    return NULL;
}

void config_visit(const struct config *config,
                  void (*visit)(void *arg, const char *section, const char *instance, const struct config_key *key,
                                const char *value, const char *origin),
                  void *arg)
{
    for (const struct config_section *table = config->tables; table->name != NULL; table++)
        for (size_t i = 0; i < config->instance_count; i++) {
            const struct instance *instance = &config->instances[i];
            if (instance->table != table)
                continue;
            for (const struct config_key *key = table->keys; key->name != NULL; key++) {
                const struct slot *slot = &instance->slots[key - table->keys];
                bool set = slot->text != NULL;
                visit(arg, table->name, instance->name, key, set ? slot->text : key->value != NULL ? key->value : "",
                      set ? slot->origin : key->value != NULL ? "default" : "not set");
            }
        }
}
