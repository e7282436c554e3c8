#ifndef WEIR_SCANNER_CHANNEL_H
#define WEIR_SCANNER_CHANNEL_H
/*
 * channel.h - packets and descriptors between master, zygote and workers
 *
 * A channel is a SOCK_SEQPACKET pair: one packet is one struct below, whole or not at all. All ends belong to the same binary, so the
 * structs travel as they are; still, a worker has parsed hostile bytes, and whoever reads from one checks every field.
 *
 *     master -> zygote   CONFIG once, then FORK
 *     zygote -> master   LOADED or LOAD_FAILED, then FORKED (with the worker's channel and pidfd) and DIED
 *     master -> worker   SCAN (with the message's descriptor, or with its bytes behind the struct); MODEL (with its descriptor, or without: none)
 *     worker -> master   READY once, then RESULT for each SCAN
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "common/signature_set.h"
#include "scanner/mime/mime.h"
#include "scanner/native/model.h"

#define CHANNEL_FDS_MAX 2
#define CHANNEL_RECIPIENTS_MAX 4 /* that the native spam engine is told: whose mail it is */
#define CHANNEL_SYMBOLS_MAX 48
#define CHANNEL_ATTACHMENTS_MAX 16
#define CHANNEL_HASH_LEN 32
#define CHANNEL_BODY_MAX (64u << 10) /* bytes behind a SCAN; a socket's default buffer holds that, and it is most mail */

enum packet_type {
    PACKET_CONFIG = 1,
    PACKET_LOADED,
    PACKET_LOAD_FAILED,
    PACKET_FORK,
    PACKET_FORKED,
    PACKET_DIED,
    PACKET_READY,
    PACKET_SCAN,
    PACKET_RESULT,
    PACKET_MODEL,
};

enum lane { LANE_SMALL, LANE_LARGE, LANES };

/* How libclamav is set up. Sizes in bytes. */
struct engine_options {
    char signatures[PATH_MAX];
    char set[SIGNATURE_HEX_LEN + 1]; /* what these are called; "": whatever is there */
    uint64_t max_scan_size;
    uint64_t max_file_size;
    uint32_t max_files;
    uint32_t max_recursion;
    bool detect_phishing;
    bool block_encrypted;
    bool block_partial;
};

struct engine_info {
    char engine[32];      /* "ClamAV 1.4.6" */
    char signatures[48];  /* short text that names the set */
    uint32_t count;       /* signatures loaded */
    int64_t newest;       /* wall clock seconds of the newest part of the set */
    uint64_t huge_bytes;  /* of the loading process, in huge pages */
};

/* What the zygote must know; the master has read the configuration, nobody else does. */
struct packet_config {
    uint32_t type;
    uint64_t generation;
    char node[64];
    char log_file[PATH_MAX];
    int32_t log_format;
    int32_t log_level;
    char run_dir[PATH_MAX]; /* exists; the workers' folders are made in it */
    char clean[PATH_MAX];   /* folder of clean mail for the self-test; "": none */
    uint64_t worker_memory;
    bool sandbox;
    bool huge_pages;
    struct engine_options engine;
    struct mime_limits mime;
    uint64_t native_us; /* native's time for a message */
};

/* What stands between a worker that was taken over and the rest of the machine. */
struct sandbox_layers {
    bool seccomp, landlock, namespace;
};

struct packet_loaded {
    uint32_t type;
    struct sandbox_layers layers;
    struct engine_info info;
};

struct packet_load_failed {
    uint32_t type;
    bool damaged; /* the files are not those of the set */
    char why[512];
};

struct packet_fork {
    uint32_t type;
    uint32_t worker; /* unique in the generation */
    uint32_t lane;
    bool spare;      /* for newcomers (admission.h) */
};

struct packet_forked { /* + channel, pidfd; pid 0 and no descriptors: the fork failed */
    uint32_t type;
    uint32_t worker;
    int32_t pid;
};

struct packet_died {
    uint32_t type;
    uint32_t worker;
    int32_t status; /* of waitpid() */
};

struct packet_ready {
    uint32_t type;
};

/* What the native spam engine is told of a message's envelope; cut where it is longer. All end with a NUL. */
struct packet_facts {
    bool attachments; /* are to be named, whoever is asked */
    bool wanted; /* it is asked; else nothing of this is said */
    bool learn;  /* and the message's features are wanted, too */
    bool outbound, authenticated, ill_reputed;
    uint32_t recipient_count;
    char listed[128];
    char client[64], client_name[256], helo[256], sender[320];
    char recipients[CHANNEL_RECIPIENTS_MAX][320];
};

struct packet_scan { /* + the message's descriptor, or its size bytes */
    uint32_t type;
    uint32_t time_ms; /* libclamav's own limit, a little below the master's */
    uint64_t scan;    /* repeated in the result */
    uint64_t size;
    struct packet_facts facts;
};

struct packet_result {
    uint32_t type;
    uint32_t verdict; /* Weir__Verdict */
    uint32_t reason;  /* Weir__UnknownReason, with unknown */
    uint32_t scan_us;
    uint64_t scan;
    char name[256];   /* signature, or words; NUL-terminated */
};

struct packet_symbol {
    char name[64], detail[64];
    int32_t weight; /* hundredths */
};

struct packet_attachment {
    uint8_t hash[CHANNEL_HASH_LEN]; /* SHA-256 of its decoded bytes */
    uint32_t kind;                  /* Weir__AttachmentKind */
    uint64_t size;
};

struct packet_native {
    uint32_t score; /* hundredths */
    uint32_t symbol_count;
    struct packet_symbol symbols[CHANNEL_SYMBOLS_MAX];
};

/* Behind a RESULT, where a clean message's facts were `wanted`, or the attachments of one that is clean or bad were. */
struct packet_findings {
    bool scored; /* native is said */
    uint32_t attachment_count; /* the most dangerous kinds first */
    struct packet_attachment attachments[CHANNEL_ATTACHMENTS_MAX];
    struct packet_native native;
};

/* Behind that, where features were wanted. */
struct packet_features {
    uint32_t language, words, count;
    uint32_t buckets[NATIVE_FEATURES_MAX];
};

/* A model for the scans that follow, in memory that nobody can change any more; without a descriptor there is none. */
struct packet_model {
    uint32_t type;
};

/* Both ends close-on-exec. false: errno. */
bool channel_pair(int ends[2]);
/* Sends one packet; fds are borrowed. false with errno (EAGAIN: the other side reads nothing). */
bool channel_send(int channel, const void *packet, size_t len, const int *fds, size_t fd_count);
/* The same with up to CHANNEL_BODY_MAX bytes behind the packet. */
bool channel_send_body(int channel, const void *packet, size_t len, const void *body, size_t body_len);
/*
 * Receives one packet into a buffer of cap bytes and up to CHANNEL_FDS_MAX descriptors, which the caller then owns.
 * 0: the other side is gone. -1: errno (EAGAIN with MSG_DONTWAIT in flags; EBADMSG: a packet longer than cap). When not all of a packet's
 * descriptors could be taken (more than CHANNEL_FDS_MAX, or no room in our table) none is: *fd_count is 0.
 */
ssize_t channel_receive(int channel, void *packet, size_t cap, int *fds, size_t *fd_count, int flags);

#endif
