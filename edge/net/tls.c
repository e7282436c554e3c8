/*
 * tls.c - TLS configurations, and OpenSSL's calls with their errors made plain
 *
 * A configuration is shared by many connections and counted, so that a reload is making a new one: connections under way keep theirs.
 * The program ignores SIGPIPE: OpenSSL writes to its socket with write().
 */
#include "edge/net/tls.h"
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <errno.h>
#include <string.h>
#include "common/input.h"
#include "common/memory.h"

struct net_tls {
    SSL_CTX *context;
    unsigned references;
};

/* The first error is the cause, later ones are what it led to. */
static const char *tls_error_text(void)
{
    unsigned long code = ERR_peek_error();
    if (ERR_SYSTEM_ERROR(code)) /* a file that is not there, or closed to us: OpenSSL has no words for these */
        return strerror(ERR_GET_REASON(code));
    const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
    return text != NULL ? text : "unknown TLS error";
}

static struct net_tls *tls_new(const SSL_METHOD *method, struct error *why)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(method);
    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
        error_set(why, "TLS: %s", tls_error_text());
        ERR_clear_error();
        SSL_CTX_free(context);
        return NULL;
    }
    /* SMTP marks its own end of data, so a connection that ends without close_notify is a plain disconnect. */
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    struct net_tls *tls = xcalloc(1, sizeof *tls);
    tls->context = context;
    tls->references = 1;
    return tls;
}

struct net_tls *net_tls_server(const char *certificate, const char *key, struct error *why)
{
    struct error reason;
    struct net_tls *tls = tls_new(TLS_server_method(), why);
    if (tls == NULL)
        return NULL;
    if (!input_is_no_pipe(certificate, &reason)) {
        error_set(why, "certificate %s: %s", certificate, reason.text);
    } else if (!input_is_no_pipe(key, &reason)) {
        error_set(why, "key %s: %s", key, reason.text);
    } else if (SSL_CTX_use_certificate_chain_file(tls->context, certificate) != 1) {
        error_set(why, "certificate %s: %s", certificate, tls_error_text());
    } else if (SSL_CTX_use_PrivateKey_file(tls->context, key, SSL_FILETYPE_PEM) != 1 && ERR_GET_LIB(ERR_peek_error()) != ERR_LIB_X509) {
        error_set(why, "key %s: %s", key, tls_error_text());
    } else if (SSL_CTX_check_private_key(tls->context) != 1) { /* of another kind, or (that is the error from X509) another one */
        error_set(why, "key %s does not belong to certificate %s", key, certificate);
    } else {
        SSL_CTX_set_session_id_context(tls->context, (const unsigned char *)"weir", 4);
        /* Tickets keep the state of a resumable session at the client; a cache of our own would only cost memory. */
        SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
        return tls;
    }
    ERR_clear_error();
    net_tls_unref(&tls);
    return NULL;
}

struct net_tls *net_tls_client(const char *ca_file, bool verify, struct error *why)
{
    struct net_tls *tls = tls_new(TLS_client_method(), why);
    if (tls == NULL)
        return NULL;
    struct error reason = { "" };
    bool own = ca_file != NULL && ca_file[0] != '\0';
    bool opens = !own || input_is_no_pipe(ca_file, &reason);
    int loaded = !opens ? 0 : own ? SSL_CTX_load_verify_locations(tls->context, ca_file, NULL) : SSL_CTX_set_default_verify_paths(tls->context);
    if (loaded != 1) {
        error_set(why, "CA file %s: %s", own ? ca_file : "of the system", opens ? tls_error_text() : reason.text);
        ERR_clear_error();
        net_tls_unref(&tls);
        return NULL;
    }
    if (SSL_CTX_dane_enable(tls->context) != 1) { /* only makes it possible: sessions without records are as before */
        error_set(why, "TLS: %s", tls_error_text());
        ERR_clear_error();
        net_tls_unref(&tls);
        return NULL;
    }
    /* With SSL_VERIFY_NONE a client still checks the chain and goes on; net_tls_verified() then tells the result. */
    SSL_CTX_set_verify(tls->context, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    return tls;
}

struct net_tls *net_tls_ref(struct net_tls *tls)
{
    tls->references++;
    return tls;
}

void net_tls_unref(struct net_tls **tls)
{
    if (*tls != NULL && --(*tls)->references == 0) {
        SSL_CTX_free((*tls)->context);
        free(*tls);
    }
    *tls = NULL;
}

static bool tls_expect_host(SSL *ssl, const char *host_name)
{
    struct netaddr address;
    if (netaddr_parse(&address, host_name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host_name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host_name) == 1 && SSL_set_tlsext_host_name(ssl, host_name) == 1;
}

SSL *tls_session_new(struct net_tls *tls, int fd, bool server, const char *host_name, struct error *why)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(tls->context);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || (!server && host_name != NULL && !tls_expect_host(ssl, host_name))) {
        error_set(why, "%s", tls_error_text());
        ERR_clear_error();
        SSL_free(ssl);
        return NULL;
    }
    if (server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    return ssl;
}

/* *unusable: OpenSSL can make nothing of any record; nothing else went wrong. */
static bool tls_expect_dane(SSL *ssl, const struct net_dane *dane, bool *unusable, struct error *why)
{
    bool any = false;
    if (SSL_dane_enable(ssl, dane->base) != 1) {
        error_set(why, "DANE: %s", tls_error_text());
        return false;
    }
    /* RFC 7672 3.1.1: with DANE-EE(3) the record is the binding to the name, and dates do not count either. */
    SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    for (size_t i = 0; i < sizeof dane->others / sizeof *dane->others; i++)
        if (dane->others[i] != NULL && SSL_add1_host(ssl, dane->others[i]) != 1) {
            error_set(why, "DANE: %s", tls_error_text());
            return false;
        }
    for (size_t i = 0; i < dane->count; i++) {
        const struct net_tlsa *tlsa = &dane->records[i];
        int added = SSL_dane_tlsa_add(ssl, tlsa->usage, tlsa->selector, tlsa->matching, tlsa->data, tlsa->len);
        if (added < 0) {
            error_set(why, "DANE: %s", tls_error_text());
            return false;
        }
        any |= added > 0;
    }
    *unusable = !any;
    if (!any)
        error_set(why, "none of the TLSA records can be used");
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return any;
}

SSL *tls_session_new_dane(struct net_tls *tls, int fd, const struct net_dane *dane, bool *unusable, struct error *why)
{
    *unusable = false;
    ERR_clear_error();
    SSL *ssl = SSL_new(tls->context);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1)
        error_set(why, "%s", tls_error_text());
    else if (tls_expect_dane(ssl, dane, unusable, why)) {
        SSL_set_connect_state(ssl);
        return ssl;
    }
    ERR_clear_error();
    SSL_free(ssl);
    return NULL;
}

static enum tls_outcome tls_outcome_of(SSL *ssl, int result, struct error *why)
{
    int saved = errno;
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_NONE:
        return TLS_DONE;
    case SSL_ERROR_WANT_READ:
        return TLS_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        error_set(why, "connection closed");
        return TLS_CLOSED;
    case SSL_ERROR_SYSCALL:
        error_set(why, "%s", saved != 0 ? strerror(saved) : "connection closed");
        return saved != 0 ? TLS_RESET : TLS_CLOSED;
    default:
        error_set(why, "%s", tls_error_text());
        ERR_clear_error();
        return TLS_ERROR;
    }
}

enum tls_outcome tls_handshake(SSL *ssl, struct error *why)
{
    ERR_clear_error();
    errno = 0;
    enum tls_outcome outcome = tls_outcome_of(ssl, SSL_do_handshake(ssl), why);
    long verified = SSL_get_verify_result(ssl);
    if (outcome == TLS_ERROR && (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) && verified != X509_V_OK)
        error_set(why, "certificate not trusted: %s", X509_verify_cert_error_string(verified));
    return outcome;
}

enum tls_outcome tls_read(SSL *ssl, char *out, size_t len, size_t *done, struct error *why)
{
    enum tls_outcome outcome = TLS_DONE;
    *done = 0;
    while (outcome == TLS_DONE && *done < len) {
        size_t got = 0;
        ERR_clear_error();
        errno = 0;
        outcome = tls_outcome_of(ssl, SSL_read_ex(ssl, out + *done, len - *done, &got), why);
        *done += got;
    }
    return outcome;
}

enum tls_outcome tls_write(SSL *ssl, const char *data, size_t len, size_t *done, struct error *why)
{
    *done = 0;
    ERR_clear_error();
    errno = 0;
    return tls_outcome_of(ssl, SSL_write_ex(ssl, data, len, done), why);
}

void tls_close(SSL *ssl)
{
    ERR_clear_error();
    if (!SSL_in_init(ssl))
        SSL_shutdown(ssl); /* once: the peer's own close_notify is not waited for */
    ERR_clear_error();
}
