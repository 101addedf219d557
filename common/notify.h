/* Telling systemd (or whoever set NOTIFY_SOCKET) how the service is. */
#ifndef PENSTOCK_COMMON_NOTIFY_H
#define PENSTOCK_COMMON_NOTIFY_H

/* "READY=1", "STOPPING=1", "STATUS=…".  Does nothing without NOTIFY_SOCKET; failures are nobody's business.
 */
void notify_service(const char *state);

#endif
