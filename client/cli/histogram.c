#include "client/cli/histogram.h"

/* Values below HISTOGRAM_STEPS have a bucket each; above, every power of two has HISTOGRAM_STEPS buckets. */
static unsigned bucket_of(uint64_t value)
{
    unsigned octave = 0;

    while (value >> octave >= 2 * HISTOGRAM_STEPS)
        octave++;
    if (value < HISTOGRAM_STEPS)
        return (unsigned)value;
    return (octave + 1) * HISTOGRAM_STEPS + (unsigned)((value >> octave) - HISTOGRAM_STEPS);
}

static uint64_t upper_edge(unsigned bucket)
{
    unsigned octave = bucket / HISTOGRAM_STEPS;

    if (octave == 0)
        return bucket;
    return ((uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1) << (octave - 1)) - 1;
}

void histogram_add(struct histogram *histogram, int64_t duration_us)
{
    uint64_t value = duration_us < 0 ? 0 : (uint64_t)duration_us;

    if (value >= HISTOGRAM_US_LIMIT)
        value = HISTOGRAM_US_LIMIT - 1;
    histogram->buckets[bucket_of(value)]++;
    histogram->count++;
    histogram->sum_us += value;
    if (value > histogram->max_us)
        histogram->max_us = value;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    double wanted = (double)histogram->count * percent / 100.0;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && histogram->count > 0; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t edge = upper_edge(i);

            return edge < histogram->max_us ? edge : histogram->max_us;
        }
    }
    return histogram->max_us;
}
