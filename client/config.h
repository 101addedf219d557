/* The configuration of a client: one row of options.def per key, text as given and its checked value side by
 * side.
 *
 * Thread: a config belongs to its user; a client reads a private copy, which never changes, from any thread.
 */
#ifndef PENSTOCK_CLIENT_CONFIG_H
#define PENSTOCK_CLIENT_CONFIG_H

#include "client/error.h"

#define OPTION(id, key, type, low, high, preset, choices, doc) OPTION_##id,
enum option_id {
#include "client/options.def"
    OPTION_COUNT
};
#undef OPTION

struct pst_config {
    int64_t number[OPTION_COUNT]; /* value, 0 or 1, or place in the choices */
    char *text[OPTION_COUNT];
    bool given[OPTION_COUNT]; /* set by the user, whatever the value */
};

/* A copy in which what depends on other keys is settled (idempotence gives way to acks, retries and in-flight
 * settings that rule it out, unless it was asked for).  PST_ERR_INVALID_CONFIG, PST_ERR_NO_MEMORY. */
pst_err_t config_settle(const struct pst_config *config, struct pst_config **ret, struct pst_error *error);

/* -1, 0 or 1. */
int16_t config_acks(const struct pst_config *config);

#endif
