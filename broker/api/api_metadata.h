/* What several handlers take from the metadata image. */
#ifndef PENSTOCK_BROKER_API_API_METADATA_H
#define PENSTOCK_BROKER_API_API_METADATA_H

#include "broker/api/call.h"
#include "broker/metadata/metadata.h"

/* The image, held until the call's arena is cleared.  NULL: out of memory. */
const struct metadata_image *call_image(struct call *call);

/* Where clients reach a broker on the listener this call came in by; NULL: it has no such listener. */
const struct metadata_endpoint *call_endpoint(const struct call *call, const struct metadata_broker *broker);

/* No authorizer is configured: everybody may do everything the resource type knows (bit per AclOperation). */
#define TOPIC_OPERATIONS_ALL                                                                                 \
    0x0df8 /* READ WRITE CREATE DELETE ALTER DESCRIBE DESCRIBE_CONFIGS ALTER_CONFIGS */
#define CLUSTER_OPERATIONS_ALL                                                                               \
    0x1fb0 /* CREATE ALTER DESCRIBE CLUSTER_ACTION DESCRIBE_/ALTER_CONFIGS IDEMPOTENT_WRITE */

#endif
