/* Records of the metadata log: the frame around a message, and what each kind does to an image.
 *
 * Frame of a record's value: uvarint frame version 1, uvarint record type, uvarint version, message; nothing
 * behind. */
#ifndef PENSTOCK_BROKER_METADATA_RECORD_H
#define PENSTOCK_BROKER_METADATA_RECORD_H

#include "broker/metadata/image_internal.h"
#include "common/buf.h"
#include "protocol/message.h"

enum metadata_record_type {
    RECORD_REGISTER_BROKER = 0,
    RECORD_UNREGISTER_BROKER = 1,
    RECORD_TOPIC = 2,
    RECORD_PARTITION = 3,
    RECORD_CONFIG = 4,
    RECORD_PARTITION_CHANGE = 5,
    RECORD_FENCE_BROKER = 7,
    RECORD_UNFENCE_BROKER = 8,
    RECORD_REMOVE_TOPIC = 9,
    RECORD_DELEGATION_TOKEN = 10,
    RECORD_USER_SCRAM_CREDENTIAL = 11,
    RECORD_FEATURE_LEVEL = 12,
    RECORD_CLIENT_QUOTA = 14,
    RECORD_PRODUCER_IDS = 15,
    RECORD_BROKER_REGISTRATION_CHANGE = 17,
    RECORD_ACCESS_CONTROL_ENTRY = 18,
    RECORD_REMOVE_ACCESS_CONTROL_ENTRY = 19,
    RECORD_NO_OP = 20,
    RECORD_ZK_MIGRATION_STATE = 21,
    RECORD_REMOVE_USER_SCRAM_CREDENTIAL = 22,
    RECORD_BEGIN_TRANSACTION = 23,
    RECORD_END_TRANSACTION = 24,
    RECORD_ABORT_TRANSACTION = 25,
    RECORD_REMOVE_DELEGATION_TOKEN = 26,
    RECORD_REGISTER_CONTROLLER = 27,
    RECORD_CLEAR_ELR = 28,
};

/* Appends the framed message.  Outcomes as message_encode. */
MUST_CHECK enum pst_status record_frame(enum metadata_record_type type, int16_t version,
                                        const struct message_schema *schema, const void *message,
                                        struct buf *out);

/* The type of a framed record.  PST_UNSUPPORTED: another frame version; PST_CORRUPT: no frame. */
MUST_CHECK enum pst_status record_type(struct str value, int16_t *ret_type);

/* Applies one framed record that is not part of the transaction brackets (23 to 25: the caller's).
 * PST_UNSUPPORTED: a type, version or feature level we do not know; PST_CORRUPT: malformed, or it contradicts
 * the image; PST_NOMEM. change->text says why; the change must be given up then. */
MUST_CHECK enum pst_status record_apply(struct image_change *change, struct str value);

#endif
