/* Parts of the Produce handler that both ways of receiving a batch share. */
#ifndef PENSTOCK_BROKER_API_PRODUCE_H
#define PENSTOCK_BROKER_API_PRODUCE_H

#include "broker/api/call.h"
#include "broker/topic/partition.h"

struct produce;
struct produce_response_partition_produce_response;

/* Checks that belong to the request, not to the log: exactly one batch of magic 2, no zstd below version 7.
 */
int16_t produce_check_records(const struct wire_records *records, int16_t version);
/* Whether the partition takes a produce at all: internal topic, deleted, offline, in-sync replicas. */
int16_t produce_check_partition(const struct call *call, struct partition *partition, int16_t acks);

/* NULL: out of memory. */
struct produce *produce_begin(struct call *call, int16_t acks, int32_t topic_count);
/* A request of one partition: names it in the answer.  `topic` lives in the call's arena.  False: out of
 * memory. */
bool produce_open_partition(struct produce *produce, struct str topic, int32_t partition);
/* produce_settle for the one partition of produce_open_partition. */
void produce_settle_only(struct produce *produce, struct partition *partition,
                         const struct log_append *append);
/* One batch has been through the log: fills its response, wakes fetches, waits for the disk where asked for.
 * Takes over the reference to the partition. */
void produce_settle(struct produce *produce, struct partition *partition, const struct log_append *append,
                    struct produce_response_partition_produce_response *response);
/* Answers, now or when the disk has synced; the call belongs to others afterwards. */
void produce_end(struct produce *produce);

#endif
