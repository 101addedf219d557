/* Batches Kafka made, and batches of our own through every codec. */
#include "common/crc32c.h"
#include "protocol/record_batch.h"
#include "tests/support/lines.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define INFLATED_MAX (16u << 20)

static void assert_part(json_t *expected, struct str part)
{
    size_t length;
    uint8_t *bytes;

    if (json_is_null(expected)) {
        assert_true(str_is_null(part));
        return;
    }
    bytes = hex_decode(json_string_value(expected), json_string_length(expected), &length);
    assert_false(str_is_null(part));
    assert_int_equal(part.length, length);
    if (length > 0)
        assert_memory_equal(part.at, bytes, length);
    free(bytes);
}

static int64_t number(json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void check_records(json_t *expected, const uint8_t *bytes, size_t length)
{
    struct record_walker *walker;
    struct record record;

    assert_int_equal(record_walker_open(bytes, length, INFLATED_MAX, &walker), PST_OK);
    for (size_t i = 0; i < json_array_size(expected); i++) {
        json_t *want = json_array_get(expected, i);
        json_t *headers = json_object_get(want, "headers");

        assert_int_equal(record_walker_next(walker, &record), PST_OK);
        assert_int_equal(record.offset, number(want, "offset"));
        assert_int_equal(record.timestamp_ms, number(want, "timestamp"));
        assert_part(json_object_get(want, "key"), record.key);
        assert_part(json_object_get(want, "value"), record.value);
        assert_int_equal(record.header_count, json_array_size(headers));
        for (size_t k = 0; k < json_array_size(headers); k++) {
            struct record_header header;

            assert_true(record_header_next(&record.raw_headers, &header));
            assert_false(str_is_null(header.key));
        }
        assert_int_equal(record.raw_headers.length, 0);
    }
    assert_int_equal(record_walker_next(walker, &record), PST_EOF);
    record_walker_close(walker);
}

static void check_damage(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length);

    for (size_t i = RECORD_BATCH_CRC_FROM; i < length; i += length / 40 + 1) {
        memcpy(copy, bytes, length);
        copy[i] ^= 0x10;
        assert_false(record_batch_crc_fits(copy, length));
    }
    for (size_t cut = 0; cut < length;
         cut += length / 60 + 1) { /* exact copies, so that a sanitizer sees overreads */
        uint8_t *exact = malloc(cut + 1);
        struct record_batch_survey survey;

        memcpy(exact, bytes, cut);
        assert_int_not_equal(record_batch_survey(exact, cut, INFLATED_MAX, 0, INT64_MAX, &survey), PST_OK);
        free(exact);
    }
    free(copy);
}

static void batch_line(char *line, size_t line_length, void *arg)
{
    json_t *json = json_loadb(line, line_length, JSON_DECODE_ANY, NULL);
    const char *hex = json_string_value(json_object_get(json, "hex"));
    struct record_batch_info info;
    struct record_batch_survey survey;
    size_t length;
    uint8_t *bytes = hex_decode(hex, strlen(hex), &length);

    (void)arg;
    assert_int_equal(record_batch_read_header(bytes, length, &info), PST_OK);
    assert_int_equal(info.size_bytes, length);
    assert_int_equal(info.base_offset, number(json, "baseOffset"));
    assert_int_equal(info.last_offset, number(json, "lastOffset"));
    assert_int_equal(info.max_timestamp_ms, number(json, "maxTimestamp"));
    assert_int_equal(info.producer_id, number(json, "producerId"));
    assert_int_equal(info.producer_epoch, number(json, "producerEpoch"));
    assert_int_equal(info.base_sequence, number(json, "baseSequence"));
    assert_int_equal(info.leader_epoch, number(json, "leaderEpoch"));
    assert_int_equal(info.crc, number(json, "crc"));
    assert_true(record_batch_crc_fits(bytes, length));
    assert_int_equal(record_batch_survey(bytes, length, INFLATED_MAX, 0, INT64_MAX, &survey), PST_OK);
    assert_int_equal(survey.max_timestamp_ms, info.max_timestamp_ms);
    if (json_object_get(json, "records") != NULL) /* markers are listed without */
        check_records(json_object_get(json, "records"), bytes, length);
    check_damage(bytes, length);
    free(bytes);
    json_decref(json);
}

static void every_batch_kafka_made_gives_its_records(void **state)
{
    (void)state;
    assert_int_equal(lines_each("tests/vectors/batches.jsonl.gz", batch_line, NULL), 62);
}

static struct str build(struct record_batch_builder *builder, enum compress_codec codec, int count)
{
    struct record_batch_settings settings = {.codec = codec,
                                             .compress_level = COMPRESS_LEVEL_DEFAULT,
                                             .producer_id = NO_PRODUCER_ID,
                                             .producer_epoch = -1,
                                             .base_sequence = NO_SEQUENCE,
                                             .size_max = 1 << 20};
    struct record_header header = {STR_LITERAL("trace"), STR_LITERAL("on")};
    struct str batch;
    char value[64];

    record_batch_builder_reset(builder, &settings);
    for (int i = 0; i < count; i++) {
        snprintf(value, sizeof value, "value number %d", i);
        assert_int_equal(record_batch_builder_add(builder, 1700000000000 + i,
                                                  i % 3 == 0 ? str_null() : str_of("key"), str_of(value),
                                                  &header, i % 2),
                         PST_OK);
    }
    assert_int_equal(record_batch_builder_finish(builder, &batch), PST_OK);
    return batch;
}

static void what_is_built_is_read_back_in_every_codec(void **state)
{
    struct record_batch_builder *builder = record_batch_builder_new();

    (void)state;
    for (int codec = COMPRESS_NONE; codec < COMPRESS_CODEC_COUNT; codec++) {
        struct str batch = build(builder, (enum compress_codec)codec, 500);
        struct record_walker *walker;
        struct record record;
        int count = 0;

        assert_true(record_batch_crc_fits(batch.at, batch.length));
        assert_int_equal(record_walker_open(batch.at, batch.length, INFLATED_MAX, &walker), PST_OK);
        while (record_walker_next(walker, &record) == PST_OK) {
            char value[64];

            snprintf(value, sizeof value, "value number %d", count);
            assert_true(str_equal_text(record.value, value));
            assert_int_equal(record.offset, count);
            assert_int_equal(record.timestamp_ms, 1700000000000 + count);
            assert_int_equal(str_is_null(record.key), count % 3 == 0);
            count++;
        }
        assert_int_equal(count, 500);
        record_walker_close(walker);
    }
    record_batch_builder_free(builder);
}

static void an_inflated_size_over_the_bound_is_refused(void **state)
{
    struct record_batch_builder *builder = record_batch_builder_new();
    struct record_batch_survey survey;
    struct record_walker *walker;

    (void)state;
    for (int codec = COMPRESS_GZIP; codec < COMPRESS_CODEC_COUNT; codec++) {
        struct str batch = build(builder, (enum compress_codec)codec, 3000);

        assert_int_equal(record_batch_survey(batch.at, batch.length, 1000, 0, INT64_MAX, &survey), PST_FULL);
        assert_int_equal(record_walker_open(batch.at, batch.length, 1000, &walker), PST_FULL);
    }
    record_batch_builder_free(builder);
}

static void the_survey_finds_missing_keys_and_times_outside(void **state)
{
    struct record_batch_builder *builder = record_batch_builder_new();
    struct str batch = build(builder, COMPRESS_ZSTD, 10);
    struct record_batch_survey survey;
    int64_t offset;
    int64_t timestamp_ms;

    (void)state;
    assert_int_equal(
        record_batch_survey(batch.at, batch.length, INFLATED_MAX, 1700000000000, 1700000000006, &survey),
        PST_OK);
    assert_int_equal(survey.first_null_key, 0);
    assert_int_equal(survey.first_time_outside, 7);
    assert_int_equal(survey.max_timestamp_ms, 1700000000009);
    assert_int_equal(survey.offset_of_max_timestamp_delta, 9);
    assert_int_equal(
        record_batch_find_time(batch.at, batch.length, INFLATED_MAX, 1700000000004, &offset, &timestamp_ms),
        PST_OK);
    assert_int_equal(offset, 4);
    assert_int_equal(
        record_batch_find_time(batch.at, batch.length, INFLATED_MAX, 1800000000004, &offset, &timestamp_ms),
        PST_NOT_FOUND);
    record_batch_builder_free(builder);
}

static void patches_leave_a_crc_that_fits(void **state)
{
    struct record_batch_builder *builder = record_batch_builder_new();
    struct str batch = build(builder, COMPRESS_LZ4, 10);
    struct record_batch_info info;
    void *bytes = (void *)(uintptr_t)batch.at;

    (void)state;
    record_batch_set_offsets(bytes, 12345, 7);
    assert_true(record_batch_crc_fits(bytes, batch.length));
    record_batch_set_append_time(bytes, batch.length, 42);
    assert_true(record_batch_crc_fits(bytes, batch.length));
    assert_int_equal(record_batch_read_header(bytes, batch.length, &info), PST_OK);
    assert_int_equal(info.base_offset, 12345);
    assert_int_equal(info.leader_epoch, 7);
    assert_int_equal(info.max_timestamp_ms, 42);
    assert_true((info.attributes & RECORD_BATCH_LOG_APPEND_TIME) != 0);
    record_batch_builder_free(builder);
}

static void every_crc_implementation_agrees_with_the_table(void **state)
{
    enum { SIZE = 20000 };
    uint8_t *bytes = malloc(SIZE + 8);

    (void)state;
    for (size_t i = 0; i < SIZE + 8; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283); /* the check value of CRC-32C */
    for (size_t length = 0; length < 400; length++)
        assert_int_equal(crc32c(7, bytes + length % 8, length), crc32c_table(7, bytes + length % 8, length));
    for (size_t length = 3000; length < SIZE; length += 997)
        assert_int_equal(crc32c(0, bytes + 1, length), crc32c_table(0, bytes + 1, length));
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_crc_implementation_agrees_with_the_table),
        cmocka_unit_test(an_inflated_size_over_the_bound_is_refused),
        cmocka_unit_test(every_batch_kafka_made_gives_its_records),
        cmocka_unit_test(what_is_built_is_read_back_in_every_codec),
        cmocka_unit_test(the_survey_finds_missing_keys_and_times_outside),
        cmocka_unit_test(patches_leave_a_crc_that_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
