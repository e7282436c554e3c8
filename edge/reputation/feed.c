/*
 * feed.c - see feed.h
 *
 *     asking (the question stands) --news--> asking, from the number after them;   --no answer, or none that is of use--> resting --> asking
 *
 * All there is comes in parts, into a book of its own: it takes the old one's place when the last part is there.
 */
#include "edge/reputation/feed.h"

#include <stdlib.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/reputation/kept.h"
#include "proto/wire.h"

#define WAIT_MS   10000 /* so long a question stands */
#define ANSWER_MS 20000 /* beyond that no answer is coming: coordinators that die are noticed by the node itself */
#define TICK_MS   1000
#define KEEP_MS   10000 /* the file is written so often at most, and as many seconds apart as the list has thousands of entries: a loop waits for it */
#define SWEEPS    60 /* ticks: what has ended is gone from memory in a minute */

struct feed {
    struct event *tick;
    struct node *node;
    struct node_question *question;
    struct book *book, *next; /* next: all there is, as far as it has come; NULL: nothing is under way */
    char source[WIRE_WORD_MAX + 1];
    uint64_t number;
    char *path;              /* NULL: nothing is kept */
    size_t keeps;            /* entries at most */
    bool changed;            /* since it was written; never by who only reads */
    bool writes;
    uint64_t kept_ms;        /* when it was written last */
    uint64_t as_of_ms;       /* the list is the file's: by our clock, when that was written; 0: a coordinator has told all */
    struct metric *entries, *number_gauge, *news, *kept_age, *unkept;
};

static void ask(struct feed *feed);

static void begin_again(struct feed *feed)
{
    book_free(&feed->next);
    feed->source[0] = '\0';
    feed->number = 0;
}

static enum reputation_action action_of(Weir__ReputationAction action)
{
    return action == WEIR__REPUTATION_ACTION__REPUTATION_REJECT     ? REPUTATION_REJECT
           : action == WEIR__REPUTATION_ACTION__REPUTATION_THROTTLE ? REPUTATION_THROTTLE
                                                                    : REPUTATION_ALLOW;
}

static void take(struct feed *feed, const Weir__ReputationNews *news)
{
    uint64_t now = clock_ms();
    if (news->whole) {
        book_free(&feed->next);
        feed->next = book_new();
    }
    struct book *book = feed->next != NULL ? feed->next : feed->book;
    for (size_t i = 0; i < news->n_entries; i++) {
        const Weir__ReputationEntry *entry = news->entries[i];
        char key[WIRE_LOGIN_MAX + 1];
        if (!book_put(book, wire_string(key, sizeof key, &entry->key), entry->login, entry->by_operator, action_of(entry->action), now + entry->left_ms, entry->override, now))
            log_write(LOG_WARNING, "reputation: %s is of no use", key);
    }
    wire_string(feed->source, sizeof feed->source, &news->source);
    feed->number = news->number;
    if (!news->more && feed->next != NULL) {
        book_free(&feed->book);
        feed->book = feed->next;
        feed->next = NULL;
        feed->as_of_ms = 0;
        metric_set(feed->kept_age, 0);
    }
    feed->changed |= feed->writes && (news->whole || news->n_entries > 0);
    metric_add(feed->news, (double)news->n_entries);
    metric_set(feed->number_gauge, (double)feed->number);
    metric_set(feed->entries, (double)book_count(feed->book));
}

static void on_answer(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t payload_count)
{
    (void)payloads, (void)payload_count;
    struct feed *feed = arg;
    feed->question = NULL;
    if (answer == NULL || answer->body_case != WEIR__ANSWER__BODY_REPUTATION_NEWS)
        return; /* the tick asks again: no sooner, as nobody may know anything for a while */
    const Weir__ReputationNews *news = answer->reputation_news;
    if (news->whole || wire_equal(&news->source, feed->source))
        take(feed, news);
    else /* the rest of what another database began */
        begin_again(feed);
    ask(feed);
}

static void ask(struct feed *feed)
{
    Weir__Question question = WEIR__QUESTION__INIT;
    Weir__ReputationAsk asked = WEIR__REPUTATION_ASK__INIT;
    asked.source = wire_text(feed->source);
    asked.have = feed->number;
    asked.wait_ms = WAIT_MS;
    asked.loading = feed->next != NULL;
    question.body_case = WEIR__QUESTION__BODY_REPUTATION_ASK;
    question.reputation_ask = &asked;
    feed->question = node_ask(feed->node, &question, NULL, 0, WAIT_MS + ANSWER_MS, on_answer, feed);
}

/* ---- kept ---- */

/* Not what is coming in parts: the old list counts until it is there. */
static void keep(struct feed *feed)
{
    struct error why;
    feed->changed = false;
    feed->kept_ms = clock_ms();
    if (kept_write(feed->path, feed->book, feed->keeps, feed->kept_ms, clock_wall_ms(), &why))
        return;
    metric_add(feed->unkept, 1);
    log_write(LOG_WARNING, "reputation: the list is not kept: %s", why.text);
}

static void keep_in_time(struct feed *feed)
{
    uint64_t apart = KEEP_MS > book_count(feed->book) ? KEEP_MS : book_count(feed->book); /* one ms for each entry */
    if (feed->changed && feed->next == NULL && (feed->kept_ms == 0 || clock_ms() - feed->kept_ms >= apart))
        keep(feed);
}

void feed_keep(struct feed *feed, const char *path, size_t most, bool writes)
{
    struct error why;
    uint64_t age, now = clock_ms();
    feed->path = xstrdup(path);
    feed->keeps = most;
    feed->writes = writes;
    struct book *kept = kept_read(path, now, clock_wall_ms(), &age, &why);
    if (kept == NULL) {
        if (*why.text != '\0')
            log_write(LOG_WARNING, "reputation: %s: %s: nobody is throttled or refused until a coordinator tells who is", path, why.text);
        return;
    }
    book_free(&feed->book);
    feed->book = kept;
    feed->as_of_ms = now > age ? now - age : 1;
    metric_set(feed->entries, (double)book_count(kept));
    log_write(LOG_INFO, "reputation: %zu entries of %llu s ago, until a coordinator tells all", book_count(kept), (unsigned long long)(age / 1000));
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct feed *feed = arg;
    book_sweep(feed->book, SWEEPS, clock_ms());
    metric_set(feed->entries, (double)book_count(feed->book));
    if (feed->as_of_ms != 0)
        metric_set(feed->kept_age, (double)(clock_ms() - feed->as_of_ms) / 1000);
    keep_in_time(feed);
    if (feed->node != NULL && feed->question == NULL && node_is_connected(feed->node))
        ask(feed);
}

struct feed *feed_new(struct event_base *base, struct metrics *metrics)
{
    struct feed *feed = xcalloc(1, sizeof *feed);
    feed->book = book_new();
    feed->tick = event_new(base, -1, EV_PERSIST, on_tick, feed);
    if (feed->tick == NULL || event_add(feed->tick, &(struct timeval){ TICK_MS / 1000, TICK_MS % 1000 * 1000 }) != 0)
        fatal("out of memory");
    feed->entries = metrics_gauge(metrics, "weir_reputation_entries", NULL);
    feed->number_gauge = metrics_gauge(metrics, "weir_reputation_number", NULL);
    feed->news = metrics_counter(metrics, "weir_reputation_news_total", NULL);
    feed->kept_age = metrics_gauge(metrics, "weir_reputation_kept_age_seconds", NULL);
    feed->unkept = metrics_counter(metrics, "weir_reputation_not_kept_total", NULL);
    return feed;
}

void feed_free(struct feed **taken)
{
    struct feed *feed = *taken;
    *taken = NULL;
    if (feed == NULL)
        return;
    if (feed->changed && feed->next == NULL)
        keep(feed);
    free(feed->path);
    node_question_cancel(&feed->question);
    event_free(feed->tick);
    book_free(&feed->book);
    book_free(&feed->next);
    free(feed);
}

void feed_set_node(struct feed *feed, struct node *node)
{
    feed->node = node;
    ask(feed);
}

struct book_entry *feed_client(const struct feed *feed, const struct netaddr *client)
{
    return book_client(feed->book, client, clock_ms());
}

struct book_entry *feed_host(const struct feed *feed, const struct netaddr_prefix *host)
{
    return book_host(feed->book, host, clock_ms());
}

struct book_entry *feed_login(const struct feed *feed, const char *login)
{
    return book_login(feed->book, login, clock_ms());
}
