/* What tests of the client library stand on: a broker, a proxy in front of it, clients, topics, records.
 *
 * The broker is a penstockd of our own whose advertised address is the proxy's, or the one at
 * $PENSTOCK_TEST_BOOTSTRAP (Apache Kafka, say): then there is neither daemon nor proxy, and tests that need
 * them are skipped.  Failures end the running cmocka test. */
#ifndef PENSTOCK_TESTS_SUPPORT_STAGE_H
#define PENSTOCK_TESTS_SUPPORT_STAGE_H

#include "client/include/penstock/penstock.h"
#include "tests/support/daemon.h"
#include "tests/support/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct stage {
    struct daemon *daemon; /* NULL: somebody else's broker */
    struct proxy *proxy;
    char bootstrap[256];
};

/* For a cmocka group's setup: *state is the stage.  settings: the daemon's, "key=value", ends with NULL. */
int stage_open(void **state, const char *const *settings);
/* cmocka group teardown. */
int stage_close(void **state);
/* cmocka test teardown: daemon up, everything passes. */
int stage_reset(void **state);
/* Skips the running test when the broker is not ours. */
void stage_needs_own(const struct stage *stage);
/* The daemon again, after a stop or kill, behind the same address. */
void stage_restart(struct stage *stage);

#define STAGE_WAIT_MS 30000 /* for what must happen; the machine may be busy */

/* MUST: the call gives 0, or the test ends with the error's text; an `error` is in scope. */
void must_be(pst_err_t code, pst_err_t wanted, const struct pst_error *error, const char *what,
             const char *file, int line);
#define MUST(call)              must_be(call, PST_ERR_NONE, &error, #call, __FILE__, __LINE__)
#define MUST_FAIL(wanted, call) must_be(call, wanted, &error, #call, __FILE__, __LINE__)

/* A client for the stage's broker; further settings as "key=value" up to a NULL. */
struct pst_client *client_open(const struct stage *stage, ...) __attribute__((sentinel));
/* A topic of that many partitions with a name no other test has; settings "key=value" up to a NULL.  Static,
 * one of a few buffers. */
const char *topic_make(struct pst_client *client, int32_t partitions, ...) __attribute__((sentinel));
/* Such a name, and no topic. */
const char *topic_name(void);

/* What became of the records of a producer. */
struct outcomes {
    _Atomic unsigned delivered;
    _Atomic unsigned failed;
    _Atomic int last_error;
    _Atomic unsigned out_of_order; /* within a partition, by the tags (numbers from 1) and by offsets */
    _Atomic int64_t last_tag[64];
    _Atomic int64_t last_offset[64];
    char last_text[PST_ERROR_TEXT_BYTES];
};
/* A pst_delivery_fn; arg: struct outcomes, tags: numbers from 1 that rise within a partition. */
void note_delivery(const struct pst_delivery *delivery, void *arg);
void *tag_of(uintptr_t number);

/* The value of record `number`: starts with "number;" and has `bytes` bytes, good until the next call. */
const char *value_of(unsigned number, size_t bytes);
/* Puts value_of(first..first+count-1) into the partition; the tags are number + 1. */
void put_values(struct pst_producer *producer, const char *topic, int32_t partition, unsigned first,
                unsigned count, size_t bytes);
/* Produces and flushes with a producer of its own; everything must be delivered. */
void put_all(struct pst_client *client, const char *topic, int32_t partition, unsigned first, unsigned count,
             size_t bytes);
/* The next records of the consumer must be value_of(first..), at offsets from `offset` on without gaps. */
void expect_values(struct pst_consumer *consumer, unsigned first, unsigned count, size_t bytes,
                   int64_t offset);
/* The whole partition holds value_of(0..count-1), each once and in order. */
void expect_partition(struct pst_client *client, const char *topic, int32_t partition, unsigned count,
                      size_t bytes);
int64_t end_of(struct pst_client *client, const char *topic, int32_t partition);
int64_t now_ms(void);

/* Polls until the condition holds or the test fails. */
#define WAIT_FOR(condition)                                                                                  \
    do {                                                                                                     \
        int64_t until_ms_ = now_ms() + STAGE_WAIT_MS;                                                        \
        while (!(condition)) {                                                                               \
            if (now_ms() > until_ms_)                                                                        \
                fail_msg("waited in vain for: %s", #condition);                                              \
            pause_briefly();                                                                                 \
        }                                                                                                    \
    } while (0)
void pause_briefly(void);

#endif
