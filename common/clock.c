#include "common/clock.h"

#include "common/list.h"

#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t real_wall_ms(const struct clock *clock)
{
    (void)clock;
    return read_us(CLOCK_REALTIME) / 1000;
}

static int64_t real_monotonic_us(const struct clock *clock)
{
    (void)clock;
    return read_us(CLOCK_MONOTONIC);
}

const struct clock real_clock = {real_wall_ms, real_monotonic_us};

static int64_t manual_wall_ms(const struct clock *clock)
{
    const struct manual_clock *manual = CONTAINER_OF(clock, const struct manual_clock, clock);

    return atomic_load(&manual->wall_base_ms) + atomic_load(&manual->now_us) / 1000;
}

static int64_t manual_monotonic_us(const struct clock *clock)
{
    return atomic_load(&CONTAINER_OF(clock, const struct manual_clock, clock)->now_us);
}

void manual_clock_init(struct manual_clock *manual, int64_t wall_ms)
{
    manual->clock = (struct clock){manual_wall_ms, manual_monotonic_us};
    atomic_init(&manual->now_us, 0);
    atomic_init(&manual->wall_base_ms, wall_ms);
}

void manual_clock_advance_ms(struct manual_clock *manual, int64_t ms)
{
    atomic_fetch_add(&manual->now_us, ms * 1000);
}
