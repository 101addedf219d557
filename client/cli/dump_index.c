/* The fixed-size entries: offset index, time index, aborted transactions; producer snapshots; text files. */
#include "client/cli/dump.h"

#include "common/arena.h"
#include "common/crc32c.h"
#include "msg/producer_snapshot.h"

#include <stdlib.h>
#include <string.h>

enum {
    OFFSET_ENTRY_BYTES = 8,
    TIME_ENTRY_BYTES = 12,
    TXN_ENTRY_BYTES = 34,
    SNAPSHOT_BYTES_MAX = 64 << 20, /* a million producers and more */
    SNAPSHOT_PREFIX_BYTES = 6,     /* version, CRC */
};

static int64_t base_offset_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return strtoll(slash == NULL ? path : slash + 1, NULL, 10);
}

/* Reads entry after entry; *position counts bytes.  False at the end, or behind count_max entries. */
static bool next_entry(struct dump *dump, FILE *file, uint8_t *entry, size_t size, int64_t *position)
{
    size_t length;

    if (dump->count_max >= 0 && *position / (int64_t)size >= dump->count_max)
        return false;
    length = fread(entry, 1, size, file);
    if (length > 0 && length < size)
        dump_problem(dump, *position, "%zu bytes at the end are no entry of %zu", length, size);
    *position += (int64_t)size;
    return length == size;
}

static bool is_zero(const uint8_t *entry, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (entry[i] != 0)
            return false;
    }
    return true;
}

/* An index of a segment in use has room behind its entries, filled with zeros: the first such entry behind
 * another one ends it. */
bool dump_offset_index(struct dump *dump, FILE *file)
{
    int64_t base = base_offset_of(dump->path);
    int64_t last_offset = -1;
    uint32_t last_file_position = 0;
    uint8_t entry[OFFSET_ENTRY_BYTES];
    int64_t position = 0;

    while (next_entry(dump, file, entry, sizeof entry, &position) && !is_zero(entry, sizeof entry)) {
        int64_t offset = base + load_be32(entry);
        uint32_t file_position = load_be32(entry + 4);

        if (offset <= last_offset || (last_offset >= 0 && file_position <= last_file_position))
            dump_problem(dump, position - OFFSET_ENTRY_BYTES, "offset %lld at %u follows offset %lld at %u",
                         (long long)offset, file_position, (long long)last_offset, last_file_position);
        last_offset = offset;
        last_file_position = file_position;
        if (!dump->problems)
            printf(dump->cli.json ? "{\"offset\":%lld,\"position\":%u}\n" : "offset %lld  position %u\n",
                   (long long)offset, file_position);
    }
    return true;
}

bool dump_time_index(struct dump *dump, FILE *file)
{
    int64_t base = base_offset_of(dump->path);
    int64_t last_timestamp_ms = -1;
    uint8_t entry[TIME_ENTRY_BYTES];
    int64_t position = 0;

    while (next_entry(dump, file, entry, sizeof entry, &position) && !is_zero(entry, sizeof entry)) {
        int64_t timestamp_ms = (int64_t)load_be64(entry);
        int64_t offset = base + load_be32(entry + 8);

        if (timestamp_ms < last_timestamp_ms)
            dump_problem(dump, position - TIME_ENTRY_BYTES, "time %lld follows time %lld",
                         (long long)timestamp_ms, (long long)last_timestamp_ms);
        last_timestamp_ms = timestamp_ms;
        if (!dump->problems)
            printf(dump->cli.json ? "{\"timestamp\":%lld,\"offset\":%lld}\n" : "time %lld  offset %lld\n",
                   (long long)timestamp_ms, (long long)offset);
    }
    return true;
}

bool dump_txn_index(struct dump *dump, FILE *file)
{
    uint8_t entry[TXN_ENTRY_BYTES];
    int64_t position = 0;

    while (next_entry(dump, file, entry, sizeof entry, &position)) {
        int64_t first_offset = (int64_t)load_be64(entry + 10);
        int64_t last_offset = (int64_t)load_be64(entry + 18);

        if (load_be16(entry) != 0 || first_offset > last_offset)
            dump_problem(dump, position - TXN_ENTRY_BYTES, "version %u, offsets %lld to %lld",
                         load_be16(entry), (long long)first_offset, (long long)last_offset);
        if (!dump->problems)
            printf(dump->cli.json ? "{\"producerId\":%lld,\"firstOffset\":%lld,\"lastOffset\":%lld,"
                                    "\"lastStableOffset\":%lld}\n"
                                  : "aborted by producer %lld  offsets %lld-%lld  last stable offset %lld\n",
                   (long long)load_be64(entry + 2), (long long)first_offset, (long long)last_offset,
                   (long long)load_be64(entry + 26));
    }
    return true;
}

static void print_producers(struct dump *dump, const struct producer_snapshot *snapshot)
{
    for (int32_t i = 0; i < snapshot->producer_entries_count && !dump->problems; i++) {
        const struct producer_snapshot_producer_entry *entry = &snapshot->producer_entries[i];

        if (dump->count_max >= 0 && i >= dump->count_max)
            return;
        printf(
            dump->cli.json
                ? "{\"producerId\":%lld,\"epoch\":%d,\"lastSequence\":%d,\"lastOffset\":%lld,"
                  "\"offsetDelta\":%d,\"timestamp\":%lld,\"coordinatorEpoch\":%d,"
                  "\"currentTxnFirstOffset\":%lld}\n"
                : "producer %lld  epoch %d  last sequence %d  last offset %lld  offset delta %d  time %lld  "
                  "coordinator epoch %d  transaction from %lld\n",
            (long long)entry->producer_id, entry->epoch, entry->last_sequence, (long long)entry->last_offset,
            entry->offset_delta, (long long)entry->timestamp, entry->coordinator_epoch,
            (long long)entry->current_txn_first_offset);
    }
}

static void check_snapshot(struct dump *dump, const uint8_t *bytes, size_t length, struct arena *arena)
{
    struct producer_snapshot snapshot;
    struct wire_reader reader;

    if (length < SNAPSHOT_PREFIX_BYTES || load_be16(bytes) != 1) {
        dump_problem(dump, 0, "not a producer snapshot of version 1");
        return;
    }
    if (load_be32(bytes + 2) != crc32c(0, bytes + SNAPSHOT_PREFIX_BYTES, length - SNAPSHOT_PREFIX_BYTES))
        dump_problem(dump, 2, "the CRC does not fit");
    reader = wire_reader_of(bytes + 2, length - 2);
    if (message_decode(&producer_snapshot_schema, 1, &reader, arena, &snapshot) != PST_OK ||
        wire_left(&reader) > 0)
        dump_problem(dump, SNAPSHOT_PREFIX_BYTES, "malformed entries");
    else
        print_producers(dump, &snapshot);
}

bool dump_producer_snapshot(struct dump *dump, FILE *file)
{
    uint8_t *bytes = malloc(SNAPSHOT_BYTES_MAX);
    struct arena *arena = arena_new(2 * (size_t)SNAPSHOT_BYTES_MAX);
    bool has_memory = bytes != NULL && arena != NULL;

    if (has_memory)
        check_snapshot(dump, bytes, fread(bytes, 1, SNAPSHOT_BYTES_MAX, file), arena);
    else
        cli_complain(&dump->cli, "out of memory");
    arena_free(arena);
    free(bytes);
    return has_memory;
}

bool dump_text(struct dump *dump, FILE *file)
{
    char line[4096];

    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (dump->problems)
            continue;
        if (dump->cli.json) {
            fputs("{\"line\":", stdout);
            cli_json_text(stdout, line, strlen(line));
            fputs("}\n", stdout);
        } else {
            puts(line);
        }
    }
    return true;
}
