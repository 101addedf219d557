#include "broker/api/fetch_session.h"

#include "common/hashmap.h"
#include "common/list.h"
#include "protocol/error_codes.h"

#include "msg/fetch.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define NO_SESSION        0
#define EPOCH_INITIAL     0    /* "make me a session" */
#define EPOCH_FINAL       (-1) /* "no session, close the one I name" */
#define TOPIC_IDS_VERSION 13
/* Kafka's min.incremental.fetch.session.eviction.ms: a session idle for so long may give way to a new one. */
#define EVICTION_IDLE_MS  120000

struct session_partition {
    struct list link; /* in serving order */
    struct fetch_want want;
    char *topic;              /* what want.topic points to */
    char *key;                /* what the map's key points to */
    int64_t high_watermark;   /* as last answered, -1: never */
    int64_t log_start_offset; /* likewise */
};

struct fetch_session {
    struct list link; /* least recently used first */
    int32_t id;
    int32_t epoch; /* expected of the next request */
    bool topic_ids;
    int64_t used_ms;
    struct list partitions;
    struct hashmap *by_key; /* topic or id, and partition -> struct session_partition */
    unsigned count;
};

struct fetch_sessions {
    const struct clock *clock;
    pthread_mutex_t lock;
    struct list sessions; /* least recently used first */
    struct hashmap *by_id;
    unsigned count;
    unsigned slots_max;
};

#define KEY_BYTES_MAX (256 + 16 + 4)

/* Names are used below version 13, ids from it on; a session never mixes them. */
static struct str want_key(const struct fetch_want *want, bool topic_ids, char to[KEY_BYTES_MAX])
{
    size_t length = 0;

    if (topic_ids) {
        memcpy(to, want->topic_id.bytes, sizeof want->topic_id.bytes);
        length = sizeof want->topic_id.bytes;
    } else {
        length = want->topic.length < 256 ? want->topic.length : 256;
        memcpy(to, want->topic.at, length);
    }
    memcpy(to + length, &want->partition, sizeof want->partition);
    return str_of_bytes(to, length + sizeof want->partition);
}

static struct str id_key(const int32_t *id)
{
    return str_of_bytes(id, sizeof *id);
}

static void partition_free(struct session_partition *partition)
{
    if (partition == NULL)
        return;
    free(partition->topic);
    free(partition);
}

static void session_remove_partition(struct fetch_session *session, const struct fetch_want *want)
{
    char key[KEY_BYTES_MAX];
    struct session_partition *partition =
        hashmap_remove(session->by_key, want_key(want, session->topic_ids, key));

    if (partition == NULL)
        return;
    list_remove(&partition->link);
    session->count--;
    partition_free(partition);
}

/* Adds it, or changes what is wanted of it.  False: out of memory or over the bound. */
static bool session_put_partition(struct fetch_session *session, const struct fetch_want *want)
{
    char key[KEY_BYTES_MAX];
    struct session_partition *partition =
        hashmap_get(session->by_key, want_key(want, session->topic_ids, key));

    if (partition != NULL) {
        partition->want = *want;
        partition->want.topic = str_of(partition->topic);
        return true;
    }
    if (session->count >= FETCH_SESSION_PARTITIONS_MAX)
        return false;
    partition = calloc(1, sizeof *partition);
    if (partition == NULL)
        return false;
    partition->want = *want;
    partition->topic = str_dup(want->topic.at == NULL ? STR_LITERAL("") : want->topic);
    if (partition->topic == NULL ||
        hashmap_put(session->by_key, want_key(want, session->topic_ids, key), partition) != PST_OK) {
        partition_free(partition);
        return false;
    }
    partition->want.topic = str_of_bytes(partition->topic, want->topic.length);
    partition->high_watermark = -1;
    partition->log_start_offset = -1;
    list_push_back(&session->partitions, &partition->link);
    session->count++;
    return true;
}

static void session_free(struct fetch_session *session)
{
    if (session == NULL)
        return;
    LIST_FOR_EACH (link, &session->partitions)
        partition_free(CONTAINER_OF(link, struct session_partition, link));
    hashmap_free(session->by_key);
    free(session);
}

static struct fetch_session *session_new(bool topic_ids)
{
    struct fetch_session *session = calloc(1, sizeof *session);

    if (session == NULL)
        return NULL;
    list_init(&session->partitions);
    list_init(&session->link);
    session->topic_ids = topic_ids;
    session->by_key = hashmap_new();
    if (session->by_key == NULL) {
        free(session);
        return NULL;
    }
    return session;
}

static void sessions_drop(struct fetch_sessions *sessions, struct fetch_session *session)
{
    hashmap_remove(sessions->by_id, id_key(&session->id));
    list_remove(&session->link);
    sessions->count--;
    session_free(session);
}

static void sessions_touch(struct fetch_sessions *sessions, struct fetch_session *session)
{
    session->used_ms = clock_monotonic_us(sessions->clock) / 1000;
    list_remove(&session->link);
    list_push_back(&sessions->sessions, &session->link);
}

enum pst_status fetch_sessions_new(const struct clock *clock, unsigned slots_max, struct fetch_sessions **ret)
{
    struct fetch_sessions *sessions = calloc(1, sizeof *sessions);

    if (sessions == NULL)
        return PST_NOMEM;
    sessions->by_id = hashmap_new();
    if (sessions->by_id == NULL) {
        free(sessions);
        return PST_NOMEM;
    }
    sessions->clock = clock;
    sessions->slots_max = slots_max;
    pthread_mutex_init(&sessions->lock, NULL);
    list_init(&sessions->sessions);
    *ret = sessions;
    return PST_OK;
}

void fetch_sessions_free(struct fetch_sessions *sessions)
{
    if (sessions == NULL)
        return;
    while (!list_is_empty(&sessions->sessions))
        sessions_drop(sessions, CONTAINER_OF(sessions->sessions.next, struct fetch_session, link));
    hashmap_free(sessions->by_id);
    pthread_mutex_destroy(&sessions->lock);
    free(sessions);
}

static struct fetch_want want_of(const struct fetch_request_fetch_topic *topic,
                                 const struct fetch_request_fetch_partition *partition, int16_t version)
{
    return (struct fetch_want){
        .topic = version < TOPIC_IDS_VERSION ? topic->topic : STR_LITERAL(""),
        .topic_id = topic->topic_id,
        .partition = partition->partition,
        .leader_epoch = partition->current_leader_epoch,
        .last_fetched_epoch = partition->last_fetched_epoch,
        .offset = partition->fetch_offset,
        .log_start_offset = partition->log_start_offset,
        .bytes_max = partition->partition_max_bytes,
    };
}

static enum pst_status wants_of_request(const struct fetch_request *request, int16_t version,
                                        struct arena *arena, struct fetch_context *context)
{
    size_t count = 0;

    for (int32_t i = 0; i < request->topics_count; i++)
        count += (size_t)request->topics[i].partitions_count;
    context->wants = arena_array(arena, count, sizeof *context->wants);
    if (context->wants == NULL)
        return PST_FULL;
    for (int32_t i = 0; i < request->topics_count; i++) {
        const struct fetch_request_fetch_topic *topic = &request->topics[i];

        for (int32_t k = 0; k < topic->partitions_count; k++)
            context->wants[context->want_count++] = want_of(topic, &topic->partitions[k], version);
    }
    return PST_OK;
}

static void session_apply_request(struct fetch_session *session, const struct fetch_request *request,
                                  int16_t version)
{
    for (int32_t i = 0; i < request->topics_count; i++) {
        const struct fetch_request_fetch_topic *topic = &request->topics[i];

        for (int32_t k = 0; k < topic->partitions_count; k++) {
            struct fetch_want want = want_of(topic, &topic->partitions[k], version);

            session_put_partition(session, &want); /* over the bound: the client sees no data for it */
        }
    }
    for (int32_t i = 0; i < request->forgotten_topics_data_count; i++) {
        const struct fetch_request_forgotten_topic *topic = &request->forgotten_topics_data[i];

        for (int32_t k = 0; k < topic->partitions_count; k++) {
            struct fetch_want want = {
                .topic = topic->topic, .topic_id = topic->topic_id, .partition = topic->partitions[k]};

            session_remove_partition(session, &want);
        }
    }
}

static enum pst_status wants_of_session(const struct fetch_session *session, struct arena *arena,
                                        struct fetch_context *context)
{
    context->wants = arena_array(arena, session->count, sizeof *context->wants);
    if (context->wants == NULL)
        return PST_FULL;
    LIST_FOR_EACH (link, &session->partitions) {
        const struct session_partition *partition = CONTAINER_OF(link, const struct session_partition, link);
        struct fetch_want *want = &context->wants[context->want_count++];
        const char *topic = arena_str_dup(arena, partition->want.topic);

        *want = partition->want;
        want->topic.at = topic;
        if (topic == NULL)
            return PST_FULL;
    }
    return PST_OK;
}

static int32_t epoch_after(int32_t epoch)
{
    return epoch == INT32_MAX ? 1 : epoch + 1;
}

static enum pst_status continue_session(struct fetch_sessions *sessions, const struct fetch_request *request,
                                        int16_t version, struct arena *arena, struct fetch_context *context)
{
    struct fetch_session *session = hashmap_get(sessions->by_id, id_key(&request->session_id));

    if (session == NULL) {
        context->error = KAFKA_FETCH_SESSION_ID_NOT_FOUND;
        return PST_OK;
    }
    if (session->epoch != request->session_epoch) {
        context->error = KAFKA_INVALID_FETCH_SESSION_EPOCH;
        return PST_OK;
    }
    if (session->topic_ids != context->topic_ids) {
        context->error = KAFKA_FETCH_SESSION_TOPIC_ID_ERROR;
        return PST_OK;
    }
    session_apply_request(session, request, version);
    if (session->count == 0) { /* everything forgotten: the session ends, the answer is empty */
        sessions_drop(sessions, session);
        return PST_OK;
    }
    sessions_touch(sessions, session);
    session->epoch = epoch_after(session->epoch);
    context->incremental = true;
    context->session_id = session->id;
    context->session_epoch = session->epoch;
    return wants_of_session(session, arena, context);
}

enum pst_status fetch_session_begin(struct fetch_sessions *sessions, const struct fetch_request *request,
                                    int16_t version, struct arena *arena, struct fetch_context *context)
{
    bool full =
        version < 7 || request->session_epoch == EPOCH_INITIAL || request->session_epoch == EPOCH_FINAL;
    enum pst_status status;

    *context = (struct fetch_context){.topic_ids = version >= TOPIC_IDS_VERSION};
    if (full) {
        if (version >= 7 && request->session_id != NO_SESSION) {
            struct fetch_session *old;

            pthread_mutex_lock(&sessions->lock);
            old = hashmap_get(sessions->by_id, id_key(&request->session_id));
            if (old != NULL)
                sessions_drop(sessions, old);
            pthread_mutex_unlock(&sessions->lock);
        }
        context->new_session = version >= 7 && request->session_epoch == EPOCH_INITIAL;
        return wants_of_request(request, version, arena, context);
    }
    pthread_mutex_lock(&sessions->lock);
    status = continue_session(sessions, request, version, arena, context);
    pthread_mutex_unlock(&sessions->lock);
    return status;
}

static bool make_room(struct fetch_sessions *sessions)
{
    struct fetch_session *oldest;

    if (sessions->count < sessions->slots_max)
        return true;
    if (list_is_empty(&sessions->sessions))
        return false;
    oldest = CONTAINER_OF(sessions->sessions.next, struct fetch_session, link);
    if (clock_monotonic_us(sessions->clock) / 1000 - oldest->used_ms < EVICTION_IDLE_MS)
        return false;
    sessions_drop(sessions, oldest);
    return true;
}

static int32_t unused_id(struct fetch_sessions *sessions)
{
    int32_t id = 0;

    do {
        if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
            return NO_SESSION;
        id &= INT32_MAX;
    } while (id == NO_SESSION || hashmap_get(sessions->by_id, id_key(&id)) != NULL);
    return id;
}

static int32_t create_session(struct fetch_sessions *sessions, const struct fetch_context *context,
                              const struct fetch_answer *answers, unsigned count)
{
    struct fetch_session *session;

    if (count == 0 || count > FETCH_SESSION_PARTITIONS_MAX || !make_room(sessions))
        return NO_SESSION;
    session = session_new(context->topic_ids);
    if (session == NULL)
        return NO_SESSION;
    for (unsigned i = 0; i < count; i++) {
        struct session_partition *partition;

        if (!session_put_partition(session, answers[i].want))
            goto fail;
        partition = CONTAINER_OF(session->partitions.previous, struct session_partition, link);
        partition->high_watermark = answers[i].high_watermark;
        partition->log_start_offset = answers[i].log_start_offset;
    }
    session->id = unused_id(sessions);
    session->epoch = 1;
    session->used_ms = clock_monotonic_us(sessions->clock) / 1000;
    if (session->id == NO_SESSION || hashmap_put(sessions->by_id, id_key(&session->id), session) != PST_OK)
        goto fail;
    list_push_back(&sessions->sessions, &session->link);
    sessions->count++;
    return session->id;

fail:
    session_free(session);
    return NO_SESSION;
}

/* Leaves out what did not change; partitions that gave records go to the back, so that each gets its turn
 * first. */
static void filter_answer(struct fetch_session *session, struct fetch_answer *answer)
{
    char key[KEY_BYTES_MAX];
    struct session_partition *partition =
        hashmap_get(session->by_key, want_key(answer->want, session->topic_ids, key));

    if (partition == NULL) {
        answer->send = answer->must_send;
        return;
    }
    answer->send = answer->must_send || partition->high_watermark != answer->high_watermark ||
                   partition->log_start_offset != answer->log_start_offset;
    partition->high_watermark = answer->high_watermark;
    partition->log_start_offset = answer->log_start_offset;
    if (answer->has_records) {
        list_remove(&partition->link);
        list_push_back(&session->partitions, &partition->link);
    }
}

int32_t fetch_session_end(struct fetch_sessions *sessions, struct fetch_context *context,
                          struct fetch_answer *answers, unsigned count)
{
    struct fetch_session *session;
    int32_t id = NO_SESSION;

    for (unsigned i = 0; i < count; i++)
        answers[i].send = true;
    if (!context->incremental && !context->new_session)
        return NO_SESSION;
    pthread_mutex_lock(&sessions->lock);
    if (context->new_session) {
        id = create_session(sessions, context, answers, count);
    } else {
        session = hashmap_get(sessions->by_id, id_key(&context->session_id));
        if (session == NULL) {
            id = -KAFKA_FETCH_SESSION_ID_NOT_FOUND;
        } else if (session->epoch != context->session_epoch) {
            id = -KAFKA_INVALID_FETCH_SESSION_EPOCH;
        } else {
            for (unsigned i = 0; i < count; i++)
                filter_answer(session, &answers[i]);
            id = session->id;
        }
    }
    pthread_mutex_unlock(&sessions->lock);
    return id;
}

unsigned fetch_sessions_count(struct fetch_sessions *sessions)
{
    unsigned count;

    pthread_mutex_lock(&sessions->lock);
    count = sessions->count;
    pthread_mutex_unlock(&sessions->lock);
    return count;
}
