/* Every message by name, for tools and tests that take what comes (the dump command, vectors, fuzzing). */
#ifndef PENSTOCK_PROTOCOL_SCHEMAS_H
#define PENSTOCK_PROTOCOL_SCHEMAS_H

#include "protocol/message.h"

struct schema_row {
    const char *name; /* "ProduceRequest" */
    const char *kind; /* request, response, header, data, record, key, value */
    int16_t key;      /* API key, or record type; -1: none */
    const struct message_schema *schema;
};

const struct schema_row *schemas_all(size_t *ret_count);

#endif
