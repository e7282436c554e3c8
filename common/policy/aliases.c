/* aliases.c - see aliases.h */
#include "common/policy/aliases.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/memory.h"

#define DELIMITERS      "+-_=.~"
#define FILE_NAME_MAX   63
#define FILE_NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

enum { VISIT_NEW, VISIT_OPEN, VISIT_DONE };

void aliases_fini(struct aliases *aliases)
{
    domains_fini(&aliases->names);
    domain_spellings_fini(&aliases->made);
    free(aliases->rules);
    free(aliases->targets);
    free(aliases->includes);
    *aliases = (struct aliases){ 0 };
}

/* ---- words ---- */

/* RFC 5322 atext, and the dot. */
static const bool is_atom_byte[256] = {
    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true,
    ['\''] = true,        ['*'] = true,         ['+'] = true,         ['-'] = true, ['/'] = true, ['='] = true, ['?'] = true, ['^'] = true,
    ['_'] = true,         ['`'] = true,         ['{'] = true,         ['|'] = true, ['}'] = true, ['~'] = true, ['.'] = true,
};

static bool check_local(const char *local, bool quoted, struct error *why)
{
    size_t len = strlen(local);
    bool good = len > 0 && len <= ALIAS_LOCAL_MAX;

    for (const char *p = local; *p != '\0' && good; p++)
        good = quoted ? *p >= 0x20 && *p < 0x7f && *p != '\\' : is_atom_byte[(unsigned char)*p] && (*p != '.' || (p > local && p[1] != '.' && p[1] != '\0'));
    if (!good)
        error_set(why, "'%.100s' is not a name: letters, digits and !#$%%&'*+-/=?^_`{|}~, dots between them, or \"other ASCII\" in quotes; at most %d bytes",
                  local, ALIAS_LOCAL_MAX);
    return good;
}

/* Cuts a local part, quoted or not, off *text; *text is at what follows it then, and *after is the byte that was there. */
static bool take_local(char **text, char **local, char *after, const char *ends, struct error *why)
{
    char *end;
    bool quoted = **text == '"';

    if (quoted) {
        *local = *text + 1;
        end = strchr(*local, '"');
        if (end == NULL) {
            error_set(why, "'%.100s': the closing quote is missing", *text);
            return false;
        }
        *end++ = '\0';
    } else {
        *local = *text;
        end = *text + strcspn(*text, ends);
    }
    *after = *end;
    if (!quoted)
        *end = '\0';
    if (strchr(ends, *after) == NULL) {
        error_set(why, "'%.100s' after \"%.100s\": a quoted name stands alone", end, *local);
        return false;
    }
    *text = *after != '\0' ? end + 1 : end;
    return check_local(*local, quoted, why);
}

static struct alias_target *new_target(struct aliases *aliases, unsigned line)
{
    if (aliases->target_count == aliases->target_room) {
        aliases->target_room = aliases->target_room > 0 ? 2 * aliases->target_room : 64;
        aliases->targets = xrealloc(aliases->targets, aliases->target_room * sizeof *aliases->targets);
    }
    struct alias_target *target = &aliases->targets[aliases->target_count++];
    *target = (struct alias_target){ .line = line };
    return target;
}

static bool add_include(struct aliases *aliases, char *name, unsigned line, struct error *why)
{
    size_t which = 0, len = strlen(name);

    if (len == 0 || len > FILE_NAME_MAX || name[0] == '.' || name[strspn(name, FILE_NAME_BYTES)] != '\0') {
        error_set(why, ALIAS_INCLUDE "%.100s: the name of a file in the policy's folder, as staff-members", name);
        return false;
    }
    while (which < aliases->include_count && strcmp(aliases->includes[which].name, name) != 0)
        which++;
    if (which == aliases->include_count) {
        if (which == aliases->include_room) {
            aliases->include_room = which > 0 ? 2 * which : 8;
            aliases->includes = xrealloc(aliases->includes, aliases->include_room * sizeof *aliases->includes);
        }
        aliases->includes[aliases->include_count++] = (struct alias_include){ .name = name, .line = line };
    }
    new_target(aliases, line)->include = (uint32_t)which;
    return true;
}

static bool add_address(struct aliases *aliases, char *text, unsigned line, struct error *why)
{
    bool final = *text == '\\';
    char *local, *domain = text + final, after;

    if (!take_local(&domain, &local, &after, "@", why))
        return false;
    if (after == '@' && !domain_normalise(&domain, &aliases->made, why))
        return false;
    if (after == '@' && final) {
        error_set(why, "'\\%s@%s': a backslash is for names without a domain", local, domain);
        return false;
    }
    *new_target(aliases, line) = (struct alias_target){ .local = local, .domain = after == '@' ? domain : NULL, .line = line, .final = final };
    return true;
}

static bool add_target(struct aliases *aliases, char *text, bool included, unsigned line, struct error *why)
{
    const char *inner = *text == '"' ? text + 1 : text;

    if (*inner == '|' || *inner == '/') {
        error_set(why, *inner == '|' ? "'%.100s': mail to a program is not possible here: nothing is delivered on an edge; route the name to a host that can"
                                     : "'%.100s': mail into a file is not possible here: nothing is delivered on an edge; route the name to a host that can",
                  text);
        return false;
    }
    if (*text != ':' || strncasecmp(text, ALIAS_INCLUDE, strlen(ALIAS_INCLUDE)) != 0)
        return add_address(aliases, text, line, why);
    if (!included)
        return add_include(aliases, text + strlen(ALIAS_INCLUDE), line, why);
    error_set(why, "'%.100s': an included file has addresses only", text);
    return false;
}

/* "a, b, c", edited in place. */
static bool add_targets(struct aliases *aliases, char *text, bool included, unsigned line, struct error *why)
{
    for (char *next; text != NULL; text = next) {
        char *end = text + strcspn(text, "\",");
        for (bool quoted = false; *end != '\0' && (quoted || *end != ','); end++)
            quoted ^= *end == '"';
        next = *end == ',' ? end + 1 : NULL;
        while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        *end = '\0';
        text += strspn(text, " \t");
        if (*text == '\0') {
            error_set(why, "there is an address missing: write name: address, address");
            return false;
        }
        if (!add_target(aliases, text, included, line, why))
            return false;
    }
    return true;
}

bool aliases_add(struct aliases *aliases, char *text, unsigned line, struct error *why)
{
    struct alias rule = { .line = line, .first = (uint32_t)aliases->target_count };
    char *local, after, *name;
    bool quoted = *text == '"';

    if (!take_local(&text, &local, &after, ": \t", why))
        return false;
    if (after != ':')
        text += strspn(text, " \t");
    if (after != ':' && *text++ != ':') {
        error_set(why, "%s'%.100s': write name: address, address", quoted ? "quoted " : "", local);
        return false;
    }
    for (name = local; *name != '\0'; name++)
        *name = (char)tolower((unsigned char)*name);
    if (!add_targets(aliases, text, false, line, why))
        return false;
    rule.name = local;
    rule.count = (uint32_t)aliases->target_count - rule.first;
    uint32_t before = domains_add(&aliases->names, local, (uint32_t)aliases->count);
    if (before != DOMAINS_NONE) {
        error_set(why, "'%s' is an alias already, in line %u", local, aliases->rules[before].line);
        return false;
    }
    if (aliases->count == aliases->room) {
        aliases->room = aliases->room > 0 ? 2 * aliases->room : 64;
        aliases->rules = xrealloc(aliases->rules, aliases->room * sizeof *aliases->rules);
    }
    aliases->rules[aliases->count++] = rule;
    return true;
}

bool aliases_add_included(struct aliases *aliases, size_t which, char *text, unsigned line, struct error *why)
{
    struct alias_include *include = &aliases->includes[which];

    if (include->count == 0)
        include->first = (uint32_t)aliases->target_count;
    if (!add_targets(aliases, text, true, line, why))
        return false;
    include->count = (uint32_t)aliases->target_count - include->first;
    return true;
}

bool aliases_set_delimiters(struct aliases *aliases, const char *text, struct error *why)
{
    if (aliases->delimiters != NULL || text[strspn(text, DELIMITERS)] != '\0') {
        error_set(why, "'%.100s': one line with what may stand before a tag, as + or +-; those are " DELIMITERS, text);
        return false;
    }
    aliases->delimiters = text;
    return true;
}

/* ---- following ---- */

/* How much of a name is before its tag; 0: it has none. What is never split, and where, is as with Postfix, whose owner_request_special is on. */
static size_t length_without_tag(const struct aliases *aliases, const char *name)
{
    static const char owner[] = "owner-", request[] = "-request", daemon[] = "mailer-daemon";
    size_t len = strlen(name), request_len = sizeof request - 1, before;

    if (aliases->delimiters == NULL || strcasecmp(name, daemon) == 0)
        return 0;
    if (strchr(aliases->delimiters, '-') != NULL &&
        (strncasecmp(name, owner, sizeof owner - 1) == 0 || (len > request_len && strcasecmp(name + len - request_len, request) == 0)))
        return 0;
    before = strcspn(name, aliases->delimiters);
    return before < len ? before : 0;
}

static uint32_t find_exact(const struct aliases *aliases, const char *name, size_t len)
{
    char lower[ALIAS_LOCAL_MAX + 1];

    if (len > ALIAS_LOCAL_MAX)
        return DOMAINS_NONE;
    for (size_t i = 0; i < len; i++)
        lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
    lower[len] = '\0';
    return domains_find(&aliases->names, lower);
}

static uint32_t find_name(const struct aliases *aliases, const char *name)
{
    uint32_t index = find_exact(aliases, name, strlen(name));
    size_t before = index == DOMAINS_NONE ? length_without_tag(aliases, name) : 0;

    return before > 0 ? find_exact(aliases, name, before) : index;
}

const char *aliases_name(const struct aliases *aliases, const char *name)
{
    uint32_t index = find_name(aliases, name);

    return index != DOMAINS_NONE ? aliases->rules[index].name : NULL;
}

/* The alias that a target of `from` leads to, or DOMAINS_NONE: it is an address. An alias that names itself ("joe: joe, sue", "joe: joe@other.own.edu")
 * means the mailbox, as with Postfix. */
static uint32_t leads_to(const struct aliases *aliases, const struct domains *own, const struct alias *from, const struct alias_target *target)
{
    if (target->final || (target->domain != NULL && domains_find(own, target->domain) == DOMAINS_NONE))
        return DOMAINS_NONE;
    uint32_t next = find_name(aliases, target->local);
    return next != DOMAINS_NONE && &aliases->rules[next] == from ? DOMAINS_NONE : next;
}

static bool check_alias(struct aliases *aliases, const struct domains *own, uint32_t index, unsigned above, struct error *why);

/* depth and total of the targets from first on, added to those of rule. */
static bool check_targets(struct aliases *aliases, const struct domains *own, struct alias *rule, uint32_t first, uint32_t count, unsigned above,
                          struct error *why)
{
    for (uint32_t i = first; i < first + count; i++) {
        const struct alias_target *target = &aliases->targets[i];
        uint32_t next;
        if (target->local == NULL) {
            const struct alias_include *include = &aliases->includes[target->include];
            if (!check_targets(aliases, own, rule, include->first, include->count, above, why))
                return false;
            continue;
        }
        next = leads_to(aliases, own, rule, target);
        if (next == DOMAINS_NONE) {
            rule->total++;
        } else if (!check_alias(aliases, own, next, above + 1, why)) {
            return false;
        } else {
            rule->total += aliases->rules[next].total;
            if (aliases->rules[next].depth >= rule->depth)
                rule->depth = (uint8_t)(aliases->rules[next].depth + 1);
        }
        if (rule->total > ALIAS_TARGETS_MAX || rule->depth > ALIAS_DEPTH_MAX) {
            error_set(why, rule->total > ALIAS_TARGETS_MAX ? "'%s' stands for more than %d addresses" : "'%s' leads through more than %d aliases",
                      rule->name, rule->total > ALIAS_TARGETS_MAX ? ALIAS_TARGETS_MAX : ALIAS_DEPTH_MAX);
            return false;
        }
    }
    return true;
}

static bool check_alias(struct aliases *aliases, const struct domains *own, uint32_t index, unsigned above, struct error *why)
{
    struct alias *rule = &aliases->rules[index];

    if (rule->visit == VISIT_DONE)
        return true;
    if (rule->visit == VISIT_OPEN) {
        error_set(why, "'%s' leads back to itself: where it means a mailbox of that name, write \\%s", rule->name, rule->name);
        return false;
    }
    if (above > ALIAS_DEPTH_MAX) {
        error_set(why, "'%s' is behind more than %d aliases", rule->name, ALIAS_DEPTH_MAX);
        return false;
    }
    rule->visit = VISIT_OPEN;
    bool fine = check_targets(aliases, own, rule, rule->first, rule->count, above, why);
    rule->visit = VISIT_DONE;
    if (fine && rule->total == 0) {
        error_set(why, "'%s' stands for nobody: what it includes is empty", rule->name);
        return false;
    }
    return fine;
}

bool aliases_check(struct aliases *aliases, const struct domains *own, unsigned *line, struct error *why)
{
    for (size_t i = 0; i < aliases->count; i++)
        if (!check_alias(aliases, own, (uint32_t)i, 0, why)) {
            *line = aliases->rules[i].line;
            return false;
        }
    return true;
}

static void expand_targets(const struct aliases *aliases, const struct domains *own, const struct alias *from, uint32_t first, uint32_t count,
                           const char *domain, alias_handler each, void *arg)
{
    for (uint32_t i = first; i < first + count; i++) {
        const struct alias_target *target = &aliases->targets[i];
        if (target->local == NULL) {
            const struct alias_include *include = &aliases->includes[target->include];
            expand_targets(aliases, own, from, include->first, include->count, domain, each, arg);
            continue;
        }
        const char *target_domain = target->domain != NULL ? target->domain : domain;
        uint32_t next = leads_to(aliases, own, from, target);
        if (next == DOMAINS_NONE)
            each(arg, target->local, target_domain);
        else
            expand_targets(aliases, own, &aliases->rules[next], aliases->rules[next].first, aliases->rules[next].count, target_domain, each, arg);
    }
}

unsigned aliases_expand(const struct aliases *aliases, const struct domains *own, const char *name, const char *domain, alias_handler each,
                        void *arg)
{
    uint32_t index = find_name(aliases, name);

    if (index == DOMAINS_NONE)
        return 0;
    if (each != NULL)
        expand_targets(aliases, own, &aliases->rules[index], aliases->rules[index].first, aliases->rules[index].count, domain, each, arg);
    return aliases->rules[index].line;
}
