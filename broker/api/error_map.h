/* Our outcomes in Kafka's error codes: the one place where the two meet. */
#ifndef PENSTOCK_BROKER_API_ERROR_MAP_H
#define PENSTOCK_BROKER_API_ERROR_MAP_H

#include "broker/log/log.h"

int16_t error_of_append(enum append_outcome outcome);
int16_t error_of_status(enum pst_status status);

#endif
