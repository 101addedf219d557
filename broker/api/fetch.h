/* Fetch requests that wait for data, per loop. */
#ifndef PENSTOCK_BROKER_API_FETCH_H
#define PENSTOCK_BROKER_API_FETCH_H

struct api_loop;

/* End of a loop's turn: serves the fetches that were woken in it. */
void fetch_serve_ready(struct api_loop *api_loop);

#endif
