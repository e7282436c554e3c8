/* clock.c - see clock.h */
#include "common/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_ms(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t clock_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t clock_cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

char *clock_rfc5322(char out[40])
{
    /* not strftime's names: those follow the locale */
    static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm local;

    localtime_r(&now, &local);
    int east = (int)(local.tm_gmtoff / 60);
    unsigned minutes = (unsigned)(east < 0 ? -east : east) % (24 * 60);
    snprintf(out, 40, "%s, %d %s %d %02d:%02d:%02d %c%02u%02u", days[local.tm_wday], local.tm_mday,
             months[local.tm_mon], local.tm_year + 1900, local.tm_hour, local.tm_min, local.tm_sec,
             east < 0 ? '-' : '+', minutes / 60, minutes % 60);
    return out;
}
