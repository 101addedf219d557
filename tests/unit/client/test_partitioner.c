#include "client/partitioner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Values of Java's client (Kafka's UtilsTest). */
static void murmur2_gives_what_java_gives(void **state)
{
    static const struct {
        const char *key;
        int32_t hash;
    } rows[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
        {"", 275646681},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal((int32_t)partitioner_murmur2(rows[i].key, strlen(rows[i].key)), rows[i].hash);
}

static void a_negative_hash_still_gives_a_partition_as_in_java(void **state)
{
    (void)state;
    /* toPositive(-973932308) = 1173551340 */
    assert_int_equal(partitioner_choose(PARTITIONER_MURMUR2, STR_LITERAL("21"), 7, 0), 1173551340 % 7);
    assert_int_equal(partitioner_choose(PARTITIONER_MURMUR2_RANDOM, STR_LITERAL("21"), 1000, 5), 340);
}

static void a_record_without_key_is_left_to_the_sticky_choice_only_by_murmur2(void **state)
{
    (void)state;
    assert_int_equal(partitioner_choose(PARTITIONER_MURMUR2, str_null(), 8, 3), -1);
    assert_int_equal(partitioner_choose(PARTITIONER_MURMUR2_RANDOM, str_null(), 8, 11), 3);
    assert_int_equal(partitioner_choose(PARTITIONER_RANDOM, STR_LITERAL("k"), 8, 13), 5);
    assert_int_equal(partitioner_choose(PARTITIONER_CONSISTENT_RANDOM, STR_LITERAL(""), 8, 6), 6);
    assert_int_equal(partitioner_choose(PARTITIONER_CONSISTENT, str_null(), 8, 6), 0);
}

static void an_empty_key_is_a_key_for_murmur2(void **state)
{
    (void)state;
    assert_int_equal(partitioner_choose(PARTITIONER_MURMUR2, STR_LITERAL(""), 100, 0), 275646681 % 100);
}

static void consistent_is_crc32_of_the_key(void **state)
{
    (void)state;
    /* CRC-32 of "123456789" is 0xcbf43926 */
    assert_int_equal(partitioner_choose(PARTITIONER_CONSISTENT, STR_LITERAL("123456789"), 1000, 0),
                     0xcbf43926u % 1000);
    assert_int_equal(partitioner_choose(PARTITIONER_CONSISTENT_RANDOM, STR_LITERAL("123456789"), 1000, 7),
                     0xcbf43926u % 1000);
}

static void the_next_sticky_partition_is_another_one_when_there_is_one(void **state)
{
    (void)state;
    assert_int_equal(partitioner_next_sticky(-1, 1, 99), 0);
    assert_int_equal(partitioner_next_sticky(0, 1, 99), 0);
    for (uint64_t random = 0; random < 100; random++) {
        int32_t next = partitioner_next_sticky(2, 4, random);

        assert_in_range(next, 0, 3);
        assert_int_not_equal(next, 2);
        assert_in_range(partitioner_next_sticky(-1, 4, random), 0, 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(murmur2_gives_what_java_gives),
        cmocka_unit_test(a_negative_hash_still_gives_a_partition_as_in_java),
        cmocka_unit_test(a_record_without_key_is_left_to_the_sticky_choice_only_by_murmur2),
        cmocka_unit_test(an_empty_key_is_a_key_for_murmur2),
        cmocka_unit_test(consistent_is_crc32_of_the_key),
        cmocka_unit_test(the_next_sticky_partition_is_another_one_when_there_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
