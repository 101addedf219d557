#include "broker/config_rules.h"

#include "broker/topic/topic_config.h"
#include "protocol/error_codes.h"

#include <stdlib.h>

#define REASON_BYTES_MAX 4096

static int16_t check_topic(const struct metadata_config *configs, unsigned count, struct buf *reason)
{
    for (unsigned i = 0; i < count; i++) {
        if (topic_config_check(configs[i].name, configs[i].value, reason) != PST_OK)
            return KAFKA_INVALID_CONFIG;
    }
    return KAFKA_NONE;
}

/* Broker settings are checked like those of the file; only reloadable ones may change. */
static int16_t check_broker(const struct metadata_config *configs, unsigned count, struct buf *reason)
{
    int16_t error = KAFKA_NONE;

    for (unsigned i = 0; i < count && error == KAFKA_NONE; i++) {
        char *key = str_dup(configs[i].name);
        char *value = str_dup(configs[i].value);
        const struct option_row *row = key == NULL ? NULL : options_find(key);
        struct broker_options scratch;

        if (row == NULL || (row->flags & RELOADABLE) == 0) {
            buf_printf(reason, "Cannot update these configs dynamically: [%.*s]",
                       STR_FORMAT(configs[i].name));
            error = KAFKA_INVALID_REQUEST;
        } else if (value == NULL || options_init(&scratch) != PST_OK) {
            error = KAFKA_UNKNOWN_SERVER_ERROR;
        } else {
            if (options_set(&scratch, key, value, "AlterConfigs", reason) != PST_OK)
                error = KAFKA_INVALID_CONFIG;
            options_free(&scratch);
        }
        free(key);
        free(value);
    }
    return error;
}

static int16_t check(void *arg, enum metadata_resource type, struct str name,
                     const struct metadata_config *configs, unsigned count, struct arena *arena,
                     const char **ret_text)
{
    struct buf reason;
    int16_t error = KAFKA_NONE;

    (void)arg;
    (void)name;
    buf_init(&reason, REASON_BYTES_MAX);
    if (type == METADATA_RESOURCE_TOPIC)
        error = check_topic(configs, count, &reason);
    else if (type == METADATA_RESOURCE_BROKER)
        error = check_broker(configs, count, &reason);
    if (error != KAFKA_NONE)
        *ret_text = arena_str_dup(arena, buf_view(&reason));
    buf_free(&reason);
    return error;
}

static bool is_list(void *arg, enum metadata_resource type, struct str name, struct arena *arena,
                    struct str *ret_default)
{
    const struct broker_options *options = arg;
    const struct topic_config_row *row = type == METADATA_RESOURCE_TOPIC ? topic_config_find(name) : NULL;
    struct buf value;
    const char *copy;

    if (row == NULL || (row->type != TOPIC_CONFIG_POLICY && row->type != TOPIC_CONFIG_STR))
        return false;
    buf_init(&value, REASON_BYTES_MAX);
    topic_config_value(row, NULL, NULL, options, &value);
    copy = arena_str_dup(arena, buf_view(&value));
    *ret_default = copy == NULL ? STR_LITERAL("") : str_of(copy);
    buf_free(&value);
    return true;
}

void config_rules_fill(struct metadata_config_rules *rules, struct broker_options *options)
{
    *rules = (struct metadata_config_rules){.arg = options, .check = check, .is_list = is_list};
}
