/* InitProducerId: ids come in blocks from the metadata, single ones without waiting for the disk. */
#include "broker/api/api_metadata.h"
#include "broker/api/handlers.h"
#include "broker/api/producer_ids.h"
#include "protocol/error_codes.h"

#include "msg/init_producer_id.h"

#include <pthread.h>
#include <stdlib.h>

struct producer_ids {
    pthread_mutex_t lock;
    int64_t next;
    int64_t end; /* of the block; next == end: empty */
};

struct producer_ids *producer_ids_new(void)
{
    struct producer_ids *ids = calloc(1, sizeof *ids);

    if (ids != NULL)
        pthread_mutex_init(&ids->lock, NULL);
    return ids;
}

void producer_ids_free(struct producer_ids *ids)
{
    if (ids == NULL)
        return;
    pthread_mutex_destroy(&ids->lock);
    free(ids);
}

static bool take(struct producer_ids *ids, int64_t *ret)
{
    bool taken;

    pthread_mutex_lock(&ids->lock);
    taken = ids->next < ids->end;
    if (taken)
        *ret = ids->next++;
    pthread_mutex_unlock(&ids->lock);
    return taken;
}

static void respond(struct call *call, int16_t error, int64_t producer_id, int16_t epoch)
{
    CALL_RESPONSE(init_producer_id_response, response);

    response.error_code = error;
    response.producer_id = producer_id;
    response.producer_epoch = epoch;
    call_respond(call, &response);
}

/* Thread: control. */
static void take_from_new_block(struct call *call)
{
    struct producer_ids *ids = call->env->producer_ids;
    int64_t first;
    int64_t id;
    int16_t error;

    if (!take(ids, &id)) { /* nobody before us in the queue fetched one */
        error = metadata_allocate_producer_ids(call->env->metadata, &first);
        if (error != KAFKA_NONE) {
            respond(call, error, -1, -1);
            return;
        }
        pthread_mutex_lock(&ids->lock);
        ids->next = first;
        ids->end = first + METADATA_PRODUCER_ID_BLOCK;
        id = ids->next++;
        pthread_mutex_unlock(&ids->lock);
    }
    respond(call, KAFKA_NONE, id, 0);
}

void api_handle_init_producer_id(struct call *call)
{
    const struct init_producer_id_request *request = call->request;
    int64_t id;

    if ((request->producer_id == -1) != (request->producer_epoch == -1)) {
        respond(call, KAFKA_INVALID_REQUEST, -1, -1);
    } else if (!str_is_null(request->transactional_id)) {
        /* the transaction coordinator is not served by this build, nor are its other requests advertised */
        respond(call,
                request->transactional_id.length == 0 ? KAFKA_INVALID_REQUEST
                                                      : KAFKA_COORDINATOR_NOT_AVAILABLE,
                -1, -1);
    } else if (take(call->env->producer_ids, &id)) {
        respond(call, KAFKA_NONE, id, 0);
    } else {
        call_on_control(call, take_from_new_block);
    }
}
