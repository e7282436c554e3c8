/*
 * test_scanner_admission.c - slots, bytes, lanes; the table of scans; chunks becoming a message
 */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/memory.h"
#include "scanner/admission.h"
#include "scanner/body.h"
#include "scanner/engine.h"
#include "scanner/scans.h"
#include "tests/unit/suite.h"

static const struct admission_limits limits = { .slots = 4, .memory = 1000, .memory_threshold = 200, .disk = 5000, .window = 100,
                                                .large_message = 150 };

static struct admission admission;

static void set_up(void)
{
    admission_init(&admission, &limits, 1);
}

static void assert_empty(void)
{
    ck_assert_uint_eq(admission.uploads, 0);
    ck_assert_uint_eq(admission.held, 0);
    ck_assert_uint_eq(admission.queued, 0);
    ck_assert_uint_eq(admission.running, 0);
    ck_assert_uint_eq(admission.memory, 0);
    ck_assert_uint_eq(admission.upload_memory, 0);
    ck_assert_uint_eq(admission.disk, 0);
    ck_assert_uint_eq(admission.slow_disk, 0);
    for (int lane = 0; lane < LANES; lane++) {
        ck_assert_ptr_null(admission.first[lane]);
        ck_assert_ptr_null(admission.last[lane]);
        ck_assert_ptr_null(admission.runs[lane]);
    }
}

static struct admission_share *next(enum lane lane)
{
    struct admission_share *share = admission_next(&admission, lane, false);
    if (share != NULL)
        admission_run(&admission, share);
    return share;
}

START_TEST(whole_messages)
{
    struct admission_share s[6] = { 0 };
    const struct {
        uint64_t size;
        enum admission_answer answer;
        bool on_disk;
        enum lane lane;
    } rows[] = {
        { 10, ADMISSION_OK, false, LANE_SMALL },   { 151, ADMISSION_OK, false, LANE_LARGE }, { 201, ADMISSION_OK, true, LANE_LARGE },
        { 6000, ADMISSION_NO_BYTES, false, 0 },    { 0, ADMISSION_OK, false, LANE_SMALL },   { 1, ADMISSION_NO_SLOT, false, 0 },
    };
    for (size_t i = 0; i < 6; i++) {
        ck_assert_int_eq(admission_take_whole(&admission, &s[i], rows[i].size), rows[i].answer);
        if (rows[i].answer == ADMISSION_OK) {
            ck_assert_int_eq(s[i].on_disk, rows[i].on_disk);
            ck_assert_int_eq(s[i].lane, rows[i].lane);
        } else {
            ck_assert_int_eq(s[i].state, ADMISSION_NONE);
        }
    }
    ck_assert_uint_eq(admission.memory, 161);
    ck_assert_uint_eq(admission.disk, 201);
    /* first in, first out, and each lane by itself */
    ck_assert_ptr_eq(next(LANE_SMALL), &s[0]);
    ck_assert_ptr_eq(next(LANE_SMALL), &s[4]);
    ck_assert_ptr_null(next(LANE_SMALL));
    ck_assert_ptr_eq(next(LANE_LARGE), &s[1]);
    /* a running scan still has its slot */
    ck_assert_int_eq(admission_take_whole(&admission, &s[5], 1), ADMISSION_NO_SLOT);
    for (size_t i = 0; i < 6; i++)
        admission_release(&admission, &s[i]);
    assert_empty();
}
END_TEST

static struct admission_share share_of(const char *client)
{
    return (struct admission_share){ .source = fair_source(client, strlen(client)), .network = fair_network(client, strlen(client)) };
}

/* Of many messages of one client only the next is before another's, whatever lane; and where all slots are its, the last gives its slot up. */
START_TEST(clients_take_turns)
{
    struct admission_share flood[4], other[3];
    for (int i = 0; i < 4; i++) {
        flood[i] = share_of("192.0.2.1");
        ck_assert_int_eq(admission_take_whole(&admission, &flood[i], 10), ADMISSION_OK);
    }
    for (int i = 0; i < 3; i++)
        other[i] = share_of("192.0.2.2");
    ck_assert_int_eq(admission_take_whole(&admission, &other[0], 10), ADMISSION_NO_SLOT);
    struct admission_share more = share_of("192.0.2.1");
    ck_assert_ptr_null(admission_give_way(&admission, &more, 10));
    ck_assert_ptr_null(admission_give_way(&admission, &other[0], 151)); /* nobody waits in that lane */
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_eq(admission_give_way(&admission, &other[i], 10), &flood[3 - i]);
        admission_release(&admission, &flood[3 - i]);
        ck_assert_int_eq(admission_take_whole(&admission, &other[i], 10), ADMISSION_OK);
    }
    ck_assert_ptr_null(admission_give_way(&admission, &other[2], 10)); /* its share is half */
    ck_assert_ptr_null(admission_give_way(&admission, &more, 10));     /* and so is the other's, who lost no turn by giving way */
    struct admission_share *const order[] = { &flood[0], &other[0], &flood[1], &other[1] };
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_eq(next(LANE_SMALL), order[i]);
        admission_release(&admission, order[i]);
    }
    assert_empty();
}
END_TEST

/* Who has nothing running in the lane is next where who has may not be; by that nobody's turn comes nearer, and each lane is by itself. */
START_TEST(newcomers_come_first)
{
    struct admission_share flood[3], other[3], large = share_of("192.0.2.1");
    admission.limits.slots = 10;
    for (int i = 0; i < 3; i++) {
        flood[i] = share_of("192.0.2.1");
        ck_assert_int_eq(admission_take_whole(&admission, &flood[i], 10), ADMISSION_OK);
    }
    ck_assert_ptr_eq(admission_next(&admission, LANE_SMALL, true), &flood[0]); /* nothing runs: it may be a flood's */
    ck_assert_ptr_eq(next(LANE_SMALL), &flood[0]);
    ck_assert_ptr_null(admission_next(&admission, LANE_SMALL, true));
    for (int i = 0; i < 3; i++) {
        other[i] = share_of(i < 2 ? "198.51.100.2" : "203.0.113.3");
        ck_assert_int_eq(admission_take_whole(&admission, &other[i], 10), ADMISSION_OK);
    }
    ck_assert_int_eq(admission_take_whole(&admission, &large, 160), ADMISSION_OK);
    ck_assert_ptr_eq(admission_next(&admission, LANE_LARGE, true), &large);
    for (int i = 0; i < 3; i += 2) { /* one of each */
        ck_assert_ptr_eq(admission_next(&admission, LANE_SMALL, true), &other[i]);
        admission_run(&admission, &other[i]);
    }
    ck_assert_ptr_null(admission_next(&admission, LANE_SMALL, true));
    admission_release(&admission, &other[0]);
    ck_assert_ptr_eq(admission_next(&admission, LANE_SMALL, true), &other[1]);
    admission_release(&admission, &flood[0]); /* and so may the flood again, whose turn is first */
    ck_assert_ptr_eq(admission_next(&admission, LANE_SMALL, true), &flood[1]);
    for (int i = 0; i < 3; i++) {
        admission_release(&admission, &flood[i]);
        admission_release(&admission, &other[i]);
    }
    admission_release(&admission, &large);
    assert_empty();
}
END_TEST

/* Addresses of a network that floods are no newcomers while two others of it are at work; the neighbours of one host are, and everybody else. */
START_TEST(a_network_is_no_newcomer_for_ever)
{
    struct admission_share first = share_of("192.0.2.1"), again = share_of("192.0.2.1"), second = share_of("192.0.2.2"), third = share_of("192.0.2.3");
    struct admission_share other = share_of("198.51.100.1"), *const all[] = { &first, &again, &second, &third, &other };
    admission.limits.slots = 10;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(admission_take_whole(&admission, all[i], 10), ADMISSION_OK);
    admission_run(&admission, &first);
    admission_run(&admission, &again);
    ck_assert_ptr_eq(admission_next(&admission, LANE_SMALL, true), &second); /* a neighbour of one host */
    admission_run(&admission, &second);
    ck_assert_ptr_null(admission_next(&admission, LANE_SMALL, true));
    ck_assert_int_eq(admission_take_whole(&admission, &other, 10), ADMISSION_OK);
    ck_assert_ptr_eq(admission_next(&admission, LANE_SMALL, true), &other);
    admission_run(&admission, &other);
    ck_assert_ptr_eq(admission_next(&admission, LANE_SMALL, false), &third); /* its turn is its turn */
    admission_release(&admission, &first);
    admission_release(&admission, &again);
    ck_assert_ptr_eq(admission_next(&admission, LANE_SMALL, true), &third);
    for (int i = 2; i < 5; i++)
        admission_release(&admission, all[i]);
    assert_empty();
}
END_TEST

START_TEST(memory_runs_out)
{
    struct admission_share s[8] = { 0 };
    admission.limits.slots = 100;
    for (size_t i = 0; i < 5; i++)
        ck_assert_int_eq(admission_take_whole(&admission, &s[i], 200), ADMISSION_OK);
    ck_assert_int_eq(admission_take_whole(&admission, &s[5], 1), ADMISSION_NO_BYTES);
    /* larger ones live elsewhere */
    ck_assert_int_eq(admission_take_whole(&admission, &s[6], 201), ADMISSION_OK);
    admission_release(&admission, &s[2]);
    ck_assert_int_eq(admission_take_whole(&admission, &s[5], 200), ADMISSION_OK);
    for (size_t i = 0; i < 8; i++)
        admission_release(&admission, &s[i]);
    assert_empty();
}
END_TEST

/* However many slow uploads there are, complete messages have slots and half of the memory. */
START_TEST(uploads_leave_room)
{
    struct admission_share up[5] = { 0 }, whole = { 0 };
    admission.limits.window = 200;
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(admission_take_upload(&admission, &up[i], 200, false), ADMISSION_OK);
    ck_assert_int_eq(admission_take_upload(&admission, &up[4], 1, false), ADMISSION_NO_SLOT);
    ck_assert_uint_eq(admission.memory, 400); /* two in memory, two on disk */
    ck_assert_uint_eq(admission.disk, 400);
    ck_assert_int_eq(admission_take_whole(&admission, &whole, 200), ADMISSION_OK);
    /* complete ones are queued as long as there are slots, and no uploads any more */
    for (size_t i = 0; i < 3; i++)
        ck_assert(admission_complete(&admission, &up[i], 50));
    ck_assert(!admission_complete(&admission, &up[3], 50));
    ck_assert_uint_eq(admission.queued, 4);
    ck_assert_uint_eq(admission.uploads, 1);
    admission_release(&admission, &up[3]);
    ck_assert_uint_eq(admission.uploads, 0);
    ck_assert_uint_eq(admission.upload_memory, 0);
    ck_assert_uint_eq(admission.memory, 300);
    ck_assert_uint_eq(admission.disk, 50);
    for (size_t i = 0; i < 4; i++)
        admission_release(&admission, &up[i]);
    admission_release(&admission, &whole);
    assert_empty();
}
END_TEST

/* An upload that its sender has whole takes a slot at once, or is refused at once: it must not be sent in vain. */
START_TEST(complete_uploads_hold_slots)
{
    struct admission_share slow = { 0 }, held[2] = { 0 }, whole[3] = { 0 };
    ck_assert_int_eq(admission_take_upload(&admission, &slow, 10, false), ADMISSION_OK);
    ck_assert_int_eq(admission_take_upload(&admission, &held[0], 10, true), ADMISSION_OK);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(admission_take_whole(&admission, &whole[i], 10), ADMISSION_OK);
    ck_assert_uint_eq(admission_used(&admission), 4);
    ck_assert_int_eq(admission_take_upload(&admission, &held[1], 10, true), ADMISSION_NO_SLOT);
    ck_assert(admission_complete(&admission, &held[0], 10));
    ck_assert(!admission_complete(&admission, &slow, 10));
    admission_release(&admission, &whole[0]);
    ck_assert(admission_complete(&admission, &slow, 10));
    ck_assert_uint_eq(admission_used(&admission), 4);
    admission_release(&admission, &slow);
    ck_assert_int_eq(admission_take_upload(&admission, &held[1], 10, true), ADMISSION_OK);
    admission_release(&admission, &held[1]); /* cancelled on its way */
    admission_release(&admission, &held[0]);
    for (size_t i = 1; i < 3; i++)
        admission_release(&admission, &whole[i]);
    assert_empty();
}
END_TEST

/* What slow clients announce is not reserved, and what they send gets half of the disk: the rest is for complete messages. */
START_TEST(promises_cost_nothing)
{
    struct admission_share slow[10] = { 0 }, complete = { 0 }, late = { 0 };
    bool grown = true;
    admission.limits.slots = 100;
    for (size_t i = 0; i < 10; i++)
        ck_assert_int_eq(admission_take_upload(&admission, &slow[i], 2500, false), ADMISSION_OK);
    ck_assert_uint_eq(admission.disk, 1000);
    while (grown) {
        grown = false;
        for (size_t i = 0; i < 10; i++)
            grown = admission_extend(&admission, &slow[i]) || grown;
    }
    ck_assert_uint_eq(admission.slow_disk, 2500);
    ck_assert_int_eq(admission_take_upload(&admission, &late, 2500, false), ADMISSION_NO_BYTES);
    ck_assert_int_eq(admission_take_upload(&admission, &complete, 2500, true), ADMISSION_OK);
    ck_assert_uint_eq(admission.disk, 5000);
    admission_release(&admission, &slow[3]); /* starved, and sent away: its room is for the others */
    ck_assert(admission_extend(&admission, &slow[4])); /* 400 of 2300 */
    ck_assert(admission_complete(&admission, &slow[4], 300)); /* counts no more as slow */
    ck_assert_uint_eq(admission.slow_disk, 1900);
    /* what could never become whole here is not begun */
    admission_release(&admission, &complete);
    ck_assert_int_eq(admission_take_upload(&admission, &late, 2501, false), ADMISSION_NO_BYTES);
    ck_assert_int_eq(admission_take_upload(&admission, &late, 2501, true), ADMISSION_OK);
    admission_release(&admission, &late);
    for (size_t i = 0; i < 10; i++)
        admission_release(&admission, &slow[i]);
    assert_empty();
}
END_TEST

START_TEST(uploads_grow)
{
    struct admission_share s = { 0 }, other = { 0 };
    ck_assert_int_eq(admission_take_upload(&admission, &s, 0, false), ADMISSION_OK);
    ck_assert_uint_eq(s.reserved, 100);
    ck_assert(admission_extend(&admission, &s));
    ck_assert(!s.on_disk);
    ck_assert(admission_extend(&admission, &s)); /* over the threshold */
    ck_assert(s.on_disk);
    ck_assert_uint_eq(s.reserved, 300);
    ck_assert_uint_eq(admission.memory, 0);
    ck_assert_uint_eq(admission.disk, 300);
    ck_assert_int_eq(admission_take_upload(&admission, &other, 4650, true), ADMISSION_OK);
    ck_assert(!admission_extend(&admission, &s)); /* 50 left: it keeps what it has */
    ck_assert_uint_eq(s.reserved, 300);
    ck_assert(s.on_disk);
    admission_release(&admission, &other);
    ck_assert(admission_extend(&admission, &s));
    admission_complete(&admission, &s, 301);
    ck_assert_uint_eq(admission.disk, 301);
    admission_release(&admission, &s);
    assert_empty();
}
END_TEST

/* What others have been allowed and not sent yet counts, so that a hundred that begin at once are not each given what the first was. */
START_TEST(a_source_shares_one_window)
{
    const struct admission_limits large = { .slots = 100, .memory = 1 << 30, .memory_threshold = 1 << 20, .disk = 1 << 30, .window = 1 << 20, .source_window = 1 << 18, .large_message = 1 << 20 };
    struct admission_share s[100] = { 0 }, other = { .source = 2 };
    admission_init(&admission, &large, 1);
    for (int i = 0; i < 100; i++) {
        s[i].source = 1;
        ck_assert_int_eq(admission_take_upload(&admission, &s[i], 0, i % 2 == 0), ADMISSION_OK);
        uint64_t window = admission_window(&admission, &s[i]);
        ck_assert_uint_eq(window, i == 0 ? 1 << 20 : 4096); /* who is alone has all; until that has come, the others have the least */
        admission_set_ahead(&admission, &s[i], window);
    }
    admission_set_ahead(&admission, &s[0], 0);
    for (int i = 90; i < 100; i++)
        admission_set_ahead(&admission, &s[i], 0);
    for (int i = 10; i < 90; i++)
        admission_release(&admission, &s[i]);
    ck_assert_uint_eq(admission_window(&admission, &s[99]), (1 << 18) / 20); /* nine have 36 KiB ahead, so there is room for a share */
    admission_set_ahead(&admission, &s[98], (1 << 18) - 9 * 4096 - 5000);
    ck_assert_uint_eq(admission_window(&admission, &s[99]), 5000); /* and now for less */
    ck_assert_int_eq(admission_take_upload(&admission, &other, 0, false), ADMISSION_OK);
    ck_assert_uint_eq(admission_window(&admission, &other), 1 << 20);
    ck_assert(admission_complete(&admission, &s[0], 10)); /* waits for no more bytes */
    for (int i = 0; i < 98; i++)
        admission_release(&admission, &s[i]);
    admission_set_ahead(&admission, &s[98], 0);
    ck_assert_uint_eq(admission_window(&admission, &s[99]), 1 << 17);
    admission_release(&admission, &s[98]);
    ck_assert_uint_eq(admission_window(&admission, &s[99]), 1 << 20);
    admission_release(&admission, &s[99]);
    admission_release(&admission, &other);
    assert_empty();
    for (int i = 0; i < FAIR_PLACES; i++)
        ck_assert(admission.uploading[i] == 0 && admission.ahead[i] == 0);
}
END_TEST

START_TEST(impossible_sizes)
{
    struct admission_share s = { 0 };
    ck_assert_int_eq(admission_take_upload(&admission, &s, UINT64_MAX, false), ADMISSION_NO_BYTES);
    ck_assert_int_eq(admission_take_whole(&admission, &s, UINT64_MAX), ADMISSION_NO_BYTES);
    ck_assert_int_eq(s.state, ADMISSION_NONE);
    assert_empty();
    /* limits that shrink under what is held: nothing new, and nothing breaks */
    ck_assert_int_eq(admission_take_whole(&admission, &s, 100), ADMISSION_OK);
    admission.limits.memory = 50;
    struct admission_share late = { 0 };
    ck_assert_int_eq(admission_take_whole(&admission, &late, 1), ADMISSION_NO_BYTES);
    admission_release(&admission, &s);
    assert_empty();
}
END_TEST

START_TEST(release_from_anywhere)
{
    struct admission_share s[3] = { 0 };
    for (size_t i = 0; i < 3; i++)
        admission_take_whole(&admission, &s[i], 1);
    admission_release(&admission, &s[1]); /* the middle of the queue */
    ck_assert_ptr_eq(next(LANE_SMALL), &s[0]);
    ck_assert_ptr_eq(next(LANE_SMALL), &s[2]);
    admission_release(&admission, &s[0]);
    admission_release(&admission, &s[2]);
    admission_release(&admission, &s[2]); /* holds nothing: nothing happens */
    assert_empty();
}
END_TEST

/* Every sequence of calls gives back exactly what it took. */
START_TEST(random_walk)
{
    struct admission_share s[12] = { 0 };
    uint64_t sent[12] = { 0 };
    srand(4711);
    for (int step = 0; step < 200000; step++) {
        size_t i = (size_t)rand() % 12;
        uint64_t size = (uint64_t)rand() % 400;
        switch (s[i].state) {
        case ADMISSION_NONE:
            if (rand() % 2)
                admission_take_whole(&admission, &s[i], size);
            else
                admission_take_upload(&admission, &s[i], size, rand() % 2);
            sent[i] = 0;
            break;
        case ADMISSION_UPLOADING:
            sent[i] += (s[i].reserved - sent[i]) / 2;
            if (rand() % 3 == 0)
                admission_complete(&admission, &s[i], sent[i]);
            else if (rand() % 5 == 0)
                admission_release(&admission, &s[i]);
            else
                admission_extend(&admission, &s[i]);
            break;
        default:
            if (rand() % 2)
                next(s[i].lane);
            else
                admission_release(&admission, &s[i]);
        }
        uint64_t memory = 0, disk = 0;
        for (size_t k = 0; k < 12; k++)
            *(s[k].on_disk ? &disk : &memory) += s[k].reserved;
        bool sound = memory == admission.memory && disk == admission.disk && memory <= limits.memory && disk <= limits.disk &&
                     admission.upload_memory <= limits.memory / 2 &&
                     admission_used(&admission) <= limits.slots && admission.uploads <= limits.slots;
        if (!sound) /* one assert per step would take longer than the walk */
            ck_abort_msg("step %d: the sums do not fit", step);
    }
    for (size_t i = 0; i < 12; i++)
        admission_release(&admission, &s[i]);
    assert_empty();
}
END_TEST

START_TEST(table_of_scans)
{
    static struct scans scans;
    struct link_peer *one = (struct link_peer *)(uintptr_t)16, *two = (struct link_peer *)(uintptr_t)32;
    static const char id[] = "01ARYZ6S41TSV4RRFFQ6", other[] = "01ARYZ6S41TSV4RRFFQ7";
    struct scan *a = scans_add(&scans, one, id, 7), *b = scans_add(&scans, two, id, 7), *c = scans_add(&scans, one, other, 7);
    ck_assert(a != NULL && b != NULL && c != NULL);
    ck_assert_ptr_null(scans_add(&scans, one, id, 7));
    ck_assert_ptr_eq(scans_find(&scans, one, id, 7), a);
    ck_assert_ptr_eq(scans_find(&scans, two, id, 7), b);
    ck_assert_ptr_eq(scans_find(&scans, one, other, 7), c);
    ck_assert_ptr_null(scans_find(&scans, one, id, 8));
    scans_orphan(&scans, a);
    scans_orphan(&scans, a);
    ck_assert_ptr_null(scans_find(&scans, one, id, 7));
    ck_assert_uint_eq(scans.count, 3);
    struct scan *again = scans_add(&scans, one, id, 7);
    ck_assert_ptr_nonnull(again);
    ck_assert_ptr_eq(scans.first, a);
    ck_assert_ptr_eq(scans.last, again);
    scans_remove(&scans, b);
    scans_remove(&scans, a);
    ck_assert_ptr_eq(scans.first, c);
    scans_remove(&scans, again);
    scans_remove(&scans, c);
    ck_assert_uint_eq(scans.count, 0);
    ck_assert(scans.first == NULL && scans.last == NULL);
}
END_TEST

START_TEST(chunks)
{
    const struct {
        uint64_t len, allowed, offset, chunk;
        enum body_chunk answer;
    } rows[] = {
        { 0, 100, 0, 100, BODY_CHUNK_OK },      { 0, 100, 0, 101, BODY_CHUNK_OVERFLOW }, { 50, 100, 50, 50, BODY_CHUNK_OK },
        { 50, 100, 50, 51, BODY_CHUNK_OVERFLOW }, { 50, 100, 49, 1, BODY_CHUNK_GAP },    { 50, 100, 51, 1, BODY_CHUNK_GAP },
        { 100, 100, 100, 0, BODY_CHUNK_OK },    { 50, 100, 50, UINT64_MAX, BODY_CHUNK_OVERFLOW },
        { 0, 100, UINT64_MAX, 1, BODY_CHUNK_GAP },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_int_eq(body_check_chunk(rows[i].len, rows[i].allowed, rows[i].offset, rows[i].chunk), rows[i].answer);
}
END_TEST

START_TEST(body_keeps_bytes)
{
    struct error why;
    for (int start_on_disk = 0; start_on_disk < 2; start_on_disk++) {
        struct body body;
        ck_assert_msg(body_open(&body, start_on_disk, "/tmp", &why), "%s", why.text);
        ck_assert(body_append(&body, "hello ", 6, &why));
        ck_assert(body_append(&body, "", 0, &why));
        if (!start_on_disk)
            ck_assert_msg(body_move_to_disk(&body, "/tmp", &why), "%s", why.text);
        ck_assert(body.on_disk);
        ck_assert(body_append(&body, "world", 5, &why));
        ck_assert_uint_eq(body.len, 11);
        char read_back[128] = "";
        ssize_t len = pread(body.fd, read_back, sizeof read_back, 0);
        ck_assert_uint_eq((uint64_t)len, body_size(&body));
        ck_assert_str_eq(read_back, ENGINE_MAIL_PREFIX "hello world");
        body_close(&body);
        body_close(&body);
    }
}
END_TEST

START_TEST(body_of_a_whole_message)
{
    struct error why;
    struct body body;
    char *large = xcalloc(1, CHANNEL_BODY_MAX);
    ck_assert(body_keep(&body, "hello", 5, false, "/nowhere", &why));
    ck_assert_int_eq(body.fd, -1);
    ck_assert_uint_eq(body_size(&body), strlen(ENGINE_MAIL_PREFIX "hello"));
    ck_assert_mem_eq(body.bytes, ENGINE_MAIL_PREFIX "hello", (size_t)body_size(&body));
    body_close(&body);
    ck_assert_ptr_null(body.bytes);
    ck_assert(body_keep(&body, NULL, 0, false, "/nowhere", &why));
    ck_assert_uint_eq(body_size(&body), ENGINE_MAIL_PREFIX_LEN);
    body_close(&body);
    /* what fits a packet, and one byte more */
    for (size_t over = 0; over < 2; over++) {
        size_t len = CHANNEL_BODY_MAX - ENGINE_MAIL_PREFIX_LEN + over;
        ck_assert(body_keep(&body, large, len, false, "/nowhere", &why));
        ck_assert((body.bytes == NULL) == (over == 1) && (body.fd >= 0) == (over == 1));
        ck_assert_uint_eq(body.len, len);
        body_close(&body);
    }
    ck_assert(!body_keep(&body, "hello", 5, true, "/nowhere", &why));
    ck_assert(body_keep(&body, "hello", 5, true, "/tmp", &why));
    ck_assert(body.fd >= 0 && body.bytes == NULL);
    body_close(&body);
    free(large);
}
END_TEST

START_TEST(body_failures)
{
    struct error why;
    struct body body;
    ck_assert(!body_open(&body, true, "/nowhere/at/all", &why));
    ck_assert_int_eq(body.fd, -1);
    ck_assert_uint_gt(strlen(why.text), 0);
    ck_assert(body_open(&body, false, "", &why));
    ck_assert(!body_move_to_disk(&body, "/nowhere/at/all", &why));
    ck_assert_int_eq(body.fd, -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scanner admission");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, whole_messages);
    tcase_add_test(tests, clients_take_turns);
    tcase_add_test(tests, newcomers_come_first);
    tcase_add_test(tests, a_network_is_no_newcomer_for_ever);
    tcase_add_test(tests, memory_runs_out);
    tcase_add_test(tests, uploads_leave_room);
    tcase_add_test(tests, complete_uploads_hold_slots);
    tcase_add_test(tests, promises_cost_nothing);
    tcase_add_test(tests, uploads_grow);
    tcase_add_test(tests, a_source_shares_one_window);
    tcase_add_test(tests, impossible_sizes);
    tcase_add_test(tests, release_from_anywhere);
    tcase_add_test(tests, random_walk);
    tcase_add_test(tests, table_of_scans);
    tcase_add_test(tests, chunks);
    tcase_add_test(tests, body_keeps_bytes);
    tcase_add_test(tests, body_of_a_whole_message);
    tcase_add_test(tests, body_failures);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
