/* The file "meta.properties" of a log directory: whose it is.  Java properties, versions 0 and 1. */
#ifndef PENSTOCK_BROKER_LOG_META_PROPERTIES_H
#define PENSTOCK_BROKER_LOG_META_PROPERTIES_H

#include "common/file_ops.h"
#include "common/status.h"
#include "common/str.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stdint.h>

#define META_PROPERTIES_FILE  "meta.properties"
/* Kafka's own ids have 22 characters; a little room for hand-made ones. */
#define CLUSTER_ID_LENGTH_MAX 249
#define NO_NODE_ID            (-1)

struct meta_properties {
    int version;                                /* 0 (node id in broker.id) or 1 (node.id) */
    char cluster_id[CLUSTER_ID_LENGTH_MAX + 1]; /* "": none (allowed in version 0) */
    int32_t node_id;                            /* NO_NODE_ID: none (allowed in version 0) */
    struct uuid directory_id;                   /* zero: none */
};

/* PST_CORRUPT: not parsable, a value is missing or bad; PST_UNSUPPORTED: another version.  *ret_reason says
 * what, static. */
MUST_CHECK enum pst_status meta_properties_parse(struct str text, struct meta_properties *ret,
                                                 const char **ret_reason);
/* PST_NOT_FOUND: no file.  Blocks. */
MUST_CHECK enum pst_status meta_properties_load(const char *dir_path, struct meta_properties *ret,
                                                const char **ret_reason);
/* Always writes version 1.  Durable. */
MUST_CHECK enum pst_status meta_properties_save(const struct file_ops *files, const char *dir_path,
                                                const struct meta_properties *properties);

#endif
