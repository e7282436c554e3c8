/*
 * engine.c - libclamav, and what its answers mean
 *
 * libclamav's clean cache is off: it is keyed by MD5, for which two files with one sum can be made, so that a harmless
 * attachment could vouch for its malicious twin. The limits on single parsers (HTML, scripts, embedded executables) are raised to
 * the file limit: reaching one of them skips work without a word, reaching the file limit is reported.
 *
 * When libclamav cannot unpack a part because the folder for temporary files is full, it at best says so in its log and goes on: the
 * answer is "clean". So an error message during a scan, or a file that could not be written, makes a clean answer unknown(engine).
 */
#include "scanner/engine.h"
#include <clamav.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "scanner/filewatch.h"

#define LIMIT_NAME "Heuristics.Limits.Exceeded"
#define TIME_LIMIT_NAME LIMIT_NAME ".MaxScanTime"
#define PARTIAL_WARNING "Partial message received" /* that libclamav met message/partial it says only in this warning */

struct engine {
    struct cl_engine *clam;
    struct cl_scan_options scan;
    uint64_t max_size; /* of a message */
    bool block_partial;
};

/* libclamav's messages come without a useful context; there is one scan at a time in a process. */
static bool scanning;
static char first_error[256]; /* during the scan */
static bool partial;

static void on_clamav_message(enum cl_msg severity, const char *full, const char *text, void *context)
{
    (void)full, (void)context;
    int len = (int)strcspn(text, "\n");
    partial |= strstr(text, PARTIAL_WARNING) != NULL;
    if (!scanning || severity != CL_MSG_ERROR) {
        log_write(severity == CL_MSG_ERROR ? LOG_WARNING : LOG_DEBUG, "libclamav: %.*s", len, text);
    } else if (first_error[0] == '\0') { /* one is enough: a large part gives thousands */
        snprintf(first_error, sizeof first_error, "%.*s", len, text);
        log_write(LOG_WARNING, "libclamav: %s", first_error);
    }
}

/* --- the name of a signature set --- */

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u; /* FNV-1a */
    return hash;
}

static uint64_t hash_file(uint64_t hash, int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hash;
    char buffer[16384];
    ssize_t len;
    while ((len = read(fd, buffer, sizeof buffer)) > 0)
        hash = hash_bytes(hash, buffer, (size_t)len);
    close(fd);
    return hash;
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t name_len = strlen(name), suffix_len = strlen(suffix);
    return name_len > suffix_len && strcmp(name + name_len - suffix_len, suffix) == 0;
}

struct set_description {
    uint64_t sum; /* of the files' hashes, so that the folder's order does not matter */
    unsigned daily;
    int64_t newest;
};

static void describe_file(struct set_description *set, const char *folder, int folder_fd, const char *name)
{
    struct stat st;
    if (fstatat(folder_fd, name, &st, 0) != 0 || !S_ISREG(st.st_mode))
        return;
    uint64_t hash = hash_bytes(0xcbf29ce484222325u, name, strlen(name));
    int64_t made = st.st_mtime;
    if (has_suffix(name, ".cvd") || has_suffix(name, ".cld")) {
        char *path = xasprintf("%s/%s", folder, name);
        struct cl_cvd *head = cl_cvdhead(path);
        free(path);
        if (head != NULL) {
            made = head->stime;
            hash = hash_bytes(hash, &head->version, sizeof head->version);
            if (strncmp(name, "daily.", 6) == 0)
                set->daily = head->version;
            cl_cvdfree(head);
        }
    } else {
        hash = hash_file(hash, folder_fd, name);
    }
    set->sum += hash;
    if (made > set->newest)
        set->newest = made;
}

/* The same set has the same name on every node: official sets by their versions, others by their bytes; never by file times. */
static void describe_set(const char *folder, struct engine_info *info)
{
    struct set_description set = { 0 };
    DIR *dir = opendir(folder);
    if (dir != NULL) {
        for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
            if (entry->d_name[0] != '.')
                describe_file(&set, folder, dirfd(dir), entry->d_name);
        }
        closedir(dir);
    }
    uint32_t sum = (uint32_t)(set.sum ^ set.sum >> 32);
    if (set.daily != 0)
        snprintf(info->signatures, sizeof info->signatures, "daily-%u/%08x", set.daily, sum);
    else
        snprintf(info->signatures, sizeof info->signatures, "%08x", sum);
    info->newest = set.newest;
}

/* --- loading --- */

static bool set_limits(struct cl_engine *clam, const struct engine_options *options, struct error *why)
{
    const struct {
        enum cl_engine_field field;
        uint64_t value;
    } numbers[] = {
        { CL_ENGINE_MAX_SCANSIZE, options->max_scan_size },
        { CL_ENGINE_MAX_FILESIZE, options->max_file_size },
        { CL_ENGINE_MAX_FILES, options->max_files },
        { CL_ENGINE_MAX_RECURSION, options->max_recursion },
        { CL_ENGINE_MAX_EMBEDDEDPE, options->max_file_size },
        { CL_ENGINE_MAX_HTMLNORMALIZE, options->max_file_size },
        { CL_ENGINE_MAX_HTMLNOTAGS, options->max_file_size },
        { CL_ENGINE_MAX_SCRIPTNORMALIZE, options->max_file_size },
        { CL_ENGINE_MAX_ZIPTYPERCG, options->max_file_size },
        { CL_ENGINE_PCRE_MAX_FILESIZE, options->max_file_size },
        { CL_ENGINE_DISABLE_CACHE, 1 },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        cl_error_t status = cl_engine_set_num(clam, numbers[i].field, (long long)numbers[i].value);
        if (status != CL_SUCCESS) {
            error_set(why, "libclamav refuses option %d = %llu: %s", (int)numbers[i].field,
                      (unsigned long long)numbers[i].value, cl_strerror(status));
            return false;
        }
    }
    return true;
}

static bool load_signatures(struct cl_engine *clam, const struct engine_options *options, struct engine_info *info,
                            struct error *why)
{
    unsigned count = 0;
    unsigned kinds = CL_DB_PHISHING | CL_DB_BYTECODE | (options->detect_phishing ? CL_DB_PHISHING_URLS : 0);
    cl_error_t status = cl_load(options->signatures, clam, &count, kinds);
    if (status == CL_SUCCESS && count == 0) {
        error_set(why, "%s: no signatures in this folder", options->signatures);
        return false;
    }
    if (status == CL_SUCCESS)
        status = cl_engine_compile(clam);
    if (status != CL_SUCCESS) {
        error_set(why, "%s: %s", options->signatures, cl_strerror(status));
        return false;
    }
    snprintf(info->engine, sizeof info->engine, "ClamAV %s", cl_retver());
    info->count = count;
    return true;
}

struct engine *engine_load(const struct engine_options *options, struct engine_info *info, struct error *why)
{
    memset(info, 0, sizeof *info);
    cl_set_clcb_msg(on_clamav_message);
    cl_error_t status = cl_init(CL_INIT_DEFAULT);
    if (status != CL_SUCCESS) {
        error_set(why, "libclamav: %s", cl_strerror(status));
        return NULL;
    }
    struct engine *engine = xcalloc(1, sizeof *engine);
    engine->clam = cl_engine_new();
    if (engine->clam == NULL) {
        error_set(why, "libclamav makes no engine");
        engine_free(&engine);
        return NULL;
    }
    describe_set(options->signatures, info); /* before loading: a set that changes meanwhile gets the old name, and a reload */
    if (!set_limits(engine->clam, options, why) || !load_signatures(engine->clam, options, info, why)) {
        engine_free(&engine);
        return NULL;
    }
    engine->max_size = options->max_file_size < options->max_scan_size ? options->max_file_size : options->max_scan_size;
    engine->scan.general = CL_SCAN_GENERAL_HEURISTICS;
    engine->scan.parse = ~0u;
    /* Not CL_SCAN_MAIL_PARTIAL_MESSAGE: it collects the parts in one folder for ever, and in a farm they come to different nodes. */
    engine->block_partial = options->block_partial;
    engine->scan.heuristic = CL_SCAN_HEURISTIC_EXCEEDS_MAX;
    if (options->detect_phishing)
        engine->scan.heuristic |= CL_SCAN_HEURISTIC_PHISHING_SSL_MISMATCH | CL_SCAN_HEURISTIC_PHISHING_CLOAK;
    if (options->block_encrypted)
        engine->scan.heuristic |= CL_SCAN_HEURISTIC_ENCRYPTED_ARCHIVE | CL_SCAN_HEURISTIC_ENCRYPTED_DOC;
    return engine;
}

void engine_free(struct engine **engine)
{
    if (*engine == NULL)
        return;
    if ((*engine)->clam != NULL)
        cl_engine_free((*engine)->clam);
    free(*engine);
    *engine = NULL;
}

bool engine_set_tmp_dir(struct engine *engine, const char *path, struct error *why)
{
    cl_error_t status = cl_engine_set_str(engine->clam, CL_ENGINE_TMPDIR, path);
    if (status != CL_SUCCESS)
        error_set(why, "libclamav refuses %s for temporary files: %s", path, cl_strerror(status));
    return status == CL_SUCCESS;
}

/* --- scanning --- */

static void result_unknown(struct engine_result *result, Weir__UnknownReason reason, const char *words)
{
    result->verdict = WEIR__VERDICT__VERDICT_UNKNOWN;
    result->reason = reason;
    snprintf(result->name, sizeof result->name, "%s", words);
}

static void result_from_clamav(struct engine_result *result, cl_error_t status, const char *name)
{
    bool named = name != NULL && name[0] != '\0';
    bool limits = named && strncmp(name, LIMIT_NAME, sizeof LIMIT_NAME - 1) == 0;
    if (status == CL_ETIMEOUT || (named && strncmp(name, TIME_LIMIT_NAME, sizeof TIME_LIMIT_NAME - 1) == 0)) {
        result_unknown(result, WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT, "scan time limit reached");
    } else if (limits && (status == CL_VIRUS || status == CL_CLEAN)) {
        result_unknown(result, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS, name);
    } else if (status == CL_VIRUS && named) {
        result->verdict = WEIR__VERDICT__VERDICT_BAD;
        snprintf(result->name, sizeof result->name, "%s", name);
    } else if (status == CL_CLEAN && !named) {
        result->verdict = WEIR__VERDICT__VERDICT_CLEAN;
    } else {
        result_unknown(result, WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE, cl_strerror(status));
    }
}

/* libclamav would look at its beginning, or say "virus" without a name. */
static bool is_too_large(const struct engine *engine, uint64_t size, struct engine_result *result)
{
    if (size > engine->max_size)
        result_unknown(result, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS, LIMIT_NAME ".MessageSize");
    return size > engine->max_size;
}

void engine_scan(struct engine *engine, const void *bytes, size_t size, uint32_t time_ms, struct engine_result *result)
{
    memset(result, 0, sizeof *result);
    if (is_too_large(engine, size, result))
        return;
    cl_fmap_t *map = cl_fmap_open_memory(bytes, size);
    if (map == NULL) {
        result_unknown(result, WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE, "libclamav cannot map the message");
        return;
    }
    const char *name = NULL;
    unsigned long scanned = 0;
    cl_error_t status = cl_engine_set_num(engine->clam, CL_ENGINE_MAX_SCANTIME, time_ms);
    filewatch_begin();
    first_error[0] = '\0';
    partial = false;
    scanning = true;
    if (status == CL_SUCCESS)
        status = cl_scanmap_callback(map, NULL, &name, &scanned, engine->clam, &engine->scan, NULL);
    scanning = false;
    result_from_clamav(result, status, name); /* at once: the name is libclamav's and does not live long */
    if (result->verdict == WEIR__VERDICT__VERDICT_CLEAN && (first_error[0] != '\0' || filewatch_failure() != 0))
        result_unknown(result, WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE,
                       first_error[0] != '\0' ? first_error : strerror(filewatch_failure()));
    else if (result->verdict == WEIR__VERDICT__VERDICT_CLEAN && partial && engine->block_partial)
        result_unknown(result, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE, "message/partial: a part of a split message");
    cl_fmap_close(map);
}

/* Mapped, not cl_scandesc(): that one copies the file page by page, a fifth of the time for a large message. */
void engine_scan_file(struct engine *engine, int fd, uint64_t size, uint32_t time_ms, struct engine_result *result)
{
    memset(result, 0, sizeof *result);
    if (is_too_large(engine, size, result))
        return;
    void *bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) {
        result_unknown(result, WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE, strerror(errno));
        return;
    }
    engine_scan(engine, bytes, (size_t)size, time_ms, result);
    munmap(bytes, (size_t)size);
}

/* --- self-test --- */

/* In two halves, so that neither this source nor the program is what it tests for. */
static const char eicar_head[] = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-";
static const char eicar_tail[] = "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*";

static void encode_base64(char *out, const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)(unsigned char)text[i] << 16;
        if (i + 1 < len)
            group |= (uint32_t)(unsigned char)text[i + 1] << 8;
        if (i + 2 < len)
            group |= (unsigned char)text[i + 2];
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = i + 1 < len ? digits[group >> 6 & 63] : '=';
        *out++ = i + 2 < len ? digits[group & 63] : '=';
    }
    *out = '\0';
}

bool engine_test_message(size_t index, char *out, size_t cap, size_t *len, Weir__Verdict *expected)
{
    char eicar[80], encoded[128];
    snprintf(eicar, sizeof eicar, "%s%s", eicar_head, eicar_tail);
    encode_base64(encoded, eicar);
    int written;
    switch (index) {
    case 0: /* as it is: the signature is loaded */
        written = snprintf(out, cap, "%s", eicar);
        break;
    case 1: /* inside mail that does not look like mail: prefix, MIME parser, decoder and temporary files work */
        written = snprintf(out, cap, ENGINE_MAIL_PREFIX "X-Self-Test: 1\r\nContent-Type: application/octet-stream\r\n"
                           "Content-Transfer-Encoding: base64\r\n\r\n%s\r\n", encoded);
        break;
    case 2:
        written = snprintf(out, cap, ENGINE_MAIL_PREFIX "From: self@test.invalid\r\nSubject: self-test\r\n\r\nClean.\r\n");
        break;
    default:
        return false;
    }
    *len = (size_t)written;
    *expected = index < 2 ? WEIR__VERDICT__VERDICT_BAD : WEIR__VERDICT__VERDICT_CLEAN;
    return true;
}
