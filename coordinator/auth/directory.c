/*
 * directory.c - asking an LDAP directory whether a password is right, in a helper process
 *
 * libldap blocks while it connects and shakes hands for TLS, however it is asked, so it is here and not on the
 * coordinator's loop. Either the user's DN follows from the login, or it is searched for with an account of our own,
 * whose connection is kept; who a password belongs to is said by a bind on a connection of its own.
 */
#include <lber.h>
#include <ldap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "coordinator/auth/kinds.h"

#define DN_MAX      2048
#define FILTER_MAX  2048
#define SENDERS_MAX 256

static const char *setup[DIRECTORY_FIELDS]; /* borrowed from the packet that lives as long as the process */
static LDAP *service;                       /* bound as the service; NULL: not connected */

bool directory_setup(const char *const *fields, size_t count)
{
    if (count != DIRECTORY_FIELDS)
        return false;
    memcpy(setup, fields, sizeof setup);
    return true;
}

/* --- templates --- */

static bool escape_dn(char *out, size_t cap, const char *text, size_t len)
{
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool special =
            strchr(",+\"\\<>;=#", c) != NULL || c < ' ' || c == 127 || (c == ' ' && (i == 0 || i == len - 1));
        if (used + 4 > cap)
            return false;
        if (special)
            used += (size_t)snprintf(out + used, cap - used, "\\%02x", c);
        else
            out[used++] = (char)c;
    }
    if (used == cap)
        return false;
    out[used] = '\0';
    return true;
}

static bool escape_filter(char *out, size_t cap, const char *text, size_t len)
{
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (used + 4 > cap)
            return false;
        if (strchr("*()\\", c) != NULL || c < ' ' || c == 127)
            used += (size_t)snprintf(out + used, cap - used, "\\%02x", c);
        else
            out[used++] = (char)c;
    }
    if (used == cap)
        return false;
    out[used] = '\0';
    return true;
}

static bool expand(char *out, size_t cap, const char *template, const char *login,
                   bool (*escape)(char *, size_t, const char *, size_t))
{
    const char *at = strrchr(login, '@');
    size_t user = at != NULL ? (size_t)(at - login) : strlen(login), used = 0;

    for (const char *p = template; *p != '\0'; p++) {
        bool fits = used + 1 < cap;
        if (*p == '%' && p[1] == 's')
            fits = fits && escape(out + used, cap - used, login, strlen(login));
        else if (*p == '%' && p[1] == 'u')
            fits = fits && escape(out + used, cap - used, login, user);
        else if (*p == '%' && p[1] == 'd')
            fits = fits && escape(out + used, cap - used, at != NULL ? at + 1 : "", at != NULL ? strlen(at + 1) : 0);
        else if (fits)
            out[used] = *p, out[used + 1] = '\0';
        if (!fits)
            return false;
        used += strlen(out + used);
        p += *p == '%' && p[1] != '\0' && strchr("sud", p[1]) != NULL;
    }
    return used > 0;
}

bool directory_expand_dn(char *out, size_t cap, const char *template, const char *login)
{
    return expand(out, cap, template, login, escape_dn);
}

bool directory_expand_filter(char *out, size_t cap, const char *template, const char *login)
{
    return expand(out, cap, template, login, escape_filter);
}

static bool uses(const char *template, char what)
{
    for (const char *p = template; (p = strchr(p, '%')) != NULL; p++)
        if (p[1] == what)
            return true;
    return false;
}

enum directory_login directory_login_of(const char *template)
{
    if (!uses(template, 'u'))
        return uses(template, 's') ? DIRECTORY_LOGIN_WHOLE : DIRECTORY_LOGIN_NOTHING;
    bool domain = uses(template, 's') || uses(template, 'd');
    return domain && strchr(template, '|') == NULL ? DIRECTORY_LOGIN_WHOLE : DIRECTORY_LOGIN_USER;
}

/* --- the directory --- */

static struct timeval timeout(void)
{
    unsigned long ms = strtoul(setup[DIRECTORY_TIMEOUT_MS], NULL, 10);
    return (struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };
}

static int open_directory(LDAP **out)
{
    LDAP *ldap;
    const int version = LDAP_VERSION3, demand = LDAP_OPT_X_TLS_DEMAND, fresh = 0;
    const struct timeval limit = timeout();
    int result = ldap_initialize(&ldap, setup[DIRECTORY_URI]);

    if (result != LDAP_SUCCESS)
        return result;
    ldap_set_option(ldap, LDAP_OPT_PROTOCOL_VERSION, &version);
    ldap_set_option(ldap, LDAP_OPT_NETWORK_TIMEOUT, &limit);
    ldap_set_option(ldap, LDAP_OPT_TIMEOUT, &limit);
    ldap_set_option(ldap, LDAP_OPT_REFERRALS, LDAP_OPT_OFF); /* a password goes where we were told, and nowhere else */
    ldap_set_option(ldap, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
    if (*setup[DIRECTORY_CA_FILE] != '\0')
        ldap_set_option(ldap, LDAP_OPT_X_TLS_CACERTFILE, setup[DIRECTORY_CA_FILE]);
    ldap_set_option(ldap, LDAP_OPT_X_TLS_NEWCTX, &fresh);
    if (strcmp(setup[DIRECTORY_STARTTLS], "on") == 0 && strncasecmp(setup[DIRECTORY_URI], "ldap:", 5) == 0)
        result = ldap_start_tls_s(ldap, NULL, NULL);
    if (result == LDAP_SUCCESS)
        *out = ldap;
    else
        ldap_unbind_ext_s(ldap, NULL, NULL);
    return result;
}

static int bind_as(LDAP *ldap, const char *dn, const char *password)
{
    struct berval secret = { strlen(password), (char *)(uintptr_t)password };
    return ldap_sasl_bind_s(ldap, dn, LDAP_SASL_SIMPLE, &secret, NULL, NULL, NULL);
}

static void drop_service(void)
{
    if (service != NULL)
        ldap_unbind_ext_s(service, NULL, NULL);
    service = NULL;
}

static int open_service(void)
{
    int result = service == NULL ? open_directory(&service) : LDAP_SUCCESS;

    if (result == LDAP_SUCCESS && *setup[DIRECTORY_SERVICE_DN] != '\0')
        result = bind_as(service, setup[DIRECTORY_SERVICE_DN], setup[DIRECTORY_SERVICE_PASSWORD]);
    if (result != LDAP_SUCCESS)
        drop_service();
    return result;
}

static int search(LDAP *ldap, const char *base, int scope, const char *filter, LDAPMessage **found)
{
    char *attributes[] = { (char *)(uintptr_t)setup[DIRECTORY_SENDER_ATTRIBUTE], NULL };
    struct timeval limit = timeout();

    *found = NULL;
    return ldap_search_ext_s(ldap, base, scope, filter, attributes, 0, NULL, NULL, &limit, 2, found);
}

static void add_senders(LDAP *ldap, LDAPMessage *entry, struct packet *answer)
{
    struct berval **values = ldap_get_values_len(ldap, entry, setup[DIRECTORY_SENDER_ATTRIBUTE]);

    for (size_t i = 0; values != NULL && values[i] != NULL && i < SENDERS_MAX; i++)
        if (values[i]->bv_len > 0 && values[i]->bv_len < 320 && strlen(values[i]->bv_val) == values[i]->bv_len &&
            answer->len + values[i]->bv_len < PACKET_MAX) /* more than that are not looked at */
            packet_add(answer, values[i]->bv_val);
    if (values != NULL)
        ldap_value_free_len(values);
}

static void say(struct packet *answer, const char *word, const char *why)
{
    answer->len = 0;
    packet_add(answer, word);
    if (why != NULL)
        packet_add(answer, why);
}

/* What the directory says about login and password, as opposed to being in trouble. */
static bool is_no(int result)
{
    switch (result) {
    case LDAP_INVALID_CREDENTIALS:
    case LDAP_NO_SUCH_OBJECT:
    case LDAP_INVALID_DN_SYNTAX:
    case LDAP_INAPPROPRIATE_AUTH:
    case LDAP_CONSTRAINT_VIOLATION:
    case LDAP_INSUFFICIENT_ACCESS:
        return true;
    default:
        return false;
    }
}

/* The entry the filter finds, when it is the only one: its DN, and its senders in answer behind "accepted". */
static int find_user(const char *login, char *dn, struct packet *answer)
{
    char filter[FILTER_MAX];
    LDAPMessage *found = NULL;
    int result = LDAP_SUCCESS;

    if (!directory_expand_filter(filter, sizeof filter, setup[DIRECTORY_FILTER], login))
        return LDAP_NO_SUCH_OBJECT;
    for (int tries = 0; tries < 2; tries++) { /* the connection that was kept may have ended since */
        bool kept = service != NULL;
        if (!kept)
            result = open_service();
        if (result == LDAP_SUCCESS)
            result = search(service, setup[DIRECTORY_BASE], LDAP_SCOPE_SUBTREE, filter, &found);
        if (result == LDAP_SUCCESS || result == LDAP_SIZELIMIT_EXCEEDED || result == LDAP_NO_SUCH_OBJECT || !kept)
            break;
        if (found != NULL)
            ldap_msgfree(found);
        drop_service();
        result = LDAP_SUCCESS;
    }
    if (is_no(result)) /* our own account, base or rights: that says nothing of the user */
        result = LDAP_OTHER;
    if (result == LDAP_SUCCESS && ldap_count_entries(service, found) != 1)
        result = LDAP_NO_SUCH_OBJECT;
    if (result == LDAP_SUCCESS) {
        LDAPMessage *entry = ldap_first_entry(service, found);
        char *name = ldap_get_dn(service, entry);
        if (name == NULL || strlen(name) >= DN_MAX)
            result = LDAP_NO_SUCH_OBJECT;
        else
            strcpy(dn, name);
        ldap_memfree(name);
        add_senders(service, entry, answer);
    }
    if (found != NULL)
        ldap_msgfree(found);
    return result == LDAP_SIZELIMIT_EXCEEDED ? LDAP_NO_SUCH_OBJECT : result;
}

/* What the user itself may read of its own entry. */
static void find_own_senders(LDAP *ldap, const char *dn, struct packet *answer)
{
    LDAPMessage *found = NULL;

    if (search(ldap, dn, LDAP_SCOPE_BASE, "(objectClass=*)", &found) == LDAP_SUCCESS &&
        ldap_count_entries(ldap, found) == 1)
        add_senders(ldap, ldap_first_entry(ldap, found), answer);
    if (found != NULL)
        ldap_msgfree(found);
}

void directory_serve(const char *const *fields, size_t count, struct packet *answer)
{
    char dn[DN_MAX] = "";
    LDAP *ldap = NULL;
    int result = LDAP_NO_SUCH_OBJECT;

    /* An empty password, or an empty DN, is an anonymous bind (RFC 4513 5.1), which proves nothing. */
    if (count != 2 || *fields[0] == '\0' || *fields[1] == '\0')
        return;
    bool by_template = *setup[DIRECTORY_DN] != '\0';
    say(answer, "accepted", NULL);
    if (!by_template)
        result = find_user(fields[0], dn, answer);
    else if (directory_expand_dn(dn, sizeof dn, setup[DIRECTORY_DN], fields[0]))
        result = LDAP_SUCCESS;
    if (result == LDAP_SUCCESS && *dn == '\0')
        result = LDAP_NO_SUCH_OBJECT;
    if (result == LDAP_SUCCESS)
        result = open_directory(&ldap);
    if (result == LDAP_SUCCESS)
        result = bind_as(ldap, dn, fields[1]);
    if (result == LDAP_SUCCESS && by_template)
        find_own_senders(ldap, dn, answer);
    if (ldap != NULL)
        ldap_unbind_ext_s(ldap, NULL, NULL);
    if (is_no(result))
        say(answer, "wrong", NULL);
    else if (result != LDAP_SUCCESS)
        say(answer, "unavailable", ldap_err2string(result));
}
