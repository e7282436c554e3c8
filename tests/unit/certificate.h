#ifndef WEIR_TESTS_UNIT_CERTIFICATE_H
#define WEIR_TESTS_UNIT_CERTIFICATE_H
/* certificate.h - a self-signed certificate for tests: made once per process, in a temporary folder */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct test_certificate {
    char folder[64], certificate[96], key[96];
};

/* For the DNS name `name` and 127.0.0.1. */
static inline void test_certificate_make(struct test_certificate *out, const char *name)
{
    char names[128];
    snprintf(out->folder, sizeof out->folder, "/tmp/weir-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(out->folder));
    snprintf(out->certificate, sizeof out->certificate, "%s/cert.pem", out->folder);
    snprintf(out->key, sizeof out->key, "%s/key.pem", out->folder);
    snprintf(names, sizeof names, "DNS:%s,IP:127.0.0.1", name);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, subject);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    ck_assert_int_ne(X509_sign(certificate, key, EVP_sha256()), 0);
    FILE *file = fopen(out->certificate, "w");
    PEM_write_X509(file, certificate);
    fclose(file);
    file = fopen(out->key, "w");
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static inline void test_certificate_remove(struct test_certificate *certificate)
{
    unlink(certificate->certificate);
    unlink(certificate->key);
    rmdir(certificate->folder);
}

#endif
