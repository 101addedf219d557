/* The tables msgc writes and the engine walks; for those two only. */
#ifndef PENSTOCK_PROTOCOL_MESSAGE_SCHEMA_H
#define PENSTOCK_PROTOCOL_MESSAGE_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

enum message_type {
    MESSAGE_BOOL,
    MESSAGE_INT8,
    MESSAGE_INT16,
    MESSAGE_UINT16,
    MESSAGE_INT32,
    MESSAGE_UINT32,
    MESSAGE_INT64,
    MESSAGE_FLOAT64,
    MESSAGE_UUID,
    MESSAGE_STRING,
    MESSAGE_BYTES,
    MESSAGE_RECORDS,
    MESSAGE_STRUCT,
};

/* Both ends included; empty when low > high. */
struct message_versions {
    int16_t low;
    int16_t high;
};

struct message_field {
    const char *name; /* as in Kafka's JSON: camelCase */
    enum message_type type;
    uint32_t offset;       /* of the member; an array's elements pointer */
    uint32_t count_offset; /* of an array's count */
    bool array;
    bool ignorable;
    bool inflexible; /* keeps the old length form in flexible versions */
    bool default_null;
    int32_t tag; /* -1: none */
    struct message_versions versions;
    struct message_versions null_versions;
    int64_t default_value;
    const struct message_schema *of; /* MESSAGE_STRUCT */
};

struct message_schema {
    const char *name;
    uint32_t size_bytes;     /* of the C struct */
    uint32_t wire_bytes_min; /* no version has a shorter form, at least 1 */
    struct message_versions versions;
    int16_t flexible_from; /* INT16_MAX: never */
    uint16_t field_count;
    uint16_t tag_count;
    const struct message_field *fields;
    const uint16_t *tags; /* indexes of tagged fields, ascending by tag */
};

#endif
