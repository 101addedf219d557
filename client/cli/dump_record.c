/* One record: key, value and headers as text, or decoded when its topic is one of the broker's own. */
#include "client/cli/dump.h"

#include "common/arena.h"
#include "protocol/schemas.h"

#include <ctype.h>
#include <string.h>

#define DECODED_BYTES_MAX ((size_t)64 << 20)

/* ---- bytes for people ---- */

static void print_text(struct str text)
{
    if (text.at == NULL) {
        fputs("null", stdout);
        return;
    }
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.at[i];

        if (c == '\\')
            fputs("\\\\", stdout);
        else if (isprint(c) || c >= 0x80)
            putchar(c);
        else
            printf("\\x%02x", c);
    }
}

static void print_part(const struct dump *dump, const char *name, struct str text)
{
    printf(dump->cli.json ? ",\"%s\":" : "  %s ", name);
    if (!dump->cli.json)
        print_text(text);
    else if (text.at == NULL)
        fputs("null", stdout);
    else
        cli_json_text(stdout, (const char *)text.at, text.length);
}

static void print_plain(const struct dump *dump, const struct record *record)
{
    struct str rest = record->raw_headers;
    struct record_header header;
    bool first = true;

    print_part(dump, "key", record->key);
    print_part(dump, "value", record->value);
    if (!dump->cli.json) {
        while (record_header_next(&rest, &header)) {
            fputs("  header ", stdout);
            print_text(header.key);
            putchar('=');
            print_text(header.value);
        }
        return;
    }
    fputs(",\"headers\":{", stdout);
    while (record_header_next(&rest, &header)) {
        if (!first)
            putchar(',');
        first = false;
        cli_json_text(stdout, (const char *)header.key.at, header.key.length);
        putchar(':');
        if (header.value.at == NULL)
            fputs("null", stdout);
        else
            cli_json_text(stdout, (const char *)header.value.at, header.value.length);
    }
    putchar('}');
}

/* ---- records the broker itself writes ---- */

static const struct message_schema *schema_named(const char *name)
{
    size_t count;
    const struct schema_row *rows = schemas_all(&count);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].schema;
    }
    return NULL;
}

/* `belongs` tells the records of groups, transactions and share groups apart: each number from 0. */
static const struct message_schema *schema_of_kind(const char *kind, int16_t number,
                                                   bool (*belongs)(const char *))
{
    size_t count;
    const struct schema_row *rows = schemas_all(&count);

    for (size_t i = 0; i < count; i++) {
        if (rows[i].key == number && strcmp(rows[i].kind, kind) == 0 &&
            (belongs == NULL || belongs(rows[i].name)))
            return rows[i].schema;
    }
    return NULL;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_of_transactions(const char *name)
{
    return starts_with(name, "TransactionLog");
}

static bool is_of_share_state(const char *name)
{
    return starts_with(name, "ShareSnapshot") || starts_with(name, "ShareUpdate");
}

static bool is_of_groups(const char *name)
{
    return !is_of_transactions(name) && !is_of_share_state(name);
}

/* Prints `,"name":{"type":…,"version":…,"data":…}` or `  type vN {…}`; false: not decodable. */
static bool print_decoded(const struct dump *dump, const char *name, const struct message_schema *schema,
                          int16_t version, struct wire_reader *reader)
{
    struct arena *arena = arena_new(DECODED_BYTES_MAX);
    struct buf text;
    void *message = NULL;
    bool decoded;

    buf_init(&text, DECODED_BYTES_MAX);
    if (schema != NULL && arena != NULL)
        message = arena_alloc(arena, message_struct_size(schema));
    decoded = message != NULL && message_decode(schema, version, reader, arena, message) == PST_OK &&
              wire_left(reader) == 0;
    if (decoded)
        message_format_json(schema, version, message, &text);
    decoded = decoded && text.status == PST_OK;
    if (decoded && dump->cli.json)
        printf(",\"%s\":{\"type\":\"%s\",\"version\":%d,\"data\":%.*s}", name, message_name(schema), version,
               (int)text.length, (const char *)text.at);
    else if (decoded)
        printf("  %s v%d %.*s", message_name(schema), version, (int)text.length, (const char *)text.at);
    buf_free(&text);
    arena_free(arena);
    return decoded;
}

/* The value's version is its first field, or stands in front of an EndTxnMarker. */
static bool print_control(const struct dump *dump, const struct record *record)
{
    static const char *const names[] = {
        "abort", "commit", "leader-change", "snapshot-header", "snapshot-footer", "kraft-version", "voters"};
    static const char *const schemas[] = {
        "EndTxnMarker",         "EndTxnMarker",       "LeaderChangeMessage", "SnapshotHeaderRecord",
        "SnapshotFooterRecord", "KRaftVersionRecord", "VotersRecord"};
    struct wire_reader key = wire_reader_of(record->key.at, record->key.length);
    struct wire_reader value = wire_reader_of(record->value.at, record->value.length);
    struct wire_reader peek = value;
    int16_t version = (int16_t)wire_read_u16(&peek);
    uint16_t type;

    wire_read_u16(&key);
    type = wire_read_u16(&key);
    if (key.status != PST_OK || peek.status != PST_OK || type >= sizeof names / sizeof names[0])
        return false;
    printf(dump->cli.json ? ",\"control\":\"%s\"" : "  control %s", names[type]);
    return print_decoded(dump, "decoded", schema_named(schemas[type]), version, type <= 1 ? &peek : &value);
}

/* Value: frame version, type, version, message. */
static bool print_metadata(const struct dump *dump, const struct record *record)
{
    struct wire_reader value = wire_reader_of(record->value.at, record->value.length);
    uint32_t frame = wire_read_uvarint(&value);
    uint32_t type = wire_read_uvarint(&value);
    uint32_t version = wire_read_uvarint(&value);

    return value.status == PST_OK && frame == 1 && type <= INT16_MAX && version <= INT16_MAX &&
           print_decoded(dump, "decoded", schema_of_kind("record", (int16_t)type, NULL), (int16_t)version,
                         &value);
}

/* Key: its type and the key; value: version and message, null for a tombstone. */
static bool print_coordinator(const struct dump *dump, const struct record *record,
                              bool (*belongs)(const char *name))
{
    struct wire_reader key = wire_reader_of(record->key.at, record->key.length);
    struct wire_reader value = wire_reader_of(record->value.at, record->value.length);
    int16_t type = (int16_t)wire_read_u16(&key);
    const struct message_schema *schema;
    int16_t version;

    if (belongs == is_of_groups && type == 0)
        type = 1; /* an offset commit is keyed 0 or 1, and means the same */
    schema = schema_of_kind("key", type, belongs);
    if (key.status != PST_OK || schema == NULL ||
        !print_decoded(dump, "key", schema, message_version_min(schema), &key))
        return false;
    if (record->value.at == NULL) {
        fputs(dump->cli.json ? ",\"value\":null" : "  deleted", stdout);
        return true;
    }
    version = (int16_t)wire_read_u16(&value);
    if (value.status != PST_OK ||
        !print_decoded(dump, "value", schema_of_kind("value", type, belongs), version, &value))
        print_part(dump, "value", record->value);
    return true;
}

/* The file's folder is the topic and the partition. */
static bool is_in_topic(const char *path, const char *topic)
{
    const char *end = strrchr(path, '/');
    const char *start = end;

    if (end == NULL)
        return false;
    while (start > path && start[-1] != '/')
        start--;
    return starts_with(start, topic) && start[strlen(topic)] == '-';
}

static bool print_known(const struct dump *dump, const struct record_batch_info *batch,
                        const struct record *record)
{
    if (batch->attributes & RECORD_BATCH_CONTROL)
        return print_control(dump, record);
    if (is_in_topic(dump->path, "__cluster_metadata"))
        return print_metadata(dump, record);
    if (is_in_topic(dump->path, "__consumer_offsets"))
        return print_coordinator(dump, record, is_of_groups);
    if (is_in_topic(dump->path, "__transaction_state"))
        return print_coordinator(dump, record, is_of_transactions);
    if (is_in_topic(dump->path, "__share_group_state"))
        return print_coordinator(dump, record, is_of_share_state);
    return false;
}

void dump_record(const struct dump *dump, const struct record_batch_info *batch, const struct record *record)
{
    printf(dump->cli.json ? "{\"offset\":%lld,\"timestamp\":%lld" : "  offset %lld  time %lld",
           (long long)record->offset, (long long)record->timestamp_ms);
    if (!print_known(dump, batch, record))
        print_plain(dump, record);
    fputs(dump->cli.json ? "}\n" : "\n", stdout);
}
