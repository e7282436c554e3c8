/*
 * host.c - getting ready: address after address of host after host, until one has greeted, secured and let us in
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include "common/input.h"
#include "common/log.h"
#include "common/memory.h"
#include "deploy/sendmail/internal.h"
#include "deploy/sendmail/text.h"

void host_tell(const char *name, const char *what)
{
    char safe[2048];
    fprintf(stderr, "weir-sendmail: %s: %s\n", name, log_escape(safe, sizeof safe, what, strlen(what)));
}

enum hop_event host_step(struct host *host, struct smtp_reply *reply, struct error *why)
{
    bool sent = wire_send(&host->wire, host->dialog.out, host->dialog.out_len, why);
    host->dialog.out_len = 0;
    if (!sent || !wire_reply(&host->wire, reply, why)) {
        host->dialog.state = HOP_CLOSED;
        return HOP_LOST;
    }
    enum hop_event event = hop_dialog_reply(&host->dialog, reply);
    if (event == HOP_LOST)
        error_set(why, "%d %s", reply->code, reply->text);
    return event;
}

void host_close(struct host *host)
{
    struct error ignored;
    struct smtp_reply reply;
    if (host->wire.fd >= 0 && host->dialog.state != HOP_CLOSED) {
        hop_dialog_quit(&host->dialog);
        if (wire_send(&host->wire, host->dialog.out, host->dialog.out_len, &ignored))
            wire_reply(&host->wire, &reply, &ignored);
    }
    wire_close(&host->wire);
}

/* NAME:PASSWORD of the login file as AUTH PLAIN's message (RFC 4616), in base 64. */
static bool read_login(const char *path, char *out, size_t cap, struct error *why)
{
    char line[512], plain[512];
    struct error reason;
    bool read = input_read_line(path, line, sizeof line, &reason);
    char *colon = read ? strchr(line, ':') : NULL;
    if (colon == NULL) {
        error_set(why, "login_file: %s: %s", path, read ? "no line NAME:PASSWORD" : reason.text);
        explicit_bzero(line, sizeof line);
        return false;
    }
    size_t len = strlen(line);
    plain[0] = '\0';
    memcpy(plain + 1, line, len);
    plain[1 + (colon - line)] = '\0';
    if ((len + 3) / 3 * 4 >= cap) {
        error_set(why, "login_file: %s: too long", path);
        return false;
    }
    EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)plain, (int)(len + 1));
    explicit_bzero(line, sizeof line);
    explicit_bzero(plain, sizeof plain);
    return true;
}

static bool log_in(struct host *host, const struct sendmail_settings *settings, bool *refused, struct error *why)
{
    char login[700], command[800];
    struct smtp_reply reply;
    if (settings->login_file[0] == '\0')
        return true;
    *refused = true;
    if (!read_login(settings->login_file, login, sizeof login, why))
        return false;
    int len = snprintf(command, sizeof command, "AUTH PLAIN %s\r\n", login);
    bool answered = wire_send(&host->wire, command, (size_t)len, why) && wire_reply(&host->wire, &reply, why);
    explicit_bzero(login, sizeof login);
    explicit_bzero(command, sizeof command);
    *refused = answered && reply.code >= 500;
    if (answered && reply.code != 235)
        error_set(why, "AUTH: %d %s", reply.code, reply.text);
    return answered && reply.code == 235;
}

enum attempt { ATTEMPT_READY, ATTEMPT_FAILED, ATTEMPT_TLS_FAILED, ATTEMPT_LOGIN_REFUSED };

static enum attempt introduce(struct host *host, const struct sendmail_settings *settings, SSL_CTX *context, const char *server,
                              enum next_hop_tls tls, struct error *why)
{
    struct smtp_reply reply;
    bool refused = false;

    hop_dialog_init(&host->dialog, settings->hostname, tls);
    if (settings->tls == SENDMAIL_TLS_IMPLICIT && !wire_secure(&host->wire, context, server, true, why)) {
        host->dialog.state = HOP_CLOSED;
        return ATTEMPT_TLS_FAILED;
    }
    for (;;) {
        switch (host_step(host, &reply, why)) {
        case HOP_NOTHING:
            break;
        case HOP_START_TLS:
            if (!wire_secure(&host->wire, context, server, tls == NEXT_HOP_TLS_REQUIRE, why)) {
                host->dialog.state = HOP_CLOSED;
                return ATTEMPT_TLS_FAILED;
            }
            hop_dialog_secured(&host->dialog);
            break;
        case HOP_IS_READY:
            if (log_in(host, settings, &refused, why))
                return ATTEMPT_READY;
            return refused ? ATTEMPT_LOGIN_REFUSED : ATTEMPT_FAILED;
        case HOP_TLS_IMPOSSIBLE:
            error_set(why, "TLS is required, and not offered");
            return ATTEMPT_FAILED;
        case HOP_REFUSED:
            error_set(why, "%d %s", reply.code, reply.text);
            return ATTEMPT_FAILED;
        default: /* HOP_LOST; why is set */
            return ATTEMPT_FAILED;
        }
    }
}

static enum attempt try_address(struct host *host, const struct sendmail_settings *settings, SSL_CTX *context, const char *server,
                                const struct addrinfo *address, struct error *why)
{
    /* What is secured from the first byte needs no STARTTLS. */
    enum next_hop_tls tls = settings->tls == SENDMAIL_TLS_IMPLICIT ? NEXT_HOP_TLS_NONE : (enum next_hop_tls)settings->tls;
    for (;;) {
        if (!wire_connect(&host->wire, address, settings->connect_timeout, settings->reply_timeout, why))
            return ATTEMPT_FAILED;
        enum attempt attempt = introduce(host, settings, context, server, tls, why);
        if (attempt == ATTEMPT_READY)
            return attempt;
        host_close(host);
        if (attempt != ATTEMPT_TLS_FAILED || tls != NEXT_HOP_TLS_MAY)
            return attempt;
        tls = NEXT_HOP_TLS_NONE; /* opportunistic: what cannot be encrypted goes in clear, as without STARTTLS */
    }
}

/* "NAME:PORT", "[V6]:PORT", or without a port: 25. As form_host_service() lets it through. */
static void split(const char *text, char *name, size_t cap, const char **port)
{
    const char *colon = strrchr(text, ':'), *bracket = strchr(text, ']');
    if (text[0] == '[' && bracket != NULL) {
        snprintf(name, cap, "%.*s", (int)(bracket - text - 1), text + 1);
        *port = bracket[1] == ':' ? bracket + 2 : "25";
    } else {
        snprintf(name, cap, "%.*s", (int)(colon != NULL ? colon - text : (ptrdiff_t)strlen(text)), text);
        *port = colon != NULL ? colon + 1 : "25";
    }
}

static SSL_CTX *tls_context(const struct sendmail_settings *settings)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        fatal("TLS: no memory");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY);
    struct error why = { "no certificates can be read from it" };
    bool loaded = settings->ca_file[0] != '\0' ? input_is_no_pipe(settings->ca_file, &why) && SSL_CTX_load_verify_file(context, settings->ca_file) == 1
                                               : SSL_CTX_set_default_verify_paths(context) == 1;
    if (!loaded)
        host_tell(settings->ca_file, why.text);
    return context;
}

/* Addresses in turn. */
static bool open_host(struct host *host, const struct sendmail_settings *settings, SSL_CTX *context, const char *name,
                      enum host_trouble *trouble)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    char server[256];
    const char *port;
    bool ready = false;

    *host = (struct host){ .wire.fd = -1, .name = name };
    *trouble = HOST_UNREACHABLE;
    split(name, server, sizeof server, &port);
    int failed = getaddrinfo(server, port, &hints, &found);
    if (failed != 0) {
        host_tell(name, gai_strerror(failed));
        *trouble = failed == EAI_NONAME || failed == EAI_SERVICE ? HOST_UNKNOWN : HOST_UNREACHABLE;
        return false;
    }
    for (struct addrinfo *one = found; one != NULL && !ready; one = one->ai_next) {
        struct error why;
        enum attempt attempt = try_address(host, settings, context, server, one, &why);
        ready = attempt == ATTEMPT_READY;
        if (!ready)
            host_tell(name, why.text);
        if (attempt == ATTEMPT_LOGIN_REFUSED)
            *trouble = HOST_LOGIN_REFUSED;
    }
    freeaddrinfo(found);
    return ready;
}

enum host_trouble host_visit_all(const struct sendmail_settings *settings, bool (*visit)(struct host *host, void *arg), void *arg)
{
    SSL_CTX *context = tls_context(settings);
    enum host_trouble all = HOST_UNREACHABLE;
    bool go_on = true;

    for (size_t i = 0; i < settings->hosts.count && go_on; i++) {
        struct host host;
        enum host_trouble trouble;
        if (open_host(&host, settings, context, settings->hosts.items[i], &trouble)) {
            go_on = visit(&host, arg);
            trouble = HOST_UNREACHABLE;
        }
        all = i == 0 || all == trouble ? trouble : HOST_UNREACHABLE;
    }
    SSL_CTX_free(context);
    return all;
}
