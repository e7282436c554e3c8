/*
 * test_node_choice.c - which coordinator a node talks to: tables of what happens when, and a thousand nodes at once
 *
 * Coordinators are 0, 1, 2 and say their standing every 500 ms, as real ones do. Times are milliseconds; the silence
 * after which one is left is 1000.
 */
#include <check.h>
#include <stdlib.h>
#include "proto/node_choice.h"
#include "tests/unit/suite.h"

#define COORDINATORS 3
#define SILENCE      1000
#define BEGIN        5000 /* a clock rarely begins at 0 */
#define NOBODY       NODE_CHOICE_NOBODY

enum happening { END, UP, DOWN, HANGS, ANSWERS, LOST, READS, SAYS_NOTHING };

struct step { /* at that time, from then on */
    uint64_t at;
    enum happening what;
    size_t who;
};

struct expectation { /* from (inclusive) until (exclusive) the node talks to who and nobody else */
    uint64_t from, until;
    size_t who;
};

struct world { /* what coordinators do */
    bool up[COORDINATORS], hangs[COORDINATORS], publishes[COORDINATORS], reads[COORDINATORS];
};

static void happen(struct world *world, struct node_choice *choice, const struct step *step, uint64_t now)
{
    switch (step->what) {
    case UP:
        world->up[step->who] = world->publishes[step->who] = world->reads[step->who] = true;
        world->hangs[step->who] = false;
        node_choice_up(choice, step->who, now);
        break;
    case DOWN:
        world->up[step->who] = false;
        node_choice_down(choice, step->who, now);
        break;
    case HANGS:
    case ANSWERS:
        world->hangs[step->who] = step->what == HANGS;
        break;
    case LOST:
    case READS:
        world->reads[step->who] = step->what == READS;
        break;
    case SAYS_NOTHING:
        world->publishes[step->who] = false;
        break;
    case END:
        break;
    }
}

/* One hundredth of a second of the world and of the node. */
static void pass(struct world *world, struct node_choice *choice, uint64_t now)
{
    for (size_t i = 0; i < COORDINATORS; i++) {
        if (!world->up[i] || world->hangs[i])
            continue;
        if (choice->current == i && now % 200 == 0)
            node_choice_answered(choice, i, now);
        if (world->publishes[i] && (now + i * 170) % 500 == 0)
            node_choice_published(choice, i, world->reads[i], now);
    }
    if (now % 100 == 0)
        node_choice_tick(choice, now);
}

static const struct {
    const char *name;
    struct step steps[12];
    struct expectation expected[6];
} cases[] = {
    { "nobody is there", { { 0, END, 0 } }, { { 0, 5000, NOBODY } } },
    { "the first that is up is kept",
      { { 100, UP, 1 }, { 200, UP, 0 }, { 300, UP, 2 } },
      { { 0, 100, NOBODY }, { 100, 30000, 1 } } },
    { "down: another at once",
      { { 0, UP, 0 }, { 100, UP, 1 }, { 2000, DOWN, 0 } },
      { { 0, 2000, 0 }, { 2000, 9000, 1 } } },
    { "down and alone: nobody, until one is up",
      { { 0, UP, 0 }, { 2000, DOWN, 0 }, { 3000, UP, 1 } },
      { { 0, 2000, 0 }, { 2000, 3000, NOBODY }, { 3000, 9000, 1 } } },
    { "silent: another within a second and a tick",
      { { 0, UP, 0 }, { 100, UP, 1 }, { 2000, HANGS, 0 } },
      { { 0, 2800, 0 }, { 3200, 20000, 1 } } },
    { "silent and alone: asked again",
      { { 0, UP, 0 }, { 2000, HANGS, 0 }, { 9000, ANSWERS, 0 } },
      { { 0, 20000, 0 } } },
    { "lost its database: the one that reads, within two seconds",
      { { 0, UP, 0 }, { 100, UP, 1 }, { 3000, LOST, 0 } },
      { { 0, 4000, 0 }, { 5600, 60000, 1 } } },
    { "no way back when it reads again",
      { { 0, UP, 0 }, { 100, UP, 1 }, { 3000, LOST, 0 }, { 8000, READS, 0 } },
      { { 0, 4000, 0 }, { 5600, 60000, 1 } } },
    { "lost for less than a second: stays",
      { { 0, UP, 0 }, { 100, UP, 1 }, { 3000, LOST, 0 }, { 3900, READS, 0 } },
      { { 0, 60000, 0 } } },
    { "all lose their database: stays",
      { { 0, UP, 0 }, { 100, UP, 1 }, { 200, UP, 2 }, { 3000, LOST, 0 }, { 3400, LOST, 1 }, { 3500, LOST, 2 } },
      { { 0, 60000, 0 } } },
    { "all lost, one reads again: to that one",
      { { 0, UP, 0 },
        { 0, UP, 1 },
        { 0, UP, 2 },
        { 3000, LOST, 0 },
        { 3000, LOST, 1 },
        { 3000, LOST, 2 },
        { 9000, READS, 2 } },
      { { 0, 9000, 0 }, { 9600, 60000, 2 } } },
    { "lost, and the other is down: stays, and moves when it is there",
      { { 0, UP, 0 }, { 3000, LOST, 0 }, { 9000, UP, 1 } },
      { { 0, 9000, 0 }, { 9600, 60000, 1 } } },
    { "lost, and nothing is known of the other: stays",
      { { 0, UP, 0 }, { 0, UP, 1 }, { 0, SAYS_NOTHING, 1 }, { 3000, LOST, 0 } },
      { { 0, 60000, 0 } } },
    { "lost, and the other hangs since before: stays",
      { { 0, UP, 0 }, { 0, UP, 1 }, { 2000, HANGS, 1 }, { 3000, LOST, 0 } },
      { { 0, 60000, 0 } } },
    { "lost, the other hangs after the move: back, and not there again at once",
      { { 0, UP, 0 }, { 0, UP, 1 }, { 3000, LOST, 0 }, { 6000, HANGS, 1 } },
      { { 0, 4000, 0 }, { 5600, 6000, 1 }, { 7300, 60000, 0 } } },
    { "silent: rather one that reads than one that lost its database",
      { { 0, UP, 0 }, { 0, UP, 1 }, { 0, UP, 2 }, { 1000, LOST, 1 }, { 3000, HANGS, 0 } },
      { { 0, 3500, 0 }, { 4300, 60000, 2 } } },
    { "down: rather one of which nothing is known than one that lost its database",
      { { 0, UP, 0 }, { 0, UP, 1 }, { 0, UP, 2 }, { 0, SAYS_NOTHING, 2 }, { 1000, LOST, 1 }, { 3000, DOWN, 0 } },
      { { 0, 3000, 0 }, { 3000, 60000, 2 } } },
    { "down and only one that lost its database: that one",
      { { 0, UP, 0 }, { 0, UP, 1 }, { 1000, LOST, 1 }, { 3000, DOWN, 0 } },
      { { 0, 3000, 0 }, { 3000, 60000, 1 } } },
};

static void run_case(size_t at, uint64_t seed)
{
    struct world world = { 0 };
    struct node_choice choice;
    const struct step *step = cases[at].steps;
    const struct expectation *expected = cases[at].expected;

    node_choice_init(&choice, COORDINATORS, SILENCE, seed);
    for (uint64_t now = 0; expected->until != 0; now += 10) {
        for (; step->what != END && step->at <= now; step++)
            happen(&world, &choice, step, BEGIN + now);
        pass(&world, &choice, BEGIN + now);
        /* Not ck_assert_msg, which tells its parent process of each success: that would be most of the work. */
        if (now >= expected->from && now < expected->until && choice.current != expected->who)
            ck_abort_msg("%s: at %lu ms with %zd, not %zd (seed %lu)", cases[at].name, (unsigned long)now, (ssize_t)choice.current,
                         (ssize_t)expected->who, (unsigned long)seed);
        if (now + 10 >= expected->until)
            expected++;
    }
    node_choice_fini(&choice);
}

START_TEST(test_cases)
{
    for (uint64_t seed = 0; seed < 50; seed++)
        run_case((size_t)_i, seed * 0x9E3779B97F4A7C15u);
}
END_TEST

START_TEST(test_moving_is_said_once)
{
    struct node_choice choice;

    node_choice_init(&choice, 2, SILENCE, 1);
    ck_assert(node_choice_up(&choice, 0, 1000));
    ck_assert(!node_choice_up(&choice, 1, 1000));
    ck_assert(!choice.lagged);
    node_choice_published(&choice, 0, false, 2000);
    unsigned turns = 0;
    for (uint64_t now = 2000; now < 6000; now += 100) {
        node_choice_answered(&choice, choice.current, now);
        node_choice_published(&choice, 0, false, now);
        node_choice_published(&choice, 1, true, now);
        turns += node_choice_tick(&choice, now);
    }
    ck_assert_uint_eq(turns, 1);
    ck_assert_uint_eq(choice.current, 1);
    ck_assert(choice.lagged);
    ck_assert(node_choice_up(&choice, 1, 7000)); /* a new connection: hello again */
    ck_assert(!choice.lagged);
    node_choice_fini(&choice);
}
END_TEST

/* Two whose databases come and go by turns: the node follows, but not each time. */
START_TEST(test_moves_are_rare)
{
    struct node_choice choice;
    unsigned turns = 0;

    node_choice_init(&choice, 2, SILENCE, 7);
    node_choice_up(&choice, 0, 1000);
    node_choice_up(&choice, 1, 1000);
    for (uint64_t now = 1000; now < 121000; now += 100) {
        bool first = now / 3000 % 2 == 0;
        node_choice_answered(&choice, choice.current, now);
        node_choice_published(&choice, 0, first, now);
        node_choice_published(&choice, 1, !first, now);
        turns += node_choice_tick(&choice, now);
    }
    ck_assert_uint_ge(turns, 2);
    ck_assert_uint_le(turns, 12);
    node_choice_fini(&choice);
}
END_TEST

/* A thousand nodes at one coordinator that loses its database: they come to the two others, alike, spread over a
 * second. */
START_TEST(test_a_thousand_nodes)
{
    enum { NODES = 1000, SLICES = 10 };
    unsigned to[COORDINATORS] = { 0 }, slices[SLICES] = { 0 };

    for (uint64_t n = 0; n < NODES; n++) {
        struct node_choice choice;
        uint64_t now = 10000;
        node_choice_init(&choice, COORDINATORS, SILENCE, (n + 1) * 0x9E3779B97F4A7C15u);
        for (size_t i = 0; i < COORDINATORS; i++)
            node_choice_up(&choice, i, now);
        for (; choice.current == 0; now += 10) {
            ck_assert_uint_lt(now, 12100);
            node_choice_answered(&choice, 0, now);
            for (size_t i = 0; i < COORDINATORS; i++)
                node_choice_published(&choice, i, i != 0, now);
            node_choice_tick(&choice, now);
        }
        to[choice.current]++;
        ck_assert_uint_ge(now, 11000);
        slices[(now - 11000) / 110]++;
        node_choice_fini(&choice);
    }
    for (size_t i = 1; i < COORDINATORS; i++)
        ck_assert_uint_ge(to[i], NODES * 4 / 10);
    for (size_t i = 0; i < SLICES; i++)
        ck_assert_uint_le(slices[i], NODES / 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node_choice");
    TCase *tcase = tcase_create("choice");

    tcase_add_loop_test(tcase, test_cases, 0, sizeof cases / sizeof *cases);
    tcase_add_test(tcase, test_moving_is_said_once);
    tcase_add_test(tcase, test_moves_are_rare);
    tcase_add_test(tcase, test_a_thousand_nodes);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
