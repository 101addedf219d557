/* Producer ids of the current block.  Any thread. */
#ifndef PENSTOCK_BROKER_API_PRODUCER_IDS_H
#define PENSTOCK_BROKER_API_PRODUCER_IDS_H

struct producer_ids;

struct producer_ids *producer_ids_new(void); /* empty; NULL: out of memory */
void producer_ids_free(struct producer_ids *ids);

#endif
