/* The list of Kafka's APIs: keys, names, schemas, header versions.  What the broker serves is
 * broker/api/dispatch.c. */
#ifndef PENSTOCK_PROTOCOL_API_H
#define PENSTOCK_PROTOCOL_API_H

#include "protocol/message.h"

#define API(key, upper, lower, text) API_##upper = key,
enum api_key {
#include "protocol/apis.def"
};
#undef API

struct api {
    int16_t key;
    const char *name; /* "Produce" */
    const struct message_schema *request;
    const struct message_schema *response;
};

/* NULL: no such key. */
const struct api *api_find(int16_t key);
/* In ascending order of keys; NULL behind the last. */
const struct api *api_at(size_t index);

/* 1, or 2 (with tags) for flexible versions. */
int16_t api_request_header_version(const struct api *api, int16_t version);
/* 0, or 1 (with tags) for flexible versions; always 0 for ApiVersions. */
int16_t api_response_header_version(const struct api *api, int16_t version);

#endif
