/* The one engine that decodes and encodes every message of the protocol, driven by tables msgc makes.
 *
 * For a schema file protocol/schema/<api>.msg, msgc writes "msg/<api>.h" with, for every message X in it:
 *   struct x                         fields in snake_case, all versions together; nested struct types are
 *                                    struct x_<snake case of the type's name>
 *   extern const struct message_schema x_schema;
 * C types: int8..int64 -> intN_t, uint16/uint32 -> uintN_t, float64 -> double, bool -> bool, uuid -> struct
 * uuid, string and bytes -> struct str (null: at == NULL), records -> struct wire_records, array of T -> `T
 * *name; int32_t name_count;` (null: count -1), nullable struct -> pointer, other struct -> value. Tagged
 * fields are ordinary members; absent ones have their default.
 *
 * Decoding is strict: bounds by subtraction, null only where the schema allows it, array counts checked
 * against the bytes left before memory is taken, tags ascending, tag sizes exact; what is decoded are views
 * into the input. Thread: none of its own; tables are constant. */
#ifndef PENSTOCK_PROTOCOL_MESSAGE_H
#define PENSTOCK_PROTOCOL_MESSAGE_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/status.h"
#include "common/str.h"
#include "common/uuid.h"
#include "protocol/wire.h"

struct message_schema; /* protocol/message_schema.h, for msgc's output and the engine only */

/* A records field: batches in memory, or `length` bytes that somebody else sends (external != NULL): then
 * only the length prefix is encoded and the place is reported to the encoder's hook. */
struct wire_records {
    const uint8_t *at; /* NULL with external == NULL: null */
    size_t length;
    void *external;
};

/* What a struct holds before anything is set: every field at its schema default. */
void message_init(const struct message_schema *schema, void *message);

/* Reads one message of `version` into *message (a struct of the schema).  Memory comes from `arena`.
 * PST_UNSUPPORTED: version outside the schema's; PST_TRUNCATED: input too short; PST_INVALID: malformed;
 * PST_FULL: arena budget.  Trailing bytes are left in the reader; the caller decides. */
MUST_CHECK enum pst_status message_decode(const struct message_schema *schema, int16_t version,
                                          struct wire_reader *reader, struct arena *arena, void *message);

/* Called for each external records field: the bytes belong at `position` of the buffer (its length then). */
typedef void (*message_external_fn)(void *arg, size_t position, const struct wire_records *records);

/* Appends the message to `out`.  PST_UNSUPPORTED: version outside the schema's, or a field set to something
 * else than its default that this version cannot carry (fields marked ignorable are dropped silently);
 * PST_INVALID: null where it may not be, or a string too long; PST_FULL/PST_NOMEM: from the buffer.  On
 * failure out->length is unspecified. */
MUST_CHECK enum pst_status message_encode(const struct message_schema *schema, int16_t version,
                                          const void *message, struct buf *out);
MUST_CHECK enum pst_status message_encode_external(const struct message_schema *schema, int16_t version,
                                                   const void *message, struct buf *out,
                                                   message_external_fn hook, void *hook_arg);

/* The message for people and for `penstock dump`: one line of JSON, field names as in Kafka's schemas. */
void message_format_json(const struct message_schema *schema, int16_t version, const void *message,
                         struct buf *out);

/* sizeof the C struct, for callers that decode whatever comes. */
size_t message_struct_size(const struct message_schema *schema);
const char *message_name(const struct message_schema *schema);
int16_t message_version_min(const struct message_schema *schema);
int16_t message_version_max(const struct message_schema *schema);
/* True from the schema's first flexible version on. */
bool message_is_flexible(const struct message_schema *schema, int16_t version);

#endif
