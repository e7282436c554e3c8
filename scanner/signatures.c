/*
 * signatures.c - see signatures.h
 *
 *     RESTING --another set is wanted--> LISTING --its files--> FETCHING one after the other --> LOADING --it serves--> RESTING
 *        ^                                  ^------ PAUSING <----- something failed -'   |            \--it does not--> RESTING, failed
 *        '------------------------------------------- the store has all of it -----------'
 *
 * signature_store holds files/HASH, files/HASH.part while it is fetched, sets/SET/NAME (hard links), and `current`, a link with the name of the set
 * that served last.
 */
#include "scanner/signatures.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/signature_set.h"
#include "scanner/scratch.h"

#define ASK_MS        30000 /* for an answer of any coordinator; then it counts as failed */
#define LOOK_MS       100   /* while a generation loads */
#define SUM_SLICE     (4u << 20) /* bytes of a file summed up in one turn: some ms */
#define PAUSE_MIN_MS  1000
#define PAUSE_MAX_MS  60000

enum course { RESTING, LISTING, FETCHING, SUMMING, LOADING, PAUSING };

struct signatures {
    struct signatures_options options;
    char *store;
    struct node *node;
    struct pool *pool;
    const char *fallback;
    char set[SIGNATURE_HEX_LEN + 1];    /* the one that served last; "": none */
    char wanted[SIGNATURE_HEX_LEN + 1]; /* as the cluster says; "": nothing */
    uint64_t number;                    /* that came with it */
    bool failed;
    char why[512];
    enum course course;
    uint64_t pause_ms;
    struct signature_file files[SIGNATURE_FILES_MAX];
    size_t file_count, file; /* the one under way */
    int fd;                  /* of its .part */
    uint64_t have;           /* bytes of it that are written */
    struct signature_sum *sum;
    uint64_t summed;
    struct node_question *question; /* one at a time: on a campus that is some 70 MB/s, and a bounded load for the coordinators */
    uint64_t failures_before; /* of the pool, when it began to load */
    uint8_t told_set[SIGNATURE_HASH_LEN], told_wanted[SIGNATURE_HASH_LEN];
    char *folder;
    struct event *turn;
    struct metric *differs, *fetched, *fetch_failures, *load_failures;
};

static void go_on(struct signatures *signatures);

static void turn_in(struct signatures *signatures, uint64_t ms)
{
    event_add(signatures->turn, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
}

/* --- the store --- */

static char *store_path(const struct signatures *signatures, const char *folder, const char *name, const char *more)
{
    return xasprintf("%s/%s%s%s%s", signatures->store, folder, name[0] != '\0' ? "/" : "", name, more);
}

static bool make_folder(const char *path, struct error *why)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return true;
    error_set(why, "%s: %s", path, strerror(errno));
    return false;
}

static bool make_store(const struct signatures *signatures, struct error *why)
{
    char *files = store_path(signatures, "files", "", ""), *sets = store_path(signatures, "sets", "", "");
    bool made = make_folder(signatures->store, why) && make_folder(files, why) && make_folder(sets, why);
    free(files);
    free(sets);
    return made;
}

static bool has_file(const struct signatures *signatures, const struct signature_file *file)
{
    struct stat st;
    char *path = store_path(signatures, "files", file->hash, "");
    bool there = stat(path, &st) == 0 && (uint64_t)st.st_size == file->size;
    free(path);
    return there;
}

static void read_current(struct signatures *signatures)
{
    char name[SIGNATURE_HEX_LEN + 2], *path = store_path(signatures, "current", "", "");
    uint8_t hash[SIGNATURE_HASH_LEN];
    ssize_t len = readlink(path, name, sizeof name - 1);
    free(path);
    if (len != SIGNATURE_HEX_LEN)
        return;
    name[len] = '\0';
    char *folder = store_path(signatures, "sets", name, "");
    if (signature_unhex(hash, name) && access(folder, R_OK) == 0) {
        memcpy(signatures->set, name, sizeof signatures->set);
        signatures->folder = folder;
    } else {
        free(folder);
    }
}

/* A link, as that is whole or not there. */
static void write_current(const struct signatures *signatures)
{
    char *path = store_path(signatures, "current", "", ""), *fresh = store_path(signatures, "current", "", ".new");
    unlink(fresh);
    if (symlink(signatures->set, fresh) != 0 || rename(fresh, path) != 0)
        log_write(LOG_WARNING, "signatures: %s: %s", path, strerror(errno));
    free(path);
    free(fresh);
}

/* Links to the files, under their names. */
static bool make_set(const struct signatures *signatures, struct error *why)
{
    char *set = store_path(signatures, "sets", signatures->wanted, "");
    bool made;
    scratch_remove(set); /* what a killed scanner left may not be all */
    made = make_folder(set, why);
    for (size_t i = 0; made && i < signatures->file_count; i++) {
        const struct signature_file *file = &signatures->files[i];
        char *from = store_path(signatures, "files", file->hash, ""), *to = xasprintf("%s/%s", set, file->name);
        made = link(from, to) == 0;
        if (!made)
            error_set(why, "%s: %s", to, strerror(errno));
        free(from);
        free(to);
    }
    free(set);
    return made;
}

static bool is_needed(const struct signatures *signatures, const char *name)
{
    for (size_t i = 0; i < signatures->file_count; i++)
        if (strncmp(signatures->files[i].hash, name, SIGNATURE_HEX_LEN) == 0)
            return true;
    return false;
}

/* The set that serves is left, and its files, which alone have a second link. */
static void tidy_store(const struct signatures *signatures)
{
    static const char *const folders[] = { "sets", "files" };
    for (size_t i = 0; i < 2; i++) {
        char *path = store_path(signatures, folders[i], "", "");
        DIR *dir = opendir(path);
        for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
            char *victim = xasprintf("%s/%s", path, entry->d_name);
            struct stat st;
            if (entry->d_name[0] == '.' || lstat(victim, &st) != 0)
                ;
            else if (i == 0 && strcmp(entry->d_name, signatures->set) != 0 && strcmp(entry->d_name, signatures->wanted) != 0)
                scratch_remove(victim);
            else if (i == 1 && st.st_nlink == 1 && !is_needed(signatures, entry->d_name))
                unlink(victim);
            free(victim);
        }
        if (dir != NULL)
            closedir(dir);
        free(path);
    }
}

/* --- how it goes --- */

static void stop_asking(struct signatures *signatures)
{
    node_question_cancel(&signatures->question);
    if (signatures->fd >= 0)
        close(signatures->fd);
    signatures->fd = -1;
    char unused[SIGNATURE_HEX_LEN + 1];
    signature_sum_end(&signatures->sum, unused);
}

static void show(struct signatures *signatures)
{
    metric_set(signatures->differs, signatures->wanted[0] != '\0' && strcmp(signatures->wanted, pool_signature_set(signatures->pool)) != 0);
    signatures->options.changed(signatures->options.arg);
}

static void rest(struct signatures *signatures)
{
    signatures->course = RESTING;
    event_del(signatures->turn);
    show(signatures);
}

/* Of a cause that may go away: no room, no coordinator. */
static void pause_for(struct signatures *signatures, const char *why)
{
    stop_asking(signatures);
    metric_add(signatures->fetch_failures, 1);
    if (strcmp(signatures->why, why) != 0)
        log_write(LOG_WARNING, "signatures: %.12s is not fetched: %s", signatures->wanted, why);
    snprintf(signatures->why, sizeof signatures->why, "%s", why);
    signatures->course = PAUSING;
    turn_in(signatures, signatures->pause_ms);
    signatures->pause_ms = signatures->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : signatures->pause_ms * 2;
    show(signatures);
}

static void use(struct signatures *signatures, const char *set)
{
    char *folder = set[0] != '\0' ? store_path(signatures, "sets", set, "") : NULL;
    free(signatures->folder);
    signatures->folder = folder;
    pool_use_signatures(signatures->pool, folder != NULL ? folder : signatures->fallback, set);
}

/* --- loading --- */

static void load(struct signatures *signatures)
{
    struct error why;
    if (!make_set(signatures, &why)) {
        pause_for(signatures, why.text);
        return;
    }
    log_write(LOG_NOTICE, "signatures: %.12s is fetched and loads", signatures->wanted);
    signatures->course = LOADING;
    signatures->failures_before = pool_failures(signatures->pool, signatures->wanted, NULL);
    use(signatures, signatures->wanted);
    pool_renew(signatures->pool);
    turn_in(signatures, LOOK_MS);
}

/* Its files are not what their names say: a disk that failed, or a machine that stopped while they were written. */
static void refetch(struct signatures *signatures)
{
    char *files = store_path(signatures, "files", "", "");
    scratch_remove(files); /* what serves has links of its own */
    free(files);
    use(signatures, strcmp(signatures->set, signatures->wanted) == 0 ? "" : signatures->set);
    pause_for(signatures, "the files in signature_store are damaged");
}

static void look_at_load(struct signatures *signatures)
{
    const struct pool_failure *failure;
    if (strcmp(pool_signature_set(signatures->pool), signatures->wanted) == 0) {
        memcpy(signatures->set, signatures->wanted, sizeof signatures->set);
        signatures->why[0] = '\0';
        write_current(signatures);
        tidy_store(signatures);
        rest(signatures);
    } else if (pool_failures(signatures->pool, signatures->wanted, &failure) == signatures->failures_before) {
        turn_in(signatures, LOOK_MS);
    } else if (failure->damaged) {
        refetch(signatures);
    } else {
        metric_add(signatures->load_failures, 1);
        snprintf(signatures->why, sizeof signatures->why, "%s", failure->why);
        signatures->failed = true;
        log_write(LOG_ERR, "signatures: %.12s is not used: %s", signatures->wanted, failure->why);
        if (strcmp(signatures->set, signatures->wanted) != 0) /* else it is the only one, and goes on being tried */
            use(signatures, signatures->set);
        rest(signatures);
    }
}

/* --- fetching --- */

static void next_file(struct signatures *signatures)
{
    signatures->file++;
    signatures->course = FETCHING;
    go_on(signatures);
}

/* All its bytes are there: are they the right ones? */
static void sum_up(struct signatures *signatures)
{
    const struct signature_file *file = &signatures->files[signatures->file];
    static char buffer[SUM_SLICE];
    ssize_t len = pread(signatures->fd, buffer, sizeof buffer, (off_t)signatures->summed);
    if (len < 0) {
        pause_for(signatures, strerror(errno));
        return;
    }
    signature_sum_add(signatures->sum, buffer, (size_t)len);
    signatures->summed += (uint64_t)len;
    if (len > 0 && signatures->summed < file->size) {
        turn_in(signatures, 0);
        return;
    }
    char hash[SIGNATURE_HEX_LEN + 1], *part = store_path(signatures, "files", file->hash, ".part"), *whole = store_path(signatures, "files", file->hash, "");
    signature_sum_end(&signatures->sum, hash);
    const struct timespec made = { .tv_sec = (time_t)(file->time_ms / 1000) }; /* the age of a set is that of its files */
    bool right = strcmp(hash, file->hash) == 0;
    bool kept = right && futimens(signatures->fd, (const struct timespec[]){ made, made }) == 0 && rename(part, whole) == 0;
    int error = errno;
    close(signatures->fd);
    signatures->fd = -1;
    if (!right)
        unlink(part);
    free(part);
    free(whole);
    if (kept)
        next_file(signatures);
    else
        pause_for(signatures, right ? strerror(error) : "what came is not the file that was asked for");
}

static void begin_sum(struct signatures *signatures)
{
    signatures->course = SUMMING;
    signatures->sum = signature_sum_new();
    signatures->summed = 0;
    turn_in(signatures, 0);
}

static void on_chunk(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct signatures *signatures = arg;
    const struct signature_file *file = &signatures->files[signatures->file];
    uint64_t left = file->size - signatures->have, expected = left < WIRE_SIGNATURE_CHUNK ? left : WIRE_SIGNATURE_CHUNK;
    signatures->question = NULL;
    if (answer == NULL || answer->status != WEIR__ANSWER_STATUS__ANSWER_OK || answer->body_case != WEIR__ANSWER__BODY_SIGNATURE_DATA || count != 1 ||
        answer->signature_data->size != file->size || payloads[0].len != expected) {
        pause_for(signatures, answer == NULL ? "no coordinator answers" : "the coordinator does not have it");
        return;
    }
    ssize_t written = pwrite(signatures->fd, payloads[0].data, payloads[0].len, (off_t)signatures->have);
    if (written != (ssize_t)payloads[0].len) {
        pause_for(signatures, written < 0 ? strerror(errno) : "no room");
        return;
    }
    signatures->have += payloads[0].len;
    metric_add(signatures->fetched, (double)payloads[0].len);
    signatures->pause_ms = PAUSE_MIN_MS;
    go_on(signatures);
}

/* Where an earlier process, or an earlier try, had got to. */
static bool open_part(struct signatures *signatures)
{
    char *part = store_path(signatures, "files", signatures->files[signatures->file].hash, ".part");
    struct stat st;
    signatures->fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(part);
    if (signatures->fd < 0 || fstat(signatures->fd, &st) != 0) {
        pause_for(signatures, strerror(errno));
        return false;
    }
    uint64_t len = (uint64_t)st.st_size, size = signatures->files[signatures->file].size;
    signatures->have = len >= size ? size : len - len % WIRE_SIGNATURE_CHUNK;
    if (ftruncate(signatures->fd, (off_t)signatures->have) != 0) {
        pause_for(signatures, strerror(errno));
        return false;
    }
    return true;
}

static void ask(struct signatures *signatures, Weir__Question *question, node_answer_handler handler)
{
    signatures->question = node_ask(signatures->node, question, NULL, 0, ASK_MS, handler, signatures);
    if (signatures->question == NULL)
        pause_for(signatures, "too many questions are under way");
}

static void ask_chunk(struct signatures *signatures)
{
    uint8_t hash[SIGNATURE_HASH_LEN];
    Weir__SignatureFetch fetch = WEIR__SIGNATURE_FETCH__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    signature_unhex(hash, signatures->files[signatures->file].hash);
    fetch.hash = wire_bytes(hash, sizeof hash);
    fetch.offset = signatures->have;
    question.body_case = WEIR__QUESTION__BODY_SIGNATURE_FETCH;
    question.signature_fetch = &fetch;
    ask(signatures, &question, on_chunk);
}

static bool take_files(struct signatures *signatures, const Weir__SignatureFiles *list)
{
    char name[SIGNATURE_HEX_LEN + 1];
    signatures->file_count = 0;
    for (size_t i = 0; i < list->n_files && i < SIGNATURE_FILES_MAX; i++) {
        struct signature_file *file = &signatures->files[signatures->file_count++];
        wire_string(file->name, sizeof file->name, &list->files[i]->name);
        signature_hex(list->files[i]->hash.data, file->hash);
        file->size = list->files[i]->size;
        file->time_ms = list->files[i]->time_ms;
        if (!signature_name_is_valid(file->name))
            return false;
    }
    signature_set_name(signatures->files, signatures->file_count, name);
    return strcmp(name, signatures->wanted) == 0;
}

static void on_files(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct signatures *signatures = arg;
    (void)payloads, (void)count;
    signatures->question = NULL;
    if (answer == NULL || answer->status != WEIR__ANSWER_STATUS__ANSWER_OK || answer->body_case != WEIR__ANSWER__BODY_SIGNATURE_FILES) {
        pause_for(signatures, answer == NULL ? "no coordinator answers" : "the coordinator does not have it");
    } else if (!take_files(signatures, answer->signature_files)) {
        pause_for(signatures, "the files that the coordinator names are not this set");
    } else {
        signatures->course = FETCHING;
        signatures->file = 0;
        go_on(signatures);
    }
}

static void ask_files(struct signatures *signatures)
{
    uint8_t set[SIGNATURE_HASH_LEN];
    Weir__SignatureList list = WEIR__SIGNATURE_LIST__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    struct error why;
    signatures->course = LISTING;
    if (!make_store(signatures, &why)) {
        pause_for(signatures, why.text);
        return;
    }
    signature_unhex(set, signatures->wanted);
    list.set = wire_bytes(set, sizeof set);
    question.body_case = WEIR__QUESTION__BODY_SIGNATURE_LIST;
    question.signature_list = &list;
    ask(signatures, &question, on_files);
}

/* FETCHING: the next chunk of the file under way, or the next file. */
static void go_on(struct signatures *signatures)
{
    while (signatures->fd < 0 && signatures->file < signatures->file_count && has_file(signatures, &signatures->files[signatures->file]))
        signatures->file++;
    if (signatures->file == signatures->file_count)
        load(signatures);
    else if (signatures->fd < 0 && !open_part(signatures))
        return;
    else if (signatures->have == signatures->files[signatures->file].size)
        begin_sum(signatures);
    else
        ask_chunk(signatures);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct signatures *signatures = arg;
    if (signatures->course == LOADING)
        look_at_load(signatures);
    else if (signatures->course == SUMMING)
        sum_up(signatures);
    else if (signatures->course == PAUSING)
        ask_files(signatures);
}

/* --- what is wanted --- */

/* A generation that loads cannot be taken back: the next one replaces it. */
static void want(struct signatures *signatures, const char *set, uint64_t number)
{
    bool loads = signatures->course == LOADING;
    stop_asking(signatures);
    memcpy(signatures->wanted, set, sizeof signatures->wanted);
    signatures->number = number;
    signatures->failed = false;
    signatures->why[0] = '\0';
    signatures->pause_ms = PAUSE_MIN_MS;
    event_del(signatures->turn);
    if (strcmp(pool_signature_set(signatures->pool), set) == 0) {
        memcpy(signatures->set, set, sizeof signatures->set);
        if (loads || strcmp(signatures_set(signatures), set) != 0)
            use(signatures, set);
        write_current(signatures);
        rest(signatures);
    } else if (strcmp(signatures_set(signatures), set) == 0 && pool_failures(signatures->pool, set, NULL) == 0) { /* loads since the start */
        signatures->course = LOADING;
        signatures->failures_before = 0;
        turn_in(signatures, LOOK_MS);
    } else {
        if (loads)
            use(signatures, signatures->set);
        ask_files(signatures);
        show(signatures);
    }
}

void signatures_on_state(struct signatures *signatures, const Weir__ClusterState *state)
{
    const Weir__SignatureTargets *targets = state->signature_targets;
    for (size_t i = 0; targets != NULL && i < targets->n_targets; i++) {
        const Weir__SignatureTarget *target = targets->targets[i];
        char set[SIGNATURE_HEX_LEN + 1];
        if (!wire_equal(&target->node, signatures->options.node))
            continue;
        signature_hex(target->set.data, set);
        if (target->number != signatures->number || strcmp(set, signatures->wanted) != 0)
            want(signatures, set, target->number);
    }
}

void signatures_tell(struct signatures *signatures, Weir__SignatureState *told)
{
    if (signature_unhex(signatures->told_set, pool_signature_set(signatures->pool)))
        told->set = wire_bytes(signatures->told_set, SIGNATURE_HASH_LEN);
    if (signature_unhex(signatures->told_wanted, signatures->wanted))
        told->wanted = wire_bytes(signatures->told_wanted, SIGNATURE_HASH_LEN);
    told->number = signatures->number;
    told->failed = signatures->failed;
    told->why = wire_text_cut(signatures->why, WIRE_WORDS_MAX);
}

/* --- life --- */

struct signatures *signatures_new(const struct signatures_options *options, struct error *why)
{
    struct signatures *signatures = xcalloc(1, sizeof *signatures);
    signatures->options = *options;
    signatures->store = xstrdup(options->store);
    signatures->fd = -1;
    signatures->pause_ms = PAUSE_MIN_MS;
    if (!make_store(signatures, why)) {
        free(signatures->store);
        free(signatures);
        return NULL;
    }
    read_current(signatures);
    signatures->turn = evtimer_new(options->base, on_turn, signatures);
    signatures->differs = metrics_gauge(options->metrics, "weir_signature_differs", NULL);
    signatures->fetched = metrics_counter(options->metrics, "weir_signature_fetched_bytes_total", NULL);
    signatures->fetch_failures = metrics_counter(options->metrics, "weir_signature_failures_total", "what=\"fetch\"");
    signatures->load_failures = metrics_counter(options->metrics, "weir_signature_failures_total", "what=\"load\"");
    return signatures;
}

void signatures_free(struct signatures **freed)
{
    struct signatures *signatures = *freed;
    *freed = NULL;
    if (signatures == NULL)
        return;
    stop_asking(signatures);
    event_free(signatures->turn);
    free(signatures->folder);
    free(signatures->store);
    free(signatures);
}

const char *signatures_folder(const struct signatures *signatures)
{
    return signatures->folder;
}

const char *signatures_set(const struct signatures *signatures)
{
    const char *slash = signatures->folder != NULL ? strrchr(signatures->folder, '/') : NULL;
    return slash != NULL ? slash + 1 : "";
}

void signatures_start(struct signatures *signatures, struct node *node, struct pool *pool, const char *fallback)
{
    signatures->node = node;
    signatures->pool = pool;
    signatures->fallback = fallback;
}

void signatures_fall_back(struct signatures *signatures, const char *fallback)
{
    signatures->fallback = fallback;
}
