/* course.c - see course.h */
#include "edge/verify/course.h"

#include <stddef.h>
#include "common/error.h"
#include "common/memory.h"

static const struct {
    enum verify_state state;
    enum verify_event event;
    struct verify_step step;
} steps[] = {
    { VERIFY_LOOKING, VERIFY_KNOWN, { VERIFY_OVER, VERIFY_ANSWER } },
    { VERIFY_LOOKING, VERIFY_KNOWN_OLD, { VERIFY_PROBING, VERIFY_ANSWER | VERIFY_PROBE } },
    { VERIFY_LOOKING, VERIFY_NOT_KNOWN, { VERIFY_PROBING, VERIFY_PROBE } },
    { VERIFY_PROBING, VERIFY_SAID, { VERIFY_TELLING, VERIFY_ANSWER | VERIFY_TELL } },
    { VERIFY_PROBING, VERIFY_SAID_NOTHING, { VERIFY_OVER, VERIFY_ANSWER } },
    { VERIFY_TELLING, VERIFY_TOLD, { VERIFY_OVER, 0 } },
};

struct verify_step verify_next(enum verify_state state, enum verify_event event)
{
    size_t i = 0, count = sizeof steps / sizeof *steps;
    while (i < count && (steps[i].state != state || steps[i].event != event))
        i++;
    weir_assert(i < count);
    return steps[i].step;
}
