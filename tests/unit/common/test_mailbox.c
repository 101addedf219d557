#include "common/mailbox.h"

#include "common/list.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SENDERS          4
#define MAILS_PER_SENDER 5000

struct test_mail {
    struct mail mail;
    unsigned sender;
    unsigned number;
};

struct sender {
    struct mailbox *box;
    struct test_mail mails[MAILS_PER_SENDER];
};

static struct sender senders[SENDERS];
static unsigned received[SENDERS];

static void receive(struct mail *mail)
{
    struct test_mail *test = CONTAINER_OF(mail, struct test_mail, mail);

    assert_int_equal(test->number, received[test->sender]);
    received[test->sender]++;
}

static void *send_all(void *arg)
{
    struct sender *sender = arg;

    for (unsigned i = 0; i < MAILS_PER_SENDER; i++) {
        sender->mails[i] = (struct test_mail){{.deliver = receive}, (unsigned)(sender - senders), i};
        mailbox_post(sender->box, &sender->mails[i].mail);
    }
    return NULL;
}

static void every_mail_of_every_sender_arrives_once_and_in_order(void **state)
{
    pthread_t threads[SENDERS];
    struct mailbox *box;
    unsigned total = 0;

    (void)state;
    assert_int_equal(mailbox_new(&box), PST_OK);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i].box = box;
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    while (total < SENDERS * MAILS_PER_SENDER) { /* a lost wake-up would end in the timeout */
        assert_true(mailbox_wait(box, 10000));
        total += mailbox_deliver(box);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(received[i], MAILS_PER_SENDER);
    }
    assert_int_equal(mailbox_deliver(box), 0);
    mailbox_free(box, NULL);
}

static void an_empty_box_is_not_readable(void **state)
{
    struct mailbox *box;
    struct mail mail;

    (void)state;
    assert_int_equal(mailbox_new(&box), PST_OK);
    assert_false(mailbox_wait(box, 0));
    mailbox_post(box, &mail);
    assert_true(mailbox_wait(box, 0));
    mailbox_free(box, NULL); /* forgets it */
}

static struct mailbox *box_of_reposter;
static unsigned reposts;

static void post_again(struct mail *mail)
{
    if (++reposts < 3)
        mailbox_post(box_of_reposter, mail);
}

static void mail_posted_while_delivering_waits_for_the_next_time_and_wakes(void **state)
{
    struct mail mail = {.deliver = post_again};

    (void)state;
    assert_int_equal(mailbox_new(&box_of_reposter), PST_OK);
    mailbox_post(box_of_reposter, &mail);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(mailbox_wait(box_of_reposter, 0));
        assert_int_equal(mailbox_deliver(box_of_reposter), 1);
        assert_int_equal(reposts, i);
    }
    assert_false(mailbox_wait(box_of_reposter, 0));
    mailbox_free(box_of_reposter, NULL);
}

static unsigned discarded;

static void discard(struct mail *mail)
{
    (void)mail;
    discarded++;
}

static void freeing_hands_undelivered_mail_to_discard(void **state)
{
    struct mail mails[3];
    struct mailbox *box;

    (void)state;
    assert_int_equal(mailbox_new(&box), PST_OK);
    for (unsigned i = 0; i < 3; i++)
        mailbox_post(box, &mails[i]);
    mailbox_free(box, discard);
    assert_int_equal(discarded, 3);
    mailbox_free(NULL, discard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mail_of_every_sender_arrives_once_and_in_order),
        cmocka_unit_test(an_empty_box_is_not_readable),
        cmocka_unit_test(mail_posted_while_delivering_waits_for_the_next_time_and_wakes),
        cmocka_unit_test(freeing_hands_undelivered_mail_to_discard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
