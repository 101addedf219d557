/* The text files of a log directory: offset checkpoints, the clean-stop marker, partition.metadata,
 * meta.properties. */
#include "broker/log/checkpoint.h"
#include "broker/log/meta_properties.h"
#include "broker/log/partition_metadata.h"
#include "tests/support/temp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define KAFKA_DATA "tests/vectors/kafka-data"

static void text_that_is_no_offset_checkpoint_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "1\n0\n",
        "0\n",
        "0\n1\n",
        "0\n-1\n",
        "0\n1\ntopic 0\n",
        "0\n1\ntopic x 5\n",
        "0\n1\ntopic -1 5\n",
        "0\n1\ntopic 0 -1\n",
        "0\n1\ntopic 0 5 6\n",
        "0\n1\ntopic 2147483648 5\n",
        "0\n1\ntopic 0 9223372036854775808\n",
        "0\n0\ntopic 0 5\n",
        "0\n2\ntopic 0 5\n",
        "0\n99999999999\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct offset_checkpoint *checkpoint;
        const char *reason = NULL;

        assert_int_equal(offset_checkpoint_parse(str_of(bad[i]), &checkpoint, &reason), PST_CORRUPT);
        assert_non_null(reason);
    }
}

static void a_cut_checkpoint_never_passes_for_a_whole_one(void **state)
{
    struct offset_checkpoint *checkpoint;
    size_t length;
    char *text = file_get(KAFKA_DATA "/recovery-point-offset-checkpoint", &length);

    (void)state;
    /* Without its last two characters the file lacks the last offset; shorter, it lacks more. */
    for (size_t cut = 0; cut + 2 <= length; cut++) {
        if (offset_checkpoint_parse(str_of_bytes(text, cut), &checkpoint, NULL) == PST_OK)
            fail_msg("%zu of %zu bytes were accepted", cut, length);
    }
    free(text);
}

static void partitions_are_found_and_others_are_not(void **state)
{
    struct offset_checkpoint *checkpoint = offset_checkpoint_new();
    char name[32];

    (void)state;
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "topic%d", (i * 7919) % 1000);
        assert_int_equal(offset_checkpoint_add(checkpoint, str_of(name), i / 1000, i), PST_OK);
    }
    for (int sorted = 0; sorted < 2; sorted++) {
        assert_int_equal(offset_checkpoint_find(checkpoint, str_of("topic919"), 0), 1);
        assert_int_equal(offset_checkpoint_find(checkpoint, str_of("topic919"), 2), 2001);
        assert_int_equal(offset_checkpoint_find(checkpoint, str_of("topic919"), 3), -1);
        assert_int_equal(offset_checkpoint_find(checkpoint, str_of("topic1000"), 0), -1);
        assert_int_equal(offset_checkpoint_find(checkpoint, str_of(""), 0), -1);
        offset_checkpoint_sort(checkpoint);
    }
    offset_checkpoint_free(checkpoint);
}

static void kafkas_own_checkpoints_are_written_back_byte_for_byte(void **state)
{
    static const struct {
        const char *name;
        unsigned count;
        const char *topic;
        int64_t offset;
    } rows[] = {
        {CHECKPOINT_RECOVERY_POINT_FILE, 119, "txn", 10},
        {CHECKPOINT_HIGH_WATERMARK_FILE, 119, "codec-gzip", 300},
        {CHECKPOINT_LOG_START_FILE, 0, "txn", -1},
        {CHECKPOINT_CLEANER_FILE, 1, "compacted", 1500},
    };
    char *dir = temp_dir_make();

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct offset_checkpoint *checkpoint;
        size_t want_length, got_length;
        char *want, *got;

        assert_int_equal(offset_checkpoint_load(KAFKA_DATA, rows[i].name, &checkpoint, NULL), PST_OK);
        assert_int_equal(offset_checkpoint_count(checkpoint), rows[i].count);
        assert_int_equal(offset_checkpoint_find(checkpoint, str_of(rows[i].topic), 0), rows[i].offset);
        assert_int_equal(offset_checkpoint_save(checkpoint, &posix_files, dir, rows[i].name), PST_OK);
        want = file_get(path_in(KAFKA_DATA, rows[i].name), &want_length);
        got = file_get(path_in(dir, rows[i].name), &got_length);
        assert_int_equal(got_length, want_length);
        assert_memory_equal(got, want, want_length);
        free(want);
        free(got);
        offset_checkpoint_free(checkpoint);
    }
    temp_dir_remove(dir);
}

static void the_marker_of_a_clean_stop_comes_and_goes(void **state)
{
    char *dir = temp_dir_make();
    size_t length;
    char *text;

    (void)state;
    assert_false(clean_shutdown_exists(dir));
    assert_int_equal(clean_shutdown_remove(&posix_files, dir), PST_OK);
    assert_int_equal(clean_shutdown_write(&posix_files, dir, 12), PST_OK);
    assert_true(clean_shutdown_exists(dir));
    text = file_get(path_in(dir, ".kafka_cleanshutdown"), &length);
    assert_string_equal(text, "{\"version\":0,\"brokerEpoch\":12}");
    assert_int_equal(clean_shutdown_remove(&posix_files, dir), PST_OK);
    assert_false(clean_shutdown_exists(dir));
    free(text);
    temp_dir_remove(dir);
}

static void partition_metadata_of_another_form_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "version: 0\n",
        "version: 1\ntopic_id: T15qQX6qRqW1nqwuswLmLg",
        "version: x\ntopic_id: T15qQX6qRqW1nqwuswLmLg",
        "version: 0\ntopic_id: T15qQX6qRqW1nqwuswLmL",
        "version: 0\ntopic_id: T15qQX6qRqW1nqwuswLm*g",
        "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
        "version: 0\ntopic_id: T15qQX6qRqW1nqwuswLmLg\nmore: 1",
        "topic_id: T15qQX6qRqW1nqwuswLmLg\nversion: 0",
    };
    struct uuid id;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *reason = NULL;

        assert_int_equal(partition_metadata_parse(str_of(bad[i]), &id, &reason), PST_CORRUPT);
        assert_non_null(reason);
    }
}

static void partition_metadata_is_kafkas_byte_for_byte(void **state)
{
    char text_id[UUID_TEXT_LENGTH + 1];
    char *dir = temp_dir_make();
    size_t want_length, got_length;
    char *want, *got;
    struct uuid id;

    (void)state;
    assert_int_equal(partition_metadata_load(dir, &id, NULL), PST_NOT_FOUND);
    assert_int_equal(partition_metadata_load(KAFKA_DATA "/txn-0", &id, NULL), PST_OK);
    uuid_format(&id, text_id);
    assert_string_equal(text_id, "T15qQX6qRqW1nqwuswLmLg");
    assert_int_equal(partition_metadata_save(&posix_files, dir, &id), PST_OK);
    want = file_get(KAFKA_DATA "/txn-0/partition.metadata", &want_length);
    got = file_get(path_in(dir, "partition.metadata"), &got_length);
    assert_int_equal(got_length, want_length);
    assert_memory_equal(got, want, want_length);
    free(want);
    free(got);
    temp_dir_remove(dir);
}

static void meta_properties_that_cannot_be_ours_are_refused(void **state)
{
    static const struct {
        const char *text;
        enum pst_status status;
    } rows[] = {
        {"", PST_CORRUPT},
        {"cluster.id=c\nnode.id=1\n", PST_CORRUPT},
        {"version=1\nnode.id=1\n", PST_CORRUPT},
        {"version=1\ncluster.id=c\n", PST_CORRUPT},
        {"version=1\ncluster.id=c\nnode.id=-1\n", PST_CORRUPT},
        {"version=1\ncluster.id=c\nnode.id=x\n", PST_CORRUPT},
        {"version=1\ncluster.id=c\nnode.id=2147483648\n", PST_CORRUPT},
        {"version=1\ncluster.id=c\nnode.id=1\ndirectory.id=short\n", PST_CORRUPT},
        {"version=1\ncluster.id=c\\u0041\nnode.id=1\n", PST_CORRUPT},
        {"version=2\ncluster.id=c\nnode.id=1\n", PST_UNSUPPORTED},
        {"version=-1\ncluster.id=c\nnode.id=1\n", PST_UNSUPPORTED},
    };
    struct meta_properties properties;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *reason = NULL;

        assert_int_equal(meta_properties_parse(str_of(rows[i].text), &properties, &reason), rows[i].status);
        assert_non_null(reason);
    }
}

static void meta_properties_are_read_as_java_writes_them(void **state)
{
    static const struct {
        const char *text;
        int version;
        const char *cluster_id;
        int32_t node_id;
    } rows[] = {
        {"#x\n!y\n\n version = 1 \ncluster.id:abc\n\tnode.id 7", 1, "abc", 7},
        {"version=0\nbroker.id=3\n", 0, "", 3},
        {"version=0\r\nbroker.id=3\r\ncluster.id=c\r\n", 0, "c", 3},
        {"version=0\n", 0, "", NO_NODE_ID},
        {"other=5\nversion=1\ncluster.id=c\nnode.id=0\nnode.id=9\n", 1, "c", 9},
    };
    struct meta_properties properties;

    (void)state;
    for (size_t i = 1; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(meta_properties_parse(str_of(rows[i].text), &properties, NULL), PST_OK);
        assert_int_equal(properties.version, rows[i].version);
        assert_string_equal(properties.cluster_id, rows[i].cluster_id);
        assert_int_equal(properties.node_id, rows[i].node_id);
    }
    /* Java keeps blanks behind a value; "1 " is no number there either. */
    assert_int_equal(meta_properties_parse(str_of(rows[0].text), &properties, NULL), PST_CORRUPT);
}

static void kafkas_meta_properties_load_and_ours_load_again(void **state)
{
    struct meta_properties kafkas, ours;
    char directory_id[UUID_TEXT_LENGTH + 1];
    char *dir = temp_dir_make();

    (void)state;
    assert_int_equal(meta_properties_load(dir, &kafkas, NULL), PST_NOT_FOUND);
    assert_int_equal(meta_properties_load(KAFKA_DATA, &kafkas, NULL), PST_OK);
    assert_int_equal(kafkas.version, 1);
    assert_int_equal(kafkas.node_id, 1);
    assert_string_equal(kafkas.cluster_id, "penstockVectorsAAAAAAAA");
    uuid_format(&kafkas.directory_id, directory_id);
    assert_string_equal(directory_id, "hQk_svicSMrL8t-CuN0q9A");
    assert_int_equal(meta_properties_save(&posix_files, dir, &kafkas), PST_OK);
    assert_int_equal(meta_properties_load(dir, &ours, NULL), PST_OK);
    assert_memory_equal(&ours, &kafkas, sizeof ours);
    temp_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_is_no_offset_checkpoint_is_refused),
        cmocka_unit_test(a_cut_checkpoint_never_passes_for_a_whole_one),
        cmocka_unit_test(partitions_are_found_and_others_are_not),
        cmocka_unit_test(kafkas_own_checkpoints_are_written_back_byte_for_byte),
        cmocka_unit_test(the_marker_of_a_clean_stop_comes_and_goes),
        cmocka_unit_test(partition_metadata_of_another_form_is_refused),
        cmocka_unit_test(partition_metadata_is_kafkas_byte_for_byte),
        cmocka_unit_test(meta_properties_that_cannot_be_ours_are_refused),
        cmocka_unit_test(meta_properties_are_read_as_java_writes_them),
        cmocka_unit_test(kafkas_meta_properties_load_and_ours_load_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
