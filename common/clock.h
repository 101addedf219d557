/* Time comes through a seam: domain code never calls time() or clock_gettime() itself.
 *
 * Any thread may read a clock.  Tests use a manual clock and move it by hand. */
#ifndef PENSTOCK_COMMON_CLOCK_H
#define PENSTOCK_COMMON_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

struct clock {
    int64_t (*wall_ms)(const struct clock *clock);      /* since 1970-01-01 UTC, as Kafka's timestamps */
    int64_t (*monotonic_us)(const struct clock *clock); /* never goes back; origin unspecified */
};

extern const struct clock real_clock;

struct manual_clock {
    struct clock clock; /* pass &manual.clock */
    _Atomic int64_t now_us;
    _Atomic int64_t wall_base_ms; /* wall time at now_us == 0 */
};

void manual_clock_init(struct manual_clock *manual, int64_t wall_ms);
void manual_clock_advance_ms(struct manual_clock *manual, int64_t ms);

static inline int64_t clock_wall_ms(const struct clock *clock)
{
    return clock->wall_ms(clock);
}

static inline int64_t clock_monotonic_us(const struct clock *clock)
{
    return clock->monotonic_us(clock);
}

#endif
