/* Large Produce frames of one partition: received straight into the segment when its tail is mapped and
 * prefaulted. */
#ifndef PENSTOCK_BROKER_API_PRODUCE_LAND_H
#define PENSTOCK_BROKER_API_PRODUCE_LAND_H

#include "broker/net/conn.h"

/* The callbacks of struct conn_owner. */
enum frame_plan produce_on_frame_head(struct conn *conn, const uint8_t *head, size_t head_length,
                                      size_t frame_length);
enum frame_verdict produce_on_land(struct conn *conn, const uint8_t *head, size_t head_length,
                                   size_t frame_length, enum frame_plan *ret_plan);

#endif
