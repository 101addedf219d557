/* The intent that changes configurations.  Rules, codes and texts are those of Kafka's controller. */
#include "broker/metadata/md_local.h"

#include "protocol/error_codes.h"

#include "msg/config_record.h"

#include <stdlib.h>

static void refuse(struct metadata_altered_resource *resource, int16_t code, const char *text)
{
    resource->error = code;
    resource->error_text = text;
}

static const char no_memory[] = "The request needs too much memory.";

/* ---- the resource's settings as they would be ---- */

struct draft {
    struct metadata_config *configs;
    unsigned count;
    unsigned room;
};

static struct metadata_config *draft_find(const struct draft *draft, struct str name)
{
    for (unsigned i = 0; i < draft->count; i++) {
        if (str_equal(draft->configs[i].name, name))
            return &draft->configs[i];
    }
    return NULL;
}

static void draft_set(struct draft *draft, struct str name, struct str value)
{
    struct metadata_config *there = draft_find(draft, name);

    if (there != NULL)
        there->value = value;
    else
        draft->configs[draft->count++] = (struct metadata_config){name, value};
}

static void draft_unset(struct draft *draft, struct str name)
{
    struct metadata_config *there = draft_find(draft, name);

    if (there != NULL)
        *there = draft->configs[--draft->count];
}

static bool next_item(struct str *list, struct str *ret)
{
    const char *comma;

    if (str_is_null(*list))
        return false;
    comma = memchr(list->at, ',', list->length);
    *ret = comma == NULL ? *list : str_of_bytes(list->at, (size_t)(comma - list->at));
    *list =
        comma == NULL ? str_null() : str_of_bytes(comma + 1, list->length - (size_t)(comma + 1 - list->at));
    while (ret->length > 0 && ret->at[0] == ' ')
        *ret = str_of_bytes(ret->at + 1, ret->length - 1);
    while (ret->length > 0 && ret->at[ret->length - 1] == ' ')
        ret->length--;
    return true;
}

static bool list_has(struct str list, struct str item)
{
    struct str one;

    while (next_item(&list, &one)) {
        if (str_equal(one, item))
            return true;
    }
    return false;
}

static void append_item(struct buf *out, struct str item)
{
    if (item.length == 0)
        return;
    if (out->length > 0)
        buf_append_text(out, ",");
    buf_append_str(out, item);
}

/* `old` with the items of `items` added (those it has already are not repeated) or taken away.  Null: no
 * memory. */
static struct str edit_list(struct str old, struct str items, bool add, struct arena *arena)
{
    struct buf out;
    struct str one;
    struct str rest = old;
    struct str result = str_null();

    buf_init(&out, old.length + items.length + 2);
    while (next_item(&rest, &one)) {
        if (add || !list_has(items, one))
            append_item(&out, one);
    }
    rest = items;
    while (add && next_item(&rest, &one)) {
        if (!list_has(old, one))
            append_item(&out, one);
    }
    if (out.status == PST_OK)
        result = str_of_bytes(arena_str_dup(arena, buf_view(&out)), out.length);
    buf_free(&out);
    return result;
}

static void change_list(struct metadata *md, struct metadata_altered_resource *resource,
                        const struct metadata_config_change *change, struct draft *draft, struct arena *arena)
{
    bool add = change->op == METADATA_CONFIG_APPEND;
    struct metadata_config *there = draft_find(draft, change->name);
    struct str now = str_null();

    if (md->settings.rules.is_list == NULL ||
        !md->settings.rules.is_list(md->settings.rules.arg, resource->type, change->name, arena, &now)) {
        refuse(resource, KAFKA_INVALID_CONFIG,
               arena_printf(arena, "Can't %s to key %.*s because its type is not LIST.",
                            add ? "APPEND" : "SUBTRACT", STR_FORMAT(change->name)));
        return;
    }
    if (there != NULL)
        now = there->value;
    now = edit_list(now, change->value, add, arena);
    if (str_is_null(now))
        refuse(resource, KAFKA_POLICY_VIOLATION, no_memory);
    else
        draft_set(draft, change->name, now);
}

static void change_one(struct metadata *md, struct metadata_altered_resource *resource,
                       const struct metadata_config_change *change, struct draft *draft, struct arena *arena)
{
    if (change->op < METADATA_CONFIG_SET || change->op > METADATA_CONFIG_SUBTRACT) {
        refuse(resource, KAFKA_INVALID_REQUEST,
               arena_printf(arena, "Unsupported operation code %d", (int)change->op));
        return;
    }
    if (change->op == METADATA_CONFIG_DELETE) {
        draft_unset(draft, change->name);
        return;
    }
    if (str_is_null(change->value)) {
        refuse(resource, KAFKA_INVALID_REQUEST,
               arena_printf(arena, "Null value not supported for : %.*s", STR_FORMAT(change->name)));
        return;
    }
    if (change->op == METADATA_CONFIG_SET)
        draft_set(draft, change->name, change->value);
    else
        change_list(md, resource, change, draft, arena);
}

static int compare_configs(const void *a, const void *b)
{
    return str_compare(((const struct metadata_config *)a)->name, ((const struct metadata_config *)b)->name);
}

static bool names_repeat(const struct metadata_altered_resource *resource)
{
    for (int32_t i = 0; i < resource->change_count; i++) {
        for (int32_t k = 0; k < i; k++) {
            if (str_equal(resource->changes[i].name, resource->changes[k].name))
                return true;
        }
    }
    return false;
}

/* ---- whether the resource is there ---- */

static void check_resource(struct metadata *md, struct metadata_altered_resource *resource,
                           struct arena *arena)
{
    const char *fault;
    int64_t id;

    switch (resource->type) {
    case METADATA_RESOURCE_TOPIC:
        if (resource->name.length == 0) {
            refuse(resource, KAFKA_INVALID_REQUEST, "Default topic resources are not allowed.");
            return;
        }
        fault = metadata_topic_name_fault(resource->name, arena);
        if (fault != NULL)
            refuse(resource, KAFKA_INVALID_TOPIC_EXCEPTION, fault);
        else if (metadata_topic_find(md->image, resource->name) == NULL)
            refuse(resource, KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
                   arena_printf(arena, "The topic '%.*s' does not exist.", STR_FORMAT(resource->name)));
        return;
    case METADATA_RESOURCE_BROKER:
        if (resource->name.length == 0)
            return;
        if (!str_parse_i64(resource->name, &id))
            refuse(resource, KAFKA_INVALID_REQUEST,
                   arena_printf(arena, "Invalid broker name %.*s", STR_FORMAT(resource->name)));
        else if (id < 0 || id > INT32_MAX || metadata_broker_find(md->image, (int32_t)id) == NULL)
            refuse(resource, KAFKA_BROKER_ID_NOT_REGISTERED,
                   arena_printf(arena, "No broker with id %.*s found.", STR_FORMAT(resource->name)));
        return;
    case METADATA_RESOURCE_GROUP:
    case METADATA_RESOURCE_CLIENT_METRICS:
        if (resource->name.length == 0)
            refuse(resource, KAFKA_INVALID_REQUEST,
                   resource->type == METADATA_RESOURCE_GROUP
                       ? "Default group resources are not allowed."
                       : "Default client metrics resources are not allowed.");
        return;
    default:
        refuse(resource, KAFKA_INVALID_REQUEST, "Unsupported config resource type.");
    }
}

static void add_change(struct md_write *write, const struct metadata_altered_resource *resource,
                       struct str name, struct str value)
{
    struct config_record record;

    message_init(&config_record_schema, &record);
    record.resource_type = (int8_t)resource->type;
    record.resource_name = resource->name;
    record.name = name;
    record.value = value;
    md_write_add(write, RECORD_CONFIG, 0, &config_record_schema, &record);
}

/* Records for what differs between the settings now and the draft. */
static void add_changes(struct md_write *write, const struct metadata_altered_resource *resource,
                        const struct metadata_configs *now, const struct draft *draft)
{
    for (unsigned i = 0; i < draft->count; i++) {
        if (!str_equal(metadata_config_get(now, draft->configs[i].name), draft->configs[i].value))
            add_change(write, resource, draft->configs[i].name, draft->configs[i].value);
    }
    for (unsigned i = 0; now != NULL && i < now->count; i++) {
        if (draft_find(draft, now->configs[i].name) == NULL)
            add_change(write, resource, now->configs[i].name, str_null());
    }
}

static void alter_one(struct metadata *md, struct md_write *write, struct metadata_altered_resource *resource,
                      bool validate_only, struct arena *arena)
{
    const struct metadata_configs *now = metadata_configs_find(md->image, resource->type, resource->name);
    struct draft draft = {0};
    const char *text = NULL;
    int16_t code = KAFKA_NONE;

    check_resource(md, resource, arena);
    if (resource->error == KAFKA_NONE && names_repeat(resource))
        refuse(resource, KAFKA_INVALID_REQUEST, "Error due to duplicate config keys");
    if (resource->error != KAFKA_NONE)
        return;
    draft.room = (now == NULL ? 0 : now->count) + (unsigned)resource->change_count;
    draft.configs = arena_array(arena, draft.room + 1, sizeof *draft.configs);
    if (draft.configs == NULL) {
        refuse(resource, KAFKA_POLICY_VIOLATION, no_memory);
        return;
    }
    for (unsigned i = 0; now != NULL && !resource->replace && i < now->count; i++)
        draft.configs[draft.count++] = now->configs[i];
    for (int32_t i = 0; i < resource->change_count && resource->error == KAFKA_NONE; i++)
        change_one(md, resource, &resource->changes[i], &draft, arena);
    if (resource->error != KAFKA_NONE)
        return;
    qsort(draft.configs, draft.count, sizeof *draft.configs, compare_configs);
    if (md->settings.rules.check != NULL)
        code = md->settings.rules.check(md->settings.rules.arg, resource->type, resource->name, draft.configs,
                                        draft.count, arena, &text);
    if (code != KAFKA_NONE)
        refuse(resource, code, text);
    else if (!validate_only)
        add_changes(write, resource, now, &draft);
}

void metadata_alter_configs(struct metadata *md, struct metadata_altered_resource *resources, unsigned count,
                            bool validate_only, struct arena *arena)
{
    struct md_write write;
    const char *text;
    int16_t error;

    md_write_begin(md, &write);
    for (unsigned i = 0; i < count; i++) {
        if (resources[i].error == KAFKA_NONE)
            alter_one(md, &write, &resources[i], validate_only, arena);
    }
    if (validate_only) {
        md_write_abandon(&write);
        return;
    }
    error = md_write_error(md_write_commit(&write), &text);
    for (unsigned i = 0; i < count && error != KAFKA_NONE; i++) {
        if (resources[i].error == KAFKA_NONE)
            refuse(&resources[i], error, text);
    }
}
