/* What the metadata asks about configurations, answered from the option and topic configuration tables. */
#ifndef PENSTOCK_BROKER_CONFIG_RULES_H
#define PENSTOCK_BROKER_CONFIG_RULES_H

#include "broker/metadata/metadata.h"
#include "broker/options.h"

/* `options` is borrowed for the life of the metadata. */
void config_rules_fill(struct metadata_config_rules *rules, struct broker_options *options);

#endif
