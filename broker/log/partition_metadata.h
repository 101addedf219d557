/* The file "partition.metadata" of a partition: which topic id the directory belongs to. */
#ifndef PENSTOCK_BROKER_LOG_PARTITION_METADATA_H
#define PENSTOCK_BROKER_LOG_PARTITION_METADATA_H

#include "common/file_ops.h"
#include "common/status.h"
#include "common/str.h"
#include "common/uuid.h"

#define PARTITION_METADATA_FILE "partition.metadata"

/* Lines "version: 0" and "topic_id: <22 characters>".  PST_CORRUPT: another form, another version or the zero
 * id; *ret_reason says what, static. */
MUST_CHECK enum pst_status partition_metadata_parse(struct str text, struct uuid *ret_topic_id,
                                                    const char **ret_reason);
/* PST_NOT_FOUND: no such file; PST_CORRUPT as above; PST_IO.  Blocks. */
MUST_CHECK enum pst_status partition_metadata_load(const char *dir_path, struct uuid *ret_topic_id,
                                                   const char **ret_reason);
/* Durable. */
MUST_CHECK enum pst_status partition_metadata_save(const struct file_ops *files, const char *dir_path,
                                                   const struct uuid *topic_id);

#endif
