/* From a frame to its handler: one table, which is also what ApiVersions answers (advertise only what works).
 */
#ifndef PENSTOCK_BROKER_API_DISPATCH_H
#define PENSTOCK_BROKER_API_DISPATCH_H

#include "broker/api/call.h"

/* The rows in ascending order of their keys. */
const struct api_row *dispatch_rows(unsigned *ret_count);
const struct api_row *dispatch_find(int16_t key); /* NULL: not served */

#endif
