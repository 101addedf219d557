/* Incremental fetch sessions (KIP-227): the broker remembers what a consumer fetches, requests and answers
 * carry changes only.
 *
 * Threads: any loop; one lock around the cache (leaf rank, held for the copying of one session's partition
 * list). Bounds: max.incremental.fetch.session.cache.slots sessions, FETCH_SESSION_PARTITIONS_MAX partitions
 * each. */
#ifndef PENSTOCK_BROKER_API_FETCH_SESSION_H
#define PENSTOCK_BROKER_API_FETCH_SESSION_H

#include "common/arena.h"
#include "common/clock.h"
#include "common/status.h"
#include "common/str.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stdint.h>

#define FETCH_SESSION_PARTITIONS_MAX 100000 /* a larger fetch is served without session */

struct fetch_sessions;
struct fetch_request;

/* One partition a fetch asks for, as the request or the session has it. */
struct fetch_want {
    struct str topic; /* "" when only the id is known; in the arena of the call */
    struct uuid topic_id;
    int32_t partition;
    int32_t leader_epoch; /* the client's, -1: unknown */
    int32_t last_fetched_epoch;
    int64_t offset;
    int64_t log_start_offset; /* the follower's, -1 for consumers */
    int32_t bytes_max;
};

/* How one fetch relates to a session. */
struct fetch_context {
    int16_t error; /* top-level: 70, 71 or 106; nothing else is set then */
    bool incremental;
    bool new_session; /* a session is made when the answer is */
    bool topic_ids;   /* version 13 and later */
    int32_t session_id;
    int32_t session_epoch;    /* of the session after this request */
    struct fetch_want *wants; /* in the arena, in the order to serve them */
    unsigned want_count;
};

/* What is about to be answered for one partition. */
struct fetch_answer {
    const struct fetch_want *want;
    int64_t high_watermark;
    int64_t log_start_offset;
    bool must_send; /* error, records, diverging epoch: always sent */
    bool has_records;
    bool send; /* out: false: unchanged, left out of an incremental answer */
};

MUST_CHECK enum pst_status fetch_sessions_new(const struct clock *clock, unsigned slots_max,
                                              struct fetch_sessions **ret);
void fetch_sessions_free(struct fetch_sessions *sessions);

/* Reads the request's session fields and finds what to fetch.  PST_FULL: arena budget. */
MUST_CHECK enum pst_status fetch_session_begin(struct fetch_sessions *sessions,
                                               const struct fetch_request *request, int16_t version,
                                               struct arena *arena, struct fetch_context *context);
/* Decides what the answer carries and remembers it; makes the session if one is wanted and there is room.
 * Returns the session id to answer (0: none) or a negative error: the session went away meanwhile. */
int32_t fetch_session_end(struct fetch_sessions *sessions, struct fetch_context *context,
                          struct fetch_answer *answers, unsigned count);

unsigned fetch_sessions_count(struct fetch_sessions *sessions);

#endif
