#include "broker/log/producer_state.h"

#include "common/bug.h"
#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/list.h"

#include <stdlib.h>

#define BUCKETS_MIN 8u
/* Producers looked at when one has to make room. */
#define EVICT_STEPS 64u

struct remembered_batch {
    int64_t last_offset;
    int64_t timestamp_ms;
    int32_t last_sequence;
    int32_t offset_delta; /* last offset - first offset */
};

/* A transaction in this log, open or ended by a marker that is not below the high watermark yet. */
struct log_txn {
    struct list link; /* producer_state.txns, by first_offset */
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset; /* of the marker; -1: open */
};

struct producer {
    struct list link; /* producer_state.producers: who appended last is last */
    struct producer *next_in_bucket;
    struct log_txn *txn; /* the open one, in producer_state.txns; NULL: none */
    int64_t id;
    int64_t last_timestamp_ms;
    int32_t coordinator_epoch; /* -1: no marker seen */
    int16_t epoch;
    uint8_t batch_count;
    uint8_t batch_next; /* where the next one goes */
    struct remembered_batch batches[PRODUCER_STATE_BATCHES];
};

struct producer_state {
    int64_t expiration_ms;
    struct producer **buckets; /* bucket_count, a power of two */
    unsigned bucket_count;
    unsigned count;
    unsigned ended_count;   /* ended transactions in txns */
    struct list producers;  /* struct producer */
    struct list txns;       /* struct log_txn */
    struct list *expire_at; /* where the next producer_state_expire goes on; NULL: from the front */
    struct producer *spare; /* what an update of an unknown producer takes */
    struct log_txn *spare_txn;
};

/* ---- table ---- */

static unsigned bucket_of(const struct producer_state *state, int64_t producer_id)
{
    uint64_t mixed = (uint64_t)producer_id * 0x9e3779b97f4a7c15u;

    return (unsigned)(mixed >> 32) & (state->bucket_count - 1);
}

static struct producer *find(const struct producer_state *state, int64_t producer_id)
{
    struct producer *producer;

    if (state->bucket_count == 0)
        return NULL;
    producer = state->buckets[bucket_of(state, producer_id)];
    while (producer != NULL && producer->id != producer_id)
        producer = producer->next_in_bucket;
    return producer;
}

static void put_in_bucket(struct producer_state *state, struct producer *producer)
{
    struct producer **bucket = &state->buckets[bucket_of(state, producer->id)];

    producer->next_in_bucket = *bucket;
    *bucket = producer;
}

/* Room for one more producer. */
static enum pst_status grow_table(struct producer_state *state)
{
    unsigned bucket_count = state->bucket_count == 0 ? BUCKETS_MIN : state->bucket_count * 2;
    struct producer **buckets;

    if (state->count < state->bucket_count)
        return PST_OK;
    buckets = calloc(bucket_count, sizeof(struct producer *));
    if (buckets == NULL)
        return PST_NOMEM;
    free(state->buckets);
    state->buckets = buckets;
    state->bucket_count = bucket_count;
    LIST_FOR_EACH (link, &state->producers)
        put_in_bucket(state, CONTAINER_OF(link, struct producer, link));
    return PST_OK;
}

/* Takes it out of the order of appends. */
static void unlink_producer(struct producer_state *state, struct producer *producer)
{
    if (state->expire_at == &producer->link)
        state->expire_at = producer->link.next;
    list_remove(&producer->link);
}

static void forget(struct producer_state *state, struct producer *producer)
{
    struct producer **at = &state->buckets[bucket_of(state, producer->id)];

    BUG_ON(producer->txn != NULL);
    while (*at != producer)
        at = &(*at)->next_in_bucket;
    *at = producer->next_in_bucket;
    unlink_producer(state, producer);
    state->count--;
    free(producer);
}

static bool evict_one(struct producer_state *state)
{
    unsigned steps = 0;

    LIST_FOR_EACH (link, &state->producers) {
        struct producer *producer = CONTAINER_OF(link, struct producer, link);

        if (producer->txn == NULL) {
            forget(state, producer);
            return true;
        }
        if (++steps == EVICT_STEPS)
            return false;
    }
    return false;
}

/* ---- life ---- */

struct producer_state *producer_state_new(int64_t expiration_ms)
{
    struct producer_state *state = calloc(1, sizeof *state);

    if (state == NULL)
        return NULL;
    state->expiration_ms = expiration_ms;
    list_init(&state->producers);
    list_init(&state->txns);
    return state;
}

void producer_state_clear(struct producer_state *state)
{
    LIST_FOR_EACH (link, &state->producers)
        free(CONTAINER_OF(link, struct producer, link));
    LIST_FOR_EACH (txn_link, &state->txns)
        free(CONTAINER_OF(txn_link, struct log_txn, link));
    list_init(&state->producers);
    list_init(&state->txns);
    free(state->buckets);
    state->buckets = NULL;
    state->bucket_count = 0;
    state->count = 0;
    state->ended_count = 0;
    state->expire_at = NULL;
}

void producer_state_free(struct producer_state *state)
{
    if (state == NULL)
        return;
    producer_state_clear(state);
    free(state->spare);
    free(state->spare_txn);
    free(state);
}

unsigned producer_state_count(const struct producer_state *state)
{
    return state->count;
}

/* ---- sequences: 0 follows INT32_MAX ---- */

static int32_t sequence_after(int32_t sequence, int32_t count)
{
    if (sequence > INT32_MAX - count)
        return count - (INT32_MAX - sequence) - 1;
    return sequence + count;
}

static int32_t sequence_before(int32_t sequence, int32_t count)
{
    if (sequence < count)
        return INT32_MAX - (count - sequence) + 1;
    return sequence - count;
}

static int32_t last_sequence_of(const struct record_batch_info *batch)
{
    if (batch->base_sequence == NO_SEQUENCE)
        return NO_SEQUENCE;
    return sequence_after(batch->base_sequence, batch->last_offset_delta);
}

static bool follows(int32_t last_sequence, int32_t sequence)
{
    return (int64_t)sequence == (int64_t)last_sequence + 1 || (sequence == 0 && last_sequence == INT32_MAX);
}

static const struct remembered_batch *newest_batch(const struct producer *producer)
{
    if (producer->batch_count == 0)
        return NULL;
    return &producer->batches[(producer->batch_next + PRODUCER_STATE_BATCHES - 1) % PRODUCER_STATE_BATCHES];
}

static void remember(struct producer *producer, const struct remembered_batch *batch)
{
    producer->batches[producer->batch_next] = *batch;
    producer->batch_next = (uint8_t)((producer->batch_next + 1) % PRODUCER_STATE_BATCHES);
    if (producer->batch_count < PRODUCER_STATE_BATCHES)
        producer->batch_count++;
}

/* ---- check ---- */

static bool is_transactional(const struct record_batch_info *batch)
{
    return (batch->attributes & RECORD_BATCH_TRANSACTIONAL) != 0;
}

/* Makes sure that the update of this producer finds the memory it needs. */
static enum pst_status prepare(struct producer_state *state, const struct producer *producer, bool opens_txn)
{
    if (opens_txn && state->spare_txn == NULL) {
        state->spare_txn = calloc(1, sizeof *state->spare_txn);
        if (state->spare_txn == NULL)
            return PST_NOMEM;
    }
    if (producer != NULL)
        return PST_OK;
    if (state->count >= PRODUCER_STATE_COUNT_MAX && !evict_one(state))
        return PST_FULL;
    if (state->spare == NULL)
        state->spare = calloc(1, sizeof *state->spare);
    if (state->spare == NULL)
        return PST_NOMEM;
    return grow_table(state);
}

static const struct remembered_batch *find_duplicate(const struct producer *producer,
                                                     const struct record_batch_info *batch)
{
    int32_t last_sequence = last_sequence_of(batch);

    if (producer->epoch != batch->producer_epoch || batch->base_sequence == NO_SEQUENCE)
        return NULL;
    for (unsigned i = 0; i < producer->batch_count; i++) {
        const struct remembered_batch *known = &producer->batches[i];

        if (known->last_sequence == last_sequence &&
            sequence_before(known->last_sequence, known->offset_delta) == batch->base_sequence)
            return known;
    }
    return NULL;
}

static bool sequence_fits(const struct producer *producer, const struct record_batch_info *batch)
{
    const struct remembered_batch *newest = newest_batch(producer);

    if (producer->epoch != batch->producer_epoch)
        return batch->base_sequence == 0;
    return follows(newest == NULL ? NO_SEQUENCE : newest->last_sequence, batch->base_sequence);
}

enum producer_verdict producer_state_check(struct producer_state *state,
                                           const struct record_batch_info *batch, enum append_origin origin,
                                           struct producer_duplicate *ret_duplicate)
{
    const struct producer *producer = find(state, batch->producer_id);
    const struct remembered_batch *known;
    bool txn_open = producer != NULL && producer->txn != NULL;

    if (producer != NULL && origin == APPEND_FROM_CLIENT) {
        known = find_duplicate(producer, batch);
        if (known != NULL) {
            *ret_duplicate = (struct producer_duplicate){known->last_offset - known->offset_delta,
                                                         known->last_offset, known->timestamp_ms};
            return PRODUCER_DUPLICATE;
        }
    }
    if (producer != NULL && origin != APPEND_FROM_LEADER) {
        if (batch->producer_epoch < producer->epoch)
            return PRODUCER_INVALID_EPOCH;
        if (origin == APPEND_FROM_CLIENT && !sequence_fits(producer, batch))
            return PRODUCER_OUT_OF_ORDER_SEQUENCE;
        if (txn_open && !is_transactional(batch))
            return PRODUCER_INVALID_TXN_STATE;
    }
    if (prepare(state, producer, is_transactional(batch) && !txn_open) != PST_OK)
        return PRODUCER_NOMEM;
    return PRODUCER_OK;
}

enum producer_verdict producer_state_check_marker(struct producer_state *state,
                                                  const struct record_batch_info *batch,
                                                  const struct txn_marker *marker, enum append_origin origin)
{
    const struct producer *producer = find(state, batch->producer_id);

    if (producer != NULL && origin != APPEND_FROM_LEADER) {
        if (batch->producer_epoch < producer->epoch)
            return PRODUCER_INVALID_EPOCH;
        if (marker->coordinator_epoch < producer->coordinator_epoch)
            return PRODUCER_COORDINATOR_FENCED;
    }
    return prepare(state, producer, false) == PST_OK ? PRODUCER_OK : PRODUCER_NOMEM;
}

/* ---- update ---- */

/* The producer, made from the spare when unknown, moved to the end of the order of appends. */
static struct producer *touch(struct producer_state *state, int64_t producer_id)
{
    struct producer *producer = find(state, producer_id);

    if (producer == NULL) {
        producer = state->spare;
        state->spare = NULL;
        *producer = (struct producer){.id = producer_id, .epoch = -1, .coordinator_epoch = -1};
        put_in_bucket(state, producer);
        state->count++;
    } else {
        unlink_producer(state, producer);
    }
    list_push_back(&state->producers, &producer->link);
    return producer;
}

static void set_epoch(struct producer *producer, int16_t epoch)
{
    if (producer->epoch == epoch)
        return;
    producer->epoch = epoch;
    producer->batch_count = 0;
    producer->batch_next = 0;
}

static void open_txn(struct producer_state *state, struct producer *producer, int64_t first_offset)
{
    struct list *behind = state->txns.previous;
    struct log_txn *txn = state->spare_txn;

    state->spare_txn = NULL;
    *txn = (struct log_txn){.producer_id = producer->id, .first_offset = first_offset, .last_offset = -1};
    /* Appends come in order; only a snapshot lists producers in another one. */
    while (behind != &state->txns && CONTAINER_OF(behind, struct log_txn, link)->first_offset > first_offset)
        behind = behind->previous;
    list_insert_after(behind, &txn->link);
    producer->txn = txn;
}

enum pst_status producer_state_update(struct producer_state *state, const struct record_batch_info *batch)
{
    struct remembered_batch remembered = {batch->last_offset, batch->max_timestamp_ms,
                                          last_sequence_of(batch), batch->last_offset_delta};
    struct producer *producer = find(state, batch->producer_id);
    bool opens_txn = is_transactional(batch) && (producer == NULL || producer->txn == NULL);
    enum pst_status status = prepare(state, producer, opens_txn);

    if (status != PST_OK)
        return PST_NOMEM;
    producer = touch(state, batch->producer_id);
    set_epoch(producer, batch->producer_epoch);
    remember(producer, &remembered);
    producer->last_timestamp_ms = batch->max_timestamp_ms;
    if (opens_txn)
        open_txn(state, producer, batch->base_offset);
    return PST_OK;
}

bool txn_marker_read(const void *bytes, size_t size_bytes, struct txn_marker *ret)
{
    struct record_walker *walker;
    struct record record;
    bool is_marker = false;

    if (record_walker_open(bytes, size_bytes, size_bytes, &walker) != PST_OK)
        return false;
    if (record_walker_next(walker, &record) == PST_OK && record.key.length >= 4 && record.value.length >= 6 &&
        load_be16(record.key.at) == 0 && load_be16(record.key.at + 2) <= 1) {
        ret->commit = load_be16(record.key.at + 2) == 1;
        ret->coordinator_epoch = (int32_t)load_be32(record.value.at + 2);
        is_marker = true;
    }
    record_walker_close(walker);
    return is_marker;
}

/* First offset of the earliest open transaction of another producer; -1: none. */
static int64_t first_open_of_others(const struct producer_state *state, int64_t producer_id)
{
    LIST_FOR_EACH (link, &state->txns) {
        const struct log_txn *txn = CONTAINER_OF(link, const struct log_txn, link);

        if (txn->last_offset < 0 && txn->producer_id != producer_id)
            return txn->first_offset;
    }
    return -1;
}

enum pst_status producer_state_update_marker(struct producer_state *state,
                                             const struct record_batch_info *batch,
                                             const struct txn_marker *marker, struct aborted_txn *ret_aborted,
                                             bool *ret_is_aborted)
{
    struct producer *producer = find(state, batch->producer_id);

    *ret_is_aborted = false;
    if (prepare(state, producer, false) != PST_OK)
        return PST_NOMEM;
    producer = touch(state, batch->producer_id);
    set_epoch(producer, batch->producer_epoch);
    producer->coordinator_epoch = marker->coordinator_epoch;
    producer->last_timestamp_ms = batch->max_timestamp_ms;
    if (producer->txn == NULL)
        return PST_OK;
    if (!marker->commit) {
        int64_t next_open = first_open_of_others(state, producer->id);

        *ret_aborted = (struct aborted_txn){producer->id, producer->txn->first_offset, batch->last_offset,
                                            next_open < 0 ? batch->last_offset + 1 : next_open};
        *ret_is_aborted = true;
    }
    producer->txn->last_offset = batch->last_offset;
    producer->txn = NULL;
    state->ended_count++;
    return PST_OK;
}

/* ---- transactions ---- */

int64_t producer_state_first_unstable(const struct producer_state *state)
{
    if (list_is_empty(&state->txns))
        return -1;
    return CONTAINER_OF(state->txns.next, struct log_txn, link)->first_offset;
}

void producer_state_settle(struct producer_state *state, int64_t high_watermark)
{
    unsigned left = state->ended_count;

    if (left == 0)
        return;
    LIST_FOR_EACH (link, &state->txns) {
        struct log_txn *txn = CONTAINER_OF(link, struct log_txn, link);

        if (txn->last_offset < 0)
            continue;
        if (txn->last_offset < high_watermark) {
            list_remove(&txn->link);
            free(txn);
            state->ended_count--;
        }
        if (--left == 0)
            return;
    }
}

/* ---- expiry ---- */

static bool is_expired(const struct producer_state *state, const struct producer *producer, int64_t now_ms)
{
    return producer->txn == NULL && producer->last_timestamp_ms <= now_ms &&
           now_ms - producer->last_timestamp_ms >= state->expiration_ms;
}

unsigned producer_state_expire(struct producer_state *state, int64_t now_ms, unsigned step_max)
{
    struct list *at = state->expire_at == NULL ? state->producers.next : state->expire_at;
    unsigned forgotten = 0;

    for (unsigned step = 0; step < step_max && at != &state->producers; step++) {
        struct producer *producer = CONTAINER_OF(at, struct producer, link);

        at = at->next;
        if (is_expired(state, producer, now_ms)) {
            forget(state, producer);
            forgotten++;
        }
    }
    state->expire_at = at == &state->producers ? NULL : at;
    return forgotten;
}

enum pst_status producer_state_list(const struct producer_state *state, struct log_producer **ret,
                                    unsigned *ret_count)
{
    struct log_producer *all;
    unsigned count = 0;

    *ret = NULL;
    *ret_count = 0;
    if (state->count == 0)
        return PST_OK;
    all = calloc(state->count, sizeof *all);
    if (all == NULL)
        return PST_NOMEM;
    LIST_FOR_EACH (link, &state->producers) {
        const struct producer *producer = CONTAINER_OF(link, const struct producer, link);
        const struct remembered_batch *newest = newest_batch(producer);

        all[count++] = (struct log_producer){
            .producer_id = producer->id,
            .producer_epoch = producer->epoch,
            .last_sequence = newest == NULL ? NO_SEQUENCE : newest->last_sequence,
            .last_timestamp_ms = producer->last_timestamp_ms,
            .coordinator_epoch = producer->coordinator_epoch,
            .txn_first_offset = producer->txn == NULL ? -1 : producer->txn->first_offset,
        };
    }
    *ret = all;
    *ret_count = count;
    return PST_OK;
}

/* ---- snapshot bytes ---- */

struct snapshot_header {
    be16_t version; /* 1 */
    be32_t crc;     /* CRC-32C of everything behind this field */
    be32_t count;
};
static_assert(sizeof(struct snapshot_header) == 10, "on-disk format");

struct snapshot_entry {
    be64_t producer_id;
    be16_t epoch;
    be32_t last_sequence;
    be64_t last_offset;
    be32_t offset_delta;
    be64_t timestamp;
    be32_t coordinator_epoch;
    be64_t txn_first_offset; /* -1: none open */
};
static_assert(sizeof(struct snapshot_entry) == 46, "on-disk format");

#define SNAPSHOT_VERSION  1
#define SNAPSHOT_CRC_FROM offsetof(struct snapshot_header, count)

static void entry_write(const struct producer *producer, struct snapshot_entry *to)
{
    static const struct remembered_batch none = {-1, 0, NO_SEQUENCE, 0};
    const struct remembered_batch *newest = newest_batch(producer);

    if (newest == NULL)
        newest = &none;
    store_be64(&to->producer_id, (uint64_t)producer->id);
    store_be16(&to->epoch, (uint16_t)producer->epoch);
    store_be32(&to->last_sequence, (uint32_t)newest->last_sequence);
    store_be64(&to->last_offset, (uint64_t)newest->last_offset);
    store_be32(&to->offset_delta, (uint32_t)newest->offset_delta);
    store_be64(&to->timestamp, (uint64_t)producer->last_timestamp_ms);
    store_be32(&to->coordinator_epoch, (uint32_t)producer->coordinator_epoch);
    store_be64(&to->txn_first_offset,
               producer->txn == NULL ? UINT64_MAX : (uint64_t)producer->txn->first_offset);
}

enum pst_status producer_snapshot_encode(const struct producer_state *state, struct buf *out)
{
    size_t size_bytes = sizeof(struct snapshot_header) + state->count * sizeof(struct snapshot_entry);
    uint8_t *at = buf_reserve(out, size_bytes);
    struct snapshot_header *header = (struct snapshot_header *)at;
    struct snapshot_entry *entry;

    if (at == NULL)
        return out->status;
    store_be16(&header->version, SNAPSHOT_VERSION);
    store_be32(&header->count, state->count);
    entry = (struct snapshot_entry *)(header + 1);
    LIST_FOR_EACH (link, &state->producers)
        entry_write(CONTAINER_OF(link, struct producer, link), entry++);
    store_be32(&header->crc, crc32c(0, at + SNAPSHOT_CRC_FROM, size_bytes - SNAPSHOT_CRC_FROM));
    out->length += size_bytes;
    return PST_OK;
}

static enum pst_status entry_load(struct producer_state *state, const struct snapshot_entry *from,
                                  int64_t now_ms)
{
    struct remembered_batch batch = {
        (int64_t)load_be64(&from->last_offset),
        (int64_t)load_be64(&from->timestamp),
        (int32_t)load_be32(&from->last_sequence),
        (int32_t)load_be32(&from->offset_delta),
    };
    int64_t producer_id = (int64_t)load_be64(&from->producer_id);
    int64_t txn_first_offset = (int64_t)load_be64(&from->txn_first_offset);
    struct producer *producer;

    if (producer_id < 0 || txn_first_offset < -1 || batch.last_offset < -1 || batch.offset_delta < 0 ||
        batch.last_sequence < NO_SEQUENCE || find(state, producer_id) != NULL)
        return PST_CORRUPT;
    if (batch.last_offset >= 0 && batch.offset_delta > batch.last_offset)
        return PST_CORRUPT;
    if (prepare(state, NULL, txn_first_offset >= 0) != PST_OK)
        return PST_NOMEM;
    producer = touch(state, producer_id);
    producer->epoch = (int16_t)load_be16(&from->epoch);
    producer->coordinator_epoch = (int32_t)load_be32(&from->coordinator_epoch);
    producer->last_timestamp_ms = batch.timestamp_ms;
    if (batch.last_offset >= 0)
        remember(producer, &batch);
    if (txn_first_offset >= 0)
        open_txn(state, producer, txn_first_offset);
    else if (is_expired(state, producer, now_ms))
        forget(state, producer);
    return PST_OK;
}

enum pst_status producer_snapshot_decode(struct producer_state *state, struct str bytes, int64_t now_ms)
{
    const struct snapshot_header *header = (const struct snapshot_header *)bytes.at;
    const struct snapshot_entry *entries;
    enum pst_status status = PST_OK;
    uint32_t count;

    producer_state_clear(state);
    if (bytes.length < sizeof *header)
        return PST_CORRUPT;
    if (load_be16(&header->version) != SNAPSHOT_VERSION)
        return PST_UNSUPPORTED;
    count = load_be32(&header->count);
    if (crc32c(0, bytes.at + SNAPSHOT_CRC_FROM, bytes.length - SNAPSHOT_CRC_FROM) !=
            load_be32(&header->crc) ||
        bytes.length - sizeof *header != (uint64_t)count * sizeof *entries)
        return PST_CORRUPT;
    entries = (const struct snapshot_entry *)(header + 1);
    for (uint32_t i = 0; i < count && status == PST_OK; i++)
        status = entry_load(state, &entries[i], now_ms);
    if (status != PST_OK)
        producer_state_clear(state);
    return status;
}
