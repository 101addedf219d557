/* Topic configurations: what names exist, which values they take, what a topic's settings come to.
 *
 * A topic's own settings are overrides by name; everything else comes from the broker's options. */
#ifndef PENSTOCK_BROKER_TOPIC_TOPIC_CONFIG_H
#define PENSTOCK_BROKER_TOPIC_TOPIC_CONFIG_H

#include "broker/log/log.h"
#include "broker/options.h"
#include "common/buf.h"
#include "common/str.h"

enum topic_config_type {
    TOPIC_CONFIG_BOOL,
    TOPIC_CONFIG_INT,
    TOPIC_CONFIG_DOUBLE,
    TOPIC_CONFIG_POLICY,
    TOPIC_CONFIG_TIMESTAMP_TYPE,
    TOPIC_CONFIG_CODEC,
    TOPIC_CONFIG_STR,
};

struct topic_config_row {
    const char *name;
    enum topic_config_type type;
    int64_t min;
    int64_t max;
    const char *option;  /* of the broker, NULL: none */
    const char *initial; /* Kafka's default */
    const char *text;
};

const struct topic_config_row *topic_config_rows(unsigned *ret_count); /* ascending by name */
const struct topic_config_row *topic_config_find(struct str name);     /* NULL: unknown */

/* PST_OK, or PST_INVALID with the reason appended to `reason`. */
MUST_CHECK enum pst_status topic_config_check(struct str name, struct str value, struct buf *reason);

/* A topic's own value of a config, null when it has none. */
typedef struct str (*topic_override_fn)(const void *overrides, struct str name);

/* What the row comes to: override, else option, else default; appended to `out`.  True: an override. */
bool topic_config_value(const struct topic_config_row *row, topic_override_fn get, const void *overrides,
                        const struct broker_options *options, struct buf *out);

/* The settings a log obeys, and min.insync.replicas. */
void topic_config_resolve(topic_override_fn get, const void *overrides, const struct broker_options *options,
                          struct log_config *ret, int32_t *ret_min_in_sync);

#endif
