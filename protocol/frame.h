/* Frames: int32 length, header, body.  Request headers v1 and v2, response headers v0 and v1. */
#ifndef PENSTOCK_PROTOCOL_FRAME_H
#define PENSTOCK_PROTOCOL_FRAME_H

#include "protocol/message.h"

#define FRAME_PREFIX_BYTES 4u

struct request_header {
    int16_t api_key;
    int16_t api_version;
    int32_t correlation_id;
    struct str client_id; /* null in the frame: "" */
};

/* Reads the header in front of a request body.  A key nobody knows is read as v1.  PST_TRUNCATED,
 * PST_INVALID. */
MUST_CHECK enum pst_status request_header_decode(struct wire_reader *reader, struct request_header *ret);
/* The header version follows from key and version; the client id may be null. */
void request_header_encode(const struct request_header *header, struct buf *out);

MUST_CHECK enum pst_status response_header_decode(int16_t api_key, int16_t version,
                                                  struct wire_reader *reader, int32_t *ret_correlation_id);
void response_header_encode(int16_t api_key, int16_t version, int32_t correlation_id, struct buf *out);

#endif
