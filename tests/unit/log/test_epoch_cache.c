/* Leader epochs and where they begin. */
#include "broker/log/epoch_cache.h"
#include "tests/support/temp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct epoch_cache *cache_of(const struct epoch_entry *entries, unsigned count)
{
    struct epoch_cache *cache = epoch_cache_new();
    bool changed;

    assert_non_null(cache);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(epoch_cache_assign(cache, entries[i].epoch, entries[i].start_offset, &changed),
                         PST_OK);
    return cache;
}

static const struct epoch_entry three[] = {{2, 10}, {4, 20}, {7, 35}};

static void text_that_is_not_a_checkpoint_is_refused_and_changes_nothing(void **state)
{
    static const char *const bad[] = {
        "",
        "1\n0\n",
        "0",
        "0\n",
        "0\nx\n",
        "0\n-1\n",
        "0\n1\n",
        "0\n1\n1\n",
        "0\n1\n1 x\n",
        "0\n1\n-1 0\n",
        "0\n1\n1 2 3\n",
        "0\n0\n1 2\n",
        "0\n2\n1 5\n1 6\n",
        "0\n2\n2 5\n1 6\n",
        "0\n2\n1 5\n2 5\n",
        "0\n1\n2147483648 0\n",
        "0\n1\n1 9223372036854775808\n",
        "0\n2000000000\n",
        "0 0\n0\n",
    };
    struct epoch_cache *cache = cache_of(three, 3);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *reason = NULL;

        assert_int_equal(epoch_cache_parse(cache, str_of(bad[i]), &reason), PST_CORRUPT);
        assert_non_null(reason);
        assert_int_equal(epoch_cache_count(cache), 3);
    }
    epoch_cache_free(cache);
}

static void what_is_saved_loads_again_and_looks_like_kafkas(void **state)
{
    struct epoch_cache *cache = cache_of(three, 3);
    struct epoch_cache *again = epoch_cache_new();
    char *dir = temp_dir_make();
    size_t length;
    char *text;

    (void)state;
    assert_int_equal(epoch_cache_load(again, dir, NULL), PST_OK); /* no file: empty */
    assert_int_equal(epoch_cache_count(again), 0);
    assert_int_equal(epoch_cache_save(cache, &posix_files, dir), PST_OK);
    text = file_get(path_in(dir, "leader-epoch-checkpoint"), &length);
    assert_string_equal(text, "0\n3\n2 10\n4 20\n7 35\n");
    assert_int_equal(epoch_cache_load(again, dir, NULL), PST_OK);
    assert_int_equal(epoch_cache_count(again), 3);
    assert_int_equal(epoch_cache_entry(again, 1).epoch, 4);
    assert_int_equal(epoch_cache_entry(again, 1).start_offset, 20);
    free(text);
    epoch_cache_free(cache);
    epoch_cache_free(again);
    temp_dir_remove(dir);
}

static void kafkas_own_file_is_written_back_byte_for_byte(void **state)
{
    struct epoch_cache *cache = epoch_cache_new();
    char *dir = temp_dir_make();
    size_t want_length, got_length;
    char *want, *got;

    (void)state;
    assert_int_equal(epoch_cache_load(cache, "tests/vectors/kafka-data/txn-0", NULL), PST_OK);
    assert_int_equal(epoch_cache_count(cache), 1);
    assert_int_equal(epoch_cache_save(cache, &posix_files, dir), PST_OK);
    want = file_get("tests/vectors/kafka-data/txn-0/" EPOCH_CACHE_FILE, &want_length);
    got = file_get(path_in(dir, EPOCH_CACHE_FILE), &got_length);
    assert_int_equal(got_length, want_length);
    assert_memory_equal(got, want, want_length);
    free(want);
    free(got);
    epoch_cache_free(cache);
    temp_dir_remove(dir);
}

static void a_new_epoch_drops_what_contradicts_it(void **state)
{
    static const struct {
        struct epoch_entry add;
        bool changed;
        unsigned count;
        struct epoch_entry last;
    } rows[] = {
        {{8, 40}, true, 4, {8, 40}},   {{7, 50}, false, 3, {7, 35}}, {{7, 35}, false, 3, {7, 35}},
        {{7, 30}, true, 3, {7, 30}},   {{8, 35}, true, 3, {8, 35}},  {{5, 30}, true, 3, {5, 30}},
        {{3, 100}, true, 2, {3, 100}}, {{9, 15}, true, 2, {9, 15}},  {{1, 5}, true, 1, {1, 5}},
        {{0, 0}, true, 1, {0, 0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct epoch_cache *cache = cache_of(three, 3);
        struct epoch_entry last;
        bool changed;

        assert_int_equal(epoch_cache_assign(cache, rows[i].add.epoch, rows[i].add.start_offset, &changed),
                         PST_OK);
        assert_int_equal(changed, rows[i].changed);
        assert_int_equal(epoch_cache_count(cache), rows[i].count);
        last = epoch_cache_entry(cache, rows[i].count - 1);
        assert_int_equal(last.epoch, rows[i].last.epoch);
        assert_int_equal(last.start_offset, rows[i].last.start_offset);
        epoch_cache_free(cache);
    }
}

static void negative_epochs_and_offsets_are_invalid(void **state)
{
    struct epoch_cache *cache = epoch_cache_new();
    bool changed;

    (void)state;
    assert_int_equal(epoch_cache_assign(cache, -1, 0, &changed), PST_INVALID);
    assert_int_equal(epoch_cache_assign(cache, 0, -1, &changed), PST_INVALID);
    assert_int_equal(epoch_cache_latest(cache), NO_EPOCH);
    epoch_cache_free(cache);
}

static void the_end_of_an_epoch_is_kafkas_answer(void **state)
{
    static const struct {
        int32_t asked;
        int32_t epoch;
        int64_t end_offset;
    } rows[] = {
        {-1, -1, -1}, {0, 0, 10}, {1, 1, 10},  {2, 2, 20},  {3, 2, 20},
        {4, 4, 35},   {5, 4, 35}, {7, 7, 100}, {8, -1, -1}, {INT32_MAX, -1, -1},
    };
    struct epoch_cache *cache = cache_of(three, 3);
    struct epoch_cache *empty = epoch_cache_new();
    int64_t end_offset;
    int32_t epoch;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        epoch_cache_end(cache, rows[i].asked, 100, &epoch, &end_offset);
        assert_int_equal(epoch, rows[i].epoch);
        assert_int_equal(end_offset, rows[i].end_offset);
    }
    epoch_cache_end(empty, 0, 100, &epoch, &end_offset);
    assert_int_equal(epoch, -1);
    assert_int_equal(end_offset, -1);
    epoch_cache_free(cache);
    epoch_cache_free(empty);
}

static void the_epoch_of_an_offset_is_found(void **state)
{
    static const struct {
        int64_t offset;
        int32_t epoch;
    } rows[] = {{0, -1}, {9, -1}, {10, 2}, {19, 2}, {20, 4}, {34, 4}, {35, 7}, {INT64_MAX, 7}};
    struct epoch_cache *cache = cache_of(three, 3);

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(epoch_cache_at(cache, rows[i].offset), rows[i].epoch);
    epoch_cache_free(cache);
}

static void truncation_keeps_the_epoch_of_the_first_record(void **state)
{
    static const struct {
        int64_t start_offset;
        bool changed;
        unsigned count;
        struct epoch_entry first;
    } rows[] = {
        {0, false, 3, {2, 10}}, {10, false, 3, {2, 10}}, {15, true, 3, {2, 15}},
        {20, true, 2, {4, 20}}, {36, true, 1, {7, 36}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct epoch_cache *cache = cache_of(three, 3);
        struct epoch_entry first;

        assert_int_equal(epoch_cache_truncate_from_start(cache, rows[i].start_offset), rows[i].changed);
        assert_int_equal(epoch_cache_count(cache), rows[i].count);
        first = epoch_cache_entry(cache, 0);
        assert_int_equal(first.epoch, rows[i].first.epoch);
        assert_int_equal(first.start_offset, rows[i].first.start_offset);
        epoch_cache_free(cache);
    }
}

static void truncation_from_the_end_drops_epochs_that_begin_there(void **state)
{
    struct epoch_cache *cache = cache_of(three, 3);

    (void)state;
    assert_false(epoch_cache_truncate_from_end(cache, 36));
    assert_true(epoch_cache_truncate_from_end(cache, 35));
    assert_int_equal(epoch_cache_latest(cache), 4);
    assert_true(epoch_cache_truncate_from_end(cache, 0));
    assert_int_equal(epoch_cache_latest(cache), NO_EPOCH);
    epoch_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_is_not_a_checkpoint_is_refused_and_changes_nothing),
        cmocka_unit_test(what_is_saved_loads_again_and_looks_like_kafkas),
        cmocka_unit_test(kafkas_own_file_is_written_back_byte_for_byte),
        cmocka_unit_test(a_new_epoch_drops_what_contradicts_it),
        cmocka_unit_test(negative_epochs_and_offsets_are_invalid),
        cmocka_unit_test(the_end_of_an_epoch_is_kafkas_answer),
        cmocka_unit_test(the_epoch_of_an_offset_is_found),
        cmocka_unit_test(truncation_keeps_the_epoch_of_the_first_record),
        cmocka_unit_test(truncation_from_the_end_drops_epochs_that_begin_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
