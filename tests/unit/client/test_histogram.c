/* Percentiles: exact for small values, within 1/64 for large ones, never above the maximum. */
#include "client/cli/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void an_empty_one_has_no_durations(void **state)
{
    struct histogram histogram = {.count = 0};

    (void)state;
    assert_int_equal(histogram_percentile(&histogram, 99), 0);
}

static void out_of_range_durations_count_as_the_nearest(void **state)
{
    struct histogram histogram = {.count = 0};

    (void)state;
    histogram_add(&histogram, -5);
    histogram_add(&histogram, INT64_MAX);
    assert_int_equal(histogram.count, 2);
    assert_int_equal(histogram_percentile(&histogram, 50), 0);
    assert_int_equal(histogram_percentile(&histogram, 100), HISTOGRAM_US_LIMIT - 1);
}

static void every_value_is_found_within_a_64th(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < HISTOGRAM_US_LIMIT; value += value / 7 + 1) {
        struct histogram histogram = {.count = 0};
        uint64_t found;

        histogram_add(&histogram, (int64_t)value);
        histogram_add(&histogram, INT64_MAX); /* so that the maximum does not hide the bucket's edge */
        found = histogram_percentile(&histogram, 50);
        assert_true(found >= value && found - value <= value / HISTOGRAM_STEPS);
    }
}

static void percentiles_split_the_durations(void **state)
{
    struct histogram histogram = {.count = 0};

    (void)state;
    for (int i = 1; i <= 1000; i++)
        histogram_add(&histogram, i);
    assert_in_range(histogram_percentile(&histogram, 50), 500, 508);
    assert_in_range(histogram_percentile(&histogram, 99), 990, 1000);
    assert_int_equal(histogram_percentile(&histogram, 100), 1000);
    assert_int_equal(histogram.sum_us, 500500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_has_no_durations),
        cmocka_unit_test(out_of_range_durations_count_as_the_nearest),
        cmocka_unit_test(every_value_is_found_within_a_64th),
        cmocka_unit_test(percentiles_split_the_durations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
