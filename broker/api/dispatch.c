#include "broker/api/dispatch.h"

#include "broker/api/handlers.h"
#include "broker/api/produce_land.h"
#include "broker/api/session.h"
#include "common/logger.h"
#include "protocol/api.h"
#include "protocol/frame.h"

#include <stdlib.h>

/* Ranges: Kafka 4.1's minima, maxima at the level whose features we serve.  Produce starts at 0 although 0 to
 * 2 are refused, because old librdkafka turns compression off otherwise (KAFKA-18659). */
static const struct api_row rows[] = {
    {API_PRODUCE, 0, 11, API_ON_LOOP, API_IN_PLACE | API_OVERLAP, api_handle_produce},
    {API_FETCH, 4, 17, API_ON_LOOP, 0, api_handle_fetch},
    {API_LIST_OFFSETS, 1, 10, API_ON_LOOP, 0, api_handle_list_offsets},
    {API_METADATA, 0, 12, API_ON_LOOP, 0, api_handle_metadata},
    {API_FIND_COORDINATOR, 0, 6, API_ON_LOOP, 0, api_handle_find_coordinator},
    {API_API_VERSIONS, 0, 4, API_ON_LOOP, 0, api_handle_api_versions},
    {API_CREATE_TOPICS, 2, 7, API_ON_CONTROL, 0, api_handle_create_topics},
    {API_DELETE_TOPICS, 1, 6, API_ON_CONTROL, 0, api_handle_delete_topics},
    {API_DELETE_RECORDS, 0, 2, API_ON_WORKER, 0, api_handle_delete_records},
    {API_INIT_PRODUCER_ID, 0, 5, API_ON_LOOP, 0, api_handle_init_producer_id},
    {API_OFFSET_FOR_LEADER_EPOCH, 2, 4, API_ON_LOOP, 0, api_handle_offset_for_leader_epoch},
    {API_DESCRIBE_CONFIGS, 1, 4, API_ON_CONTROL, 0, api_handle_describe_configs},
    {API_ALTER_CONFIGS, 0, 2, API_ON_CONTROL, 0, api_handle_alter_configs},
    {API_DESCRIBE_LOG_DIRS, 1, 4, API_ON_WORKER, 0, api_handle_describe_log_dirs},
    {API_CREATE_PARTITIONS, 0, 3, API_ON_CONTROL, 0, api_handle_create_partitions},
    {API_INCREMENTAL_ALTER_CONFIGS, 0, 1, API_ON_CONTROL, 0, api_handle_incremental_alter_configs},
    {API_DESCRIBE_CLUSTER, 0, 1, API_ON_LOOP, 0, api_handle_describe_cluster},
    {API_DESCRIBE_PRODUCERS, 0, 0, API_ON_WORKER, 0, api_handle_describe_producers},
    {API_DESCRIBE_TOPIC_PARTITIONS, 0, 0, API_ON_LOOP, 0, api_handle_describe_topic_partitions},
};

const struct api_row *dispatch_rows(unsigned *ret_count)
{
    *ret_count = sizeof rows / sizeof rows[0];
    return rows;
}

const struct api_row *dispatch_find(int16_t key)
{
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].key == key)
            return &rows[i];
    }
    return NULL;
}

struct session *session_of(struct conn *conn)
{
    const struct listener_context *context = conn_listener_data(conn);
    struct session *session = conn_data(conn);

    if (session != NULL)
        return session;
    session = calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->env = context->env;
    session->listener = context->index;
    session->conn = conn;
    list_init(&session->calls);
    conn_set_data(conn, session);
    return session;
}

/* A connection has one request in progress, except that Produce requests may overlap each other. */
static bool must_wait(const struct session *session, const struct api_row *row)
{
    if (session->calls_exclusive > 0)
        return true;
    return session->calls_open > 0 && (row->flags & API_OVERLAP) == 0;
}

static enum frame_verdict refuse(struct conn *conn, const char *why, int api_key, int version)
{
    LOG_WARN("api.request.garbage", "peer=%s reason=\"%s\" key=%d version=%d", conn_peer(conn), why, api_key,
             version);
    return FRAME_CLOSE;
}

/* Copies what a call of this row may look at later; the reader moves to the copy. */
static bool keep_frame(struct call *call, struct wire_reader *reader, struct request_header *header)
{
    size_t length = wire_left(reader);
    uint8_t *copy = arena_alloc(call->arena, length + header->client_id.length);

    if (copy == NULL)
        return false;
    memcpy(copy, reader->at, length);
    if (header->client_id.length > 0)
        memcpy(copy + length, header->client_id.at, header->client_id.length);
    header->client_id = str_of_bytes(copy + length, header->client_id.length);
    *reader = wire_reader_of(copy, length);
    return true;
}

static void run(struct call *call)
{
    switch (call->row->place) {
    case API_ON_LOOP:
        call->row->handler(call);
        return;
    case API_ON_CONTROL:
        call_on_control(call, call->row->handler);
        return;
    case API_ON_WORKER:
        call_on_worker(call, call->row->handler);
        return;
    }
}

/* Decodes the body; false: malformed, the call is gone. */
static bool decode_body(struct call *call, struct wire_reader *reader)
{
    const struct api *api = api_find(call->row->key);

    call->request = arena_alloc(call->arena, message_struct_size(api->request));
    if (call->request == NULL ||
        message_decode(api->request, call->version, reader, call->arena, call->request) != PST_OK ||
        wire_left(reader) != 0) {
        call_discard(call);
        return false;
    }
    return true;
}

static enum frame_verdict on_frame(struct conn *conn, uint8_t *frame, size_t length)
{
    struct session *session = session_of(conn);
    struct wire_reader reader = wire_reader_of(frame, length);
    const struct api_row *row;
    struct request_header header;
    struct call *call;
    bool known_version;

    if (session == NULL)
        return FRAME_CLOSE;
    if (request_header_decode(&reader, &header) != PST_OK)
        return refuse(conn, "request header malformed", length >= 2 ? (int16_t)load_be16(frame) : -1, -1);
    row = dispatch_find(header.api_key);
    if (row == NULL)
        return refuse(conn, "unknown api key", header.api_key, header.api_version);
    known_version = header.api_version >= row->version_min && header.api_version <= row->version_max;
    if (!known_version && row->key != API_API_VERSIONS)
        return refuse(conn, "version not served", header.api_key, header.api_version);
    if (must_wait(session, row))
        return FRAME_WAIT;

    call = call_new(session, row);
    if (call == NULL)
        return FRAME_CLOSE;
    call->version = header.api_version;
    call->correlation_id = header.correlation_id;
    call->slot = conn_slot_open(conn);
    if (call->slot == NULL || ((row->flags & API_IN_PLACE) == 0 && !keep_frame(call, &reader, &header))) {
        call_discard(call);
        return FRAME_CLOSE;
    }
    call->client_id = header.client_id;
    if (!known_version) {
        api_answer_unsupported_api_versions(call);
        return FRAME_TAKEN;
    }
    if (!decode_body(call, &reader))
        return refuse(conn, "request body malformed", header.api_key, header.api_version);
    run(call);
    return FRAME_TAKEN;
}

static void on_close(struct conn *conn)
{
    struct session *session = conn_data(conn);

    if (session == NULL)
        return;
    session_closed(session);
    conn_set_data(conn, NULL);
    free(session);
}

const struct conn_owner api_conn_owner = {
    .on_frame = on_frame,
    .on_frame_head = produce_on_frame_head,
    .on_land = produce_on_land,
    .on_close = on_close,
};
