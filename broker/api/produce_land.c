#include "broker/api/produce_land.h"

#include "broker/api/dispatch.h"
#include "broker/api/produce.h"
#include "broker/api/session.h"
#include "broker/topic/registry.h"
#include "protocol/api.h"
#include "protocol/error_codes.h"
#include "protocol/frame.h"
#include "protocol/record_batch.h"

#include "msg/produce.h"

#define FLEXIBLE_FROM    9 /* compact lengths and tags */
#define LAND_VERSION_MIN 3

/* A Produce request of one partition, read up to its records; everything else of such a frame is a few zero
 * bytes of empty tags behind them. */
struct outline {
    struct request_header header;
    struct str transactional_id;
    int16_t acks;
    struct str topic;
    int32_t partition;
    size_t records_at; /* in the frame */
    size_t records_length;
};

static struct str read_string(struct wire_reader *reader, bool flexible)
{
    int64_t length = flexible ? (int64_t)wire_read_uvarint(reader) - 1 : (int16_t)wire_read_u16(reader);
    const uint8_t *at;

    if (length < 0)
        return str_null();
    at = wire_read_bytes(reader, (size_t)length);
    return at == NULL ? str_null() : str_of_bytes(at, (size_t)length);
}

static int64_t read_count(struct wire_reader *reader, bool flexible)
{
    return flexible ? (int64_t)wire_read_uvarint(reader) - 1 : (int32_t)wire_read_u32(reader);
}

/* False: not of that form, or the head ends too early. */
static bool read_outline(const uint8_t *head, size_t head_length, size_t frame_length, struct outline *ret)
{
    struct wire_reader reader = wire_reader_of(head, head_length);
    int64_t records_length;
    size_t tags;
    bool flexible;

    if (request_header_decode(&reader, &ret->header) != PST_OK || ret->header.api_key != API_PRODUCE ||
        ret->header.api_version < LAND_VERSION_MIN ||
        ret->header.api_version > dispatch_find(API_PRODUCE)->version_max)
        return false;
    flexible = ret->header.api_version >= FLEXIBLE_FROM;
    ret->transactional_id = read_string(&reader, flexible);
    ret->acks = (int16_t)wire_read_u16(&reader);
    wire_read_u32(&reader); /* timeout */
    if (read_count(&reader, flexible) != 1)
        return false;
    ret->topic = read_string(&reader, flexible);
    if (read_count(&reader, flexible) != 1)
        return false;
    ret->partition = (int32_t)wire_read_u32(&reader);
    records_length = read_count(&reader, flexible);
    tags = flexible ? 3 : 0; /* of the partition, the topic and the request, all empty */
    if (reader.status != PST_OK || records_length < (int64_t)RECORD_BATCH_HEADER_BYTES ||
        wire_left(&reader) < RECORD_BATCH_HEADER_BYTES)
        return false;
    ret->records_at = head_length - wire_left(&reader);
    ret->records_length = (size_t)records_length;
    return ret->records_length <= UINT32_MAX &&
           frame_length - ret->records_at == ret->records_length + tags &&
           head_length - ret->records_at < ret->records_length;
}

/* What can be known before the body is there; errors are left to the ordinary way. */
static bool check_head(const struct outline *outline, const uint8_t *head)
{
    struct record_batch_info info;

    return record_batch_read_header(head + outline->records_at, RECORD_BATCH_HEADER_BYTES, &info) == PST_OK &&
           info.size_bytes == outline->records_length && info.base_offset == 0 && outline->acks >= -1 &&
           outline->acks <= 1 &&
           !((info.attributes & RECORD_BATCH_CODEC_MASK) == COMPRESS_ZSTD && outline->header.api_version < 7);
}

static bool may_land(struct conn *conn, const struct outline *outline)
{
    const struct listener_context *context = conn_listener_data(conn);
    struct partition *partition;
    uint8_t *at;
    bool lands = false;

    if (registry_find(context->env->registry, outline->topic, outline->partition, &partition) != PST_OK)
        return false;
    if (partition->log != NULL && !partition->internal &&
        log_land_begin(partition->log, (uint32_t)outline->records_length, &at) == PST_OK) {
        log_land_abort(partition->log);
        lands = true;
    }
    partition_unref(partition);
    return lands;
}

enum frame_plan produce_on_frame_head(struct conn *conn, const uint8_t *head, size_t head_length,
                                      size_t frame_length)
{
    struct outline outline;

    if (!read_outline(head, head_length, frame_length, &outline) || !check_head(&outline, head) ||
        !may_land(conn, &outline))
        return FRAME_PLAN_BUFFER;
    return FRAME_PLAN_LAND;
}

/* The body: what came with the head, then the rest of the socket; the empty tags behind it are read away. */
static enum pst_status receive_body(struct conn *conn, const struct outline *outline, const uint8_t *head,
                                    size_t head_length, size_t frame_length, uint8_t *to)
{
    size_t early = head_length - outline->records_at;
    size_t tags = frame_length - outline->records_at - outline->records_length;
    uint8_t tail[3] = {0};
    enum pst_status status;

    memcpy(to, head + outline->records_at, early);
    status = conn_receive_rest(conn, to + early, outline->records_length - early);
    if (status == PST_OK && tags > 0)
        status = conn_receive_rest(conn, tail, tags);
    if (status == PST_OK && (tail[0] != 0 || tail[1] != 0 || tail[2] != 0))
        status =
            PST_UNSUPPORTED; /* tags nobody defined: cannot happen with a client that speaks these versions */
    return status;
}

static struct produce *open_call(struct conn *conn, struct session *session, const struct outline *outline,
                                 struct call **ret)
{
    struct call *call = call_new(session, dispatch_find(API_PRODUCE));
    struct produce *produce;
    const char *topic;

    if (call == NULL)
        return NULL;
    call->version = outline->header.api_version;
    call->correlation_id = outline->header.correlation_id;
    call->client_id = outline->header.client_id;
    call->slot = conn_slot_open(conn);
    topic = arena_str_dup(call->arena, outline->topic);
    produce = call->slot == NULL || topic == NULL ? NULL : produce_begin(call, outline->acks, 1);
    if (produce == NULL ||
        !produce_open_partition(produce, str_of_bytes(topic, outline->topic.length), outline->partition)) {
        call_discard(call);
        return NULL;
    }
    *ret = call;
    return produce;
}

enum frame_verdict produce_on_land(struct conn *conn, const uint8_t *head, size_t head_length,
                                   size_t frame_length, enum frame_plan *ret_plan)
{
    const struct listener_context *context = conn_listener_data(conn);
    struct session *session = session_of(conn);
    struct log_append append = {.origin = APPEND_FROM_CLIENT, .bad_record = -1};
    struct partition *partition = NULL;
    struct outline outline;
    struct produce *produce;
    struct call *call;
    enum pst_status status;

    *ret_plan = FRAME_PLAN_BUFFER;
    if (session == NULL)
        return FRAME_CLOSE;
    if (session->calls_exclusive > 0)
        return FRAME_WAIT;
    if (!read_outline(head, head_length, frame_length, &outline) ||
        registry_find(context->env->registry, outline.topic, outline.partition, &partition) != PST_OK)
        return FRAME_TAKEN; /* buffered, and answered in the ordinary way */
    produce = open_call(conn, session, &outline, &call);
    if (produce == NULL) {
        partition_unref(partition);
        return FRAME_CLOSE;
    }
    if (produce_check_partition(call, partition, outline.acks) != KAFKA_NONE ||
        log_land_begin(partition->log, (uint32_t)outline.records_length, &append.bytes) != PST_OK) {
        conn_slot_skip(call->slot);
        call->slot = NULL;
        call_discard(call);
        partition_unref(partition);
        return FRAME_TAKEN;
    }
    *ret_plan = FRAME_PLAN_LAND;
    status = receive_body(conn, &outline, head, head_length, frame_length, append.bytes);
    if (status != PST_OK) {
        log_land_abort(partition->log);
        call_discard(call);
        partition_unref(partition);
        return FRAME_CLOSE;
    }
    append.size_bytes = (uint32_t)outline.records_length;
    append.leader_epoch = atomic_load_explicit(&partition->leader_epoch, memory_order_relaxed);
    log_land_commit(partition->log, &append);
    produce_settle_only(produce, partition, &append);
    produce_end(produce);
    return FRAME_TAKEN;
}
