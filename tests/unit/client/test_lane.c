#include "client/lane.h"

#include "protocol/error_codes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BATCHES 8

struct fixture {
    struct lane lane;
    struct batch batches[BATCHES];
    struct identity identity;
};

/* Batches of 10 records, numbered 1.. and queued in order. */
static void prepare(struct fixture *f, bool idempotent, bool serial, int queued)
{
    memset(f, 0, sizeof *f);
    lane_init(&f->lane, idempotent, serial);
    f->identity = (struct identity){77, 0};
    for (int i = 0; i < BATCHES; i++) {
        list_init(&f->batches[i].link);
        f->batches[i].number = (uint64_t)(i + 1) << 32;
        f->batches[i].count = 10;
        f->batches[i].lane = &f->lane;
        if (i < queued)
            lane_push(&f->lane, &f->batches[i]);
    }
}

static int index_of(const struct fixture *f, const struct batch *batch)
{
    return batch == NULL ? -1 : (int)(batch - f->batches);
}

/* Sends the next one and returns its place; -1: none may go. */
static int send_next(struct fixture *f)
{
    struct batch *batch = lane_next(&f->lane, &f->identity, 0);

    if (batch != NULL)
        lane_sent(&f->lane, batch);
    return index_of(f, batch);
}

static enum lane_verdict answer(struct fixture *f, int index, pst_err_t code)
{
    return lane_answer(&f->lane, &f->batches[index], code, true);
}

static void nothing_goes_without_a_producer_id(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, 1);
    f.identity.producer_id = NO_PRODUCER_ID;
    assert_int_equal(send_next(&f), -1);
    f.identity.producer_id = 77;
    assert_int_equal(send_next(&f), 0);
}

static void at_most_five_batches_fly_and_their_numbers_follow_each_other(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, BATCHES);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(send_next(&f), i);
        assert_int_equal(f.batches[i].base_sequence, i * 10);
        assert_int_equal(f.batches[i].identity.producer_id, 77);
    }
    assert_int_equal(send_next(&f), -1);
    assert_int_equal(answer(&f, 0, PST_ERR_NONE), LANE_DONE);
    assert_int_equal(send_next(&f), 5);
}

static void without_idempotence_the_limit_is_the_connections_and_serial_means_one(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, false, false, BATCHES);
    for (int i = 0; i < BATCHES; i++)
        assert_int_equal(send_next(&f), i);
    prepare(&f, false, true, BATCHES);
    assert_int_equal(send_next(&f), 0);
    assert_int_equal(send_next(&f), -1);
    assert_int_equal(answer(&f, 0, PST_ERR_NONE), LANE_DONE);
    assert_int_equal(send_next(&f), 1);
}

static void sequence_numbers_wrap_to_zero(void **state)
{
    (void)state;
    assert_int_equal(lane_sequence_after(INT32_MAX, 1), 0);
    assert_int_equal(lane_sequence_after(INT32_MAX - 4, 10), 5);
    assert_int_equal(lane_sequence_after(0, INT32_MAX), INT32_MAX);
}

static void a_lost_connection_sends_everything_again_in_order_with_the_same_numbers(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, 5);
    for (int i = 0; i < 4; i++)
        assert_int_equal(send_next(&f), i);
    for (int i = 0; i < 4; i++)
        assert_int_equal(answer(&f, i, PST_ERR_TRANSPORT), LANE_RETRY);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(send_next(&f), i);
        assert_int_equal(f.batches[i].base_sequence, i * 10);
        assert_int_equal(f.batches[i].attempts, 2);
        if (i < 3) /* a repeated batch goes alone: the next one's fate is open too */
            assert_int_equal(send_next(&f), -1);
        assert_int_equal(answer(&f, i, i == 0 ? KAFKA_DUPLICATE_SEQUENCE_NUMBER : PST_ERR_NONE), LANE_DONE);
    }
    assert_int_equal(send_next(&f), 4);
    assert_int_equal(f.batches[4].base_sequence, 40);
}

static void a_batch_that_comes_back_waits_for_nobody_behind_it(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, 4);
    for (int i = 0; i < 3; i++)
        send_next(&f);
    assert_int_equal(answer(&f, 0, KAFKA_NOT_LEADER_OR_FOLLOWER), LANE_RETRY);
    assert_int_equal(send_next(&f), 0); /* 1 and 2 fly, and will be refused */
    assert_int_equal(answer(&f, 1, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER), LANE_RETRY);
    assert_int_equal(answer(&f, 2, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER), LANE_RETRY);
    assert_false(f.lane.wants_epoch);
    assert_int_equal(send_next(&f), -1);
    assert_int_equal(answer(&f, 0, PST_ERR_NONE), LANE_DONE);
    assert_int_equal(send_next(&f), 1);
    assert_int_equal(f.batches[1].base_sequence, 10);
}

static void a_batch_waiting_out_its_pause_holds_those_behind_it(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, 2);
    send_next(&f);
    assert_int_equal(answer(&f, 0, PST_ERR_TRANSPORT), LANE_RETRY);
    f.batches[0].retry_at_us = 1000;
    assert_null(lane_next(&f.lane, &f.identity, 999));
    assert_ptr_equal(lane_next(&f.lane, &f.identity, 1000), &f.batches[0]);
}

static void a_broker_that_lost_our_state_gets_a_new_epoch_from_zero(void **state)
{
    static const pst_err_t codes[] = {KAFKA_UNKNOWN_PRODUCER_ID, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER,
                                      KAFKA_INVALID_PRODUCER_EPOCH};

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct fixture f;

        prepare(&f, true, false, 5);
        f.lane.identity = f.identity;
        f.lane.next_sequence = 500;
        for (int k = 0; k < 3; k++)
            assert_int_equal(send_next(&f), k);
        assert_int_equal(answer(&f, 0, codes[i]), LANE_RETRY);
        assert_true(f.lane.wants_epoch);
        assert_int_equal(f.lane.wants_new_id, codes[i] == KAFKA_INVALID_PRODUCER_EPOCH);
        assert_int_equal(send_next(&f), -1); /* the same identity is no use */
        f.identity.epoch = 1;
        assert_int_equal(send_next(&f), -1); /* two still fly */
        assert_int_equal(answer(&f, 1, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER), LANE_RETRY);
        assert_int_equal(answer(&f, 2, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER), LANE_RETRY);
        for (int k = 0; k < 5; k++) {
            assert_int_equal(send_next(&f), k);
            assert_int_equal(f.batches[k].base_sequence, k * 10);
            assert_int_equal(f.batches[k].identity.epoch, 1);
            assert_int_equal(answer(&f, k, PST_ERR_NONE), LANE_DONE);
        }
    }
}

static void a_batch_failed_for_good_ends_the_epoch_once_the_numbered_ones_are_through(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, 4);
    send_next(&f);
    send_next(&f);
    assert_int_equal(answer(&f, 0, KAFKA_INVALID_RECORD), LANE_FAIL);
    assert_int_equal(send_next(&f), -1); /* 2 has no number yet and must not get one of this epoch */
    assert_int_equal(answer(&f, 1, PST_ERR_TRANSPORT), LANE_RETRY);
    assert_int_equal(send_next(&f), 1); /* its fate is open: same number */
    assert_int_equal(f.batches[1].base_sequence, 10);
    assert_int_equal(answer(&f, 1, PST_ERR_NONE), LANE_DONE);
    assert_int_equal(send_next(&f), -1);
    assert_true(f.lane.wants_epoch);
    f.identity.epoch = 1;
    assert_int_equal(send_next(&f), 2);
    assert_int_equal(f.batches[2].base_sequence, 0);
    assert_int_equal(f.batches[2].identity.epoch, 1);
}

static void a_numbered_batch_dropped_from_the_queue_ends_the_epoch_too(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, 2);
    send_next(&f);
    assert_int_equal(answer(&f, 0, PST_ERR_TRANSPORT), LANE_RETRY);
    lane_drop(&f.lane, &f.batches[0]);
    assert_int_equal(send_next(&f), -1);
    assert_true(f.lane.wants_epoch);
    f.identity.epoch = 1;
    assert_int_equal(send_next(&f), 1);
    assert_int_equal(f.batches[1].base_sequence, 0);
}

static void another_partitions_new_epoch_is_taken_when_nothing_flies(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, 3);
    send_next(&f);
    f.identity.epoch = 1;
    assert_int_equal(send_next(&f), -1);
    assert_int_equal(answer(&f, 0, PST_ERR_TRANSPORT), LANE_RETRY);
    assert_int_equal(send_next(&f), 0); /* numbered under the old one, and stays so */
    assert_int_equal(f.batches[0].identity.epoch, 0);
    assert_int_equal(answer(&f, 0, PST_ERR_NONE), LANE_DONE);
    assert_int_equal(send_next(&f), 1);
    assert_int_equal(f.batches[1].identity.epoch, 1);
    assert_int_equal(f.batches[1].base_sequence, 0);
}

static void what_must_not_be_tried_again_fails(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, 3);
    send_next(&f);
    assert_int_equal(answer(&f, 0, KAFKA_TOPIC_AUTHORIZATION_FAILED), LANE_FAIL);
    prepare(&f, true, false, 3);
    send_next(&f);
    assert_int_equal(lane_answer(&f.lane, &f.batches[0], PST_ERR_TRANSPORT, false), LANE_FAIL);
    prepare(&f, false, false, 3);
    send_next(&f);
    assert_int_equal(answer(&f, 0, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER), LANE_FAIL);
    assert_false(f.lane.unresolved);
}

static void a_batch_too_large_is_split_unless_it_is_one_record(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, true, false, 2);
    send_next(&f);
    assert_int_equal(answer(&f, 0, KAFKA_MESSAGE_TOO_LARGE), LANE_SPLIT);
    /* its halves: records 0-4 and 5-9 */
    for (int i = 0; i < 2; i++) {
        struct batch *half = &f.batches[4 + i];

        half->number = f.batches[0].number + (uint64_t)(i * 5);
        half->count = 5;
        half->numbered = true;
        half->identity = f.batches[0].identity;
        half->base_sequence = i * 5;
    }
    lane_requeue(&f.lane, &f.batches[5]);
    lane_requeue(&f.lane, &f.batches[4]);
    assert_int_equal(send_next(&f), 4);
    assert_int_equal(answer(&f, 4, PST_ERR_NONE), LANE_DONE);
    assert_int_equal(send_next(&f), 5);
    assert_int_equal(send_next(&f), 1);
    assert_int_equal(f.batches[1].base_sequence, 10);
    f.batches[5].count = 1;
    assert_int_equal(answer(&f, 5, KAFKA_MESSAGE_TOO_LARGE), LANE_FAIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_goes_without_a_producer_id),
        cmocka_unit_test(at_most_five_batches_fly_and_their_numbers_follow_each_other),
        cmocka_unit_test(without_idempotence_the_limit_is_the_connections_and_serial_means_one),
        cmocka_unit_test(sequence_numbers_wrap_to_zero),
        cmocka_unit_test(a_lost_connection_sends_everything_again_in_order_with_the_same_numbers),
        cmocka_unit_test(a_batch_that_comes_back_waits_for_nobody_behind_it),
        cmocka_unit_test(a_batch_waiting_out_its_pause_holds_those_behind_it),
        cmocka_unit_test(a_broker_that_lost_our_state_gets_a_new_epoch_from_zero),
        cmocka_unit_test(a_batch_failed_for_good_ends_the_epoch_once_the_numbered_ones_are_through),
        cmocka_unit_test(a_numbered_batch_dropped_from_the_queue_ends_the_epoch_too),
        cmocka_unit_test(another_partitions_new_epoch_is_taken_when_nothing_flies),
        cmocka_unit_test(what_must_not_be_tried_again_fails),
        cmocka_unit_test(a_batch_too_large_is_split_unless_it_is_one_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
