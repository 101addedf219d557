/* Counts durations into buckets that are never wider than 1/64 of the value, in fixed memory.
 *
 * Thread: its user's.  Unit: microseconds, from 0 to about 18 minutes; longer ones count as that. */
#ifndef PENSTOCK_CLIENT_CLI_HISTOGRAM_H
#define PENSTOCK_CLIENT_CLI_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS    64u /* per power of two */
#define HISTOGRAM_OCTAVES  25u
#define HISTOGRAM_BUCKETS  (HISTOGRAM_STEPS * HISTOGRAM_OCTAVES)
#define HISTOGRAM_US_LIMIT ((uint64_t)HISTOGRAM_STEPS << (HISTOGRAM_OCTAVES - 1))

/* Zeros are an empty one. */
struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t sum_us;
    uint64_t max_us;
};

/* Negative durations count as 0. */
void histogram_add(struct histogram *histogram, int64_t duration_us);
/* Upper edge of the bucket below which `percent` (0 to 100) of the durations lie, never above the maximum; 0
 * when empty. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

#endif
