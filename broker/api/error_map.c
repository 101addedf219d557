#include "broker/api/error_map.h"

#include "protocol/error_codes.h"

int16_t error_of_append(enum append_outcome outcome)
{
    switch (outcome) {
    case APPEND_OK:
    case APPEND_DUPLICATE:
        return KAFKA_NONE;
    case APPEND_CORRUPT:
        return KAFKA_CORRUPT_MESSAGE;
    case APPEND_TOO_LARGE:
        return KAFKA_MESSAGE_TOO_LARGE;
    case APPEND_LIST_TOO_LARGE:
        return KAFKA_RECORD_LIST_TOO_LARGE;
    case APPEND_INVALID_RECORD:
        return KAFKA_INVALID_RECORD;
    case APPEND_INVALID_TIMESTAMP:
        return KAFKA_INVALID_TIMESTAMP;
    case APPEND_OUT_OF_ORDER_SEQUENCE:
        return KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER;
    case APPEND_INVALID_PRODUCER_EPOCH:
        return KAFKA_INVALID_PRODUCER_EPOCH;
    case APPEND_INVALID_TXN_STATE:
        return KAFKA_INVALID_TXN_STATE;
    case APPEND_NO_SPACE:
    case APPEND_OFFLINE:
        return KAFKA_KAFKA_STORAGE_ERROR;
    case APPEND_NOMEM:
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
    return KAFKA_UNKNOWN_SERVER_ERROR;
}

int16_t error_of_status(enum pst_status status)
{
    switch (status) {
    case PST_OK:
        return KAFKA_NONE;
    case PST_OUT_OF_RANGE:
        return KAFKA_OFFSET_OUT_OF_RANGE;
    case PST_NOT_FOUND:
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    case PST_CORRUPT:
        return KAFKA_CORRUPT_MESSAGE;
    case PST_IO:
    case PST_NOSPACE:
    case PST_OFFLINE:
        return KAFKA_KAFKA_STORAGE_ERROR;
    case PST_INVALID:
        return KAFKA_INVALID_REQUEST;
    case PST_UNSUPPORTED:
        return KAFKA_UNSUPPORTED_VERSION;
    case PST_TIMEOUT:
        return KAFKA_REQUEST_TIMED_OUT;
    default:
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
}
