/* Kafka's error codes, one list for names, numbers and texts. */
#ifndef PENSTOCK_PROTOCOL_ERROR_CODES_H
#define PENSTOCK_PROTOCOL_ERROR_CODES_H

#include <stdbool.h>
#include <stdint.h>

#define ERROR(code, name, retriable, text) KAFKA_##name = code,
enum kafka_error {
#include "protocol/error_codes.def"
};
#undef ERROR

/* "OFFSET_OUT_OF_RANGE"; "UNKNOWN" outside the list. */
const char *kafka_error_name(int16_t code);
/* A sentence for people, ours. */
const char *kafka_error_text(int16_t code);
/* Whether a client may simply try again. */
bool kafka_error_is_retriable(int16_t code);

#endif
