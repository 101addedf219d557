/* Record batches of a segment or a metadata snapshot, checked one after the other. */
#include "client/cli/dump.h"

#include <stdlib.h>
#include <string.h>

/* Inflated bytes of one batch that are looked at: far above what any broker accepts. */
#define INFLATED_MAX ((size_t)1 << 30)

struct scan {
    struct dump *dump;
    FILE *file;
    int64_t position; /* of the batch in hand */
    int64_t file_bytes;
    uint8_t *bytes; /* the batch */
    size_t capacity;
    int64_t next_offset; /* the lowest offset the next batch may have */
    int64_t shown;
};

static void print_batch_text(const struct scan *scan, const struct record_batch_info *info)
{
    printf("batch offset %lld-%lld  records %d  position %lld  size %u  time %lld  codec %s  epoch %d",
           (long long)info->base_offset, (long long)info->last_offset, info->record_count,
           (long long)scan->position, info->size_bytes, (long long)info->max_timestamp_ms,
           compress_name((enum compress_codec)(info->attributes & RECORD_BATCH_CODEC_MASK)),
           info->leader_epoch);
    if (info->producer_id != NO_PRODUCER_ID)
        printf("  producer %lld/%d  sequence %d", (long long)info->producer_id, info->producer_epoch,
               info->base_sequence);
    printf("%s%s%s%s\n", info->attributes & RECORD_BATCH_LOG_APPEND_TIME ? "  append-time" : "",
           info->attributes & RECORD_BATCH_TRANSACTIONAL ? "  transactional" : "",
           info->attributes & RECORD_BATCH_CONTROL ? "  control" : "",
           info->attributes & RECORD_BATCH_DELETE_HORIZON ? "  delete-horizon" : "");
}

static void print_batch_json(const struct scan *scan, const struct record_batch_info *info)
{
    static const char *const flags[] = {"false", "true"};

    printf("{\"baseOffset\":%lld,\"lastOffset\":%lld,\"records\":%d,\"position\":%lld,\"size\":%u,"
           "\"baseTimestamp\":%lld,\"maxTimestamp\":%lld,\"compression\":\"%s\",\"leaderEpoch\":%d,"
           "\"producerId\":%lld,\"producerEpoch\":%d,\"baseSequence\":%d,\"appendTime\":%s,"
           "\"transactional\":%s,\"control\":%s,\"crc\":%u}\n",
           (long long)info->base_offset, (long long)info->last_offset, info->record_count,
           (long long)scan->position, info->size_bytes, (long long)info->base_timestamp_ms,
           (long long)info->max_timestamp_ms,
           compress_name((enum compress_codec)(info->attributes & RECORD_BATCH_CODEC_MASK)),
           info->leader_epoch, (long long)info->producer_id, info->producer_epoch, info->base_sequence,
           flags[(info->attributes & RECORD_BATCH_LOG_APPEND_TIME) != 0],
           flags[(info->attributes & RECORD_BATCH_TRANSACTIONAL) != 0],
           flags[(info->attributes & RECORD_BATCH_CONTROL) != 0], info->crc);
}

static void walk_records(struct scan *scan, const struct record_batch_info *info)
{
    struct record_walker *walker;
    struct record record;
    enum pst_status status = record_walker_open(scan->bytes, info->size_bytes, INFLATED_MAX, &walker);

    if (status != PST_OK) {
        dump_problem(scan->dump, scan->position, "the records do not inflate: %s", pst_status_text(status));
        return;
    }
    while ((status = record_walker_next(walker, &record)) == PST_OK) {
        if (scan->dump->records && !scan->dump->problems && record.offset >= scan->dump->from_offset)
            dump_record(scan->dump, info, &record);
    }
    if (status != PST_EOF)
        dump_problem(scan->dump, scan->position, "malformed records: %s", pst_status_text(status));
    record_walker_close(walker);
}

static void show_batch(struct scan *scan, const struct record_batch_info *info)
{
    struct dump *dump = scan->dump;

    if (!record_batch_crc_fits(scan->bytes, info->size_bytes)) {
        dump_problem(dump, scan->position, "batch of offset %lld: the CRC does not fit",
                     (long long)info->base_offset);
        return;
    }
    if (info->base_offset < scan->next_offset)
        dump_problem(dump, scan->position, "batch of offset %lld follows offset %lld",
                     (long long)info->base_offset, (long long)scan->next_offset - 1);
    scan->next_offset = info->last_offset + 1;
    if (info->last_offset < dump->from_offset)
        return;
    scan->shown++;
    if (!dump->problems && dump->cli.json)
        print_batch_json(scan, info);
    else if (!dump->problems)
        print_batch_text(scan, info);
    walk_records(scan, info);
}

/* The rest of the file from the batch's position on: only zeros? */
static bool is_prepared_space(struct scan *scan)
{
    uint8_t block[65536];
    size_t length;

    if (fseeko(scan->file, scan->position, SEEK_SET) != 0)
        return false;
    while ((length = fread(block, 1, sizeof block, scan->file)) > 0) {
        for (size_t i = 0; i < length; i++) {
            if (block[i] != 0)
                return false;
        }
    }
    return true;
}

/* What is behind the last batch: nothing, space prepared by a running or killed broker, or a torn batch. */
static void show_tail(struct scan *scan, const char *why)
{
    int64_t left = scan->file_bytes - scan->position;

    if (left > 0 && is_prepared_space(scan)) {
        if (!scan->dump->problems && !scan->dump->cli.json)
            printf("%lld bytes of prepared space\n", (long long)left);
    } else if (left > 0) {
        dump_problem(scan->dump, scan->position, "%lld bytes are no batch: %s", (long long)left, why);
    }
}

/* Reads the batch at the position; NULL, or why there is none. */
static const char *read_batch(struct scan *scan, struct record_batch_info *ret)
{
    uint8_t header[RECORD_BATCH_HEADER_BYTES];
    enum pst_status status;

    if (fread(header, 1, sizeof header, scan->file) < sizeof header)
        return "too short for a header";
    status = record_batch_read_header(header, sizeof header, ret);
    if (status == PST_UNSUPPORTED)
        return "magic is not 2";
    if (status != PST_OK)
        return pst_status_text(status);
    if (ret->size_bytes > scan->file_bytes - scan->position)
        return "the batch is longer than the rest of the file";
    if (ret->size_bytes > scan->capacity) {
        uint8_t *grown = realloc(scan->bytes, ret->size_bytes);

        if (grown == NULL)
            return "out of memory";
        scan->bytes = grown;
        scan->capacity = ret->size_bytes;
    }
    memcpy(scan->bytes, header, sizeof header);
    if (fread(scan->bytes + sizeof header, 1, ret->size_bytes - sizeof header, scan->file) <
        ret->size_bytes - sizeof header)
        return "cannot be read";
    return NULL;
}

bool dump_batches(struct dump *dump, FILE *file)
{
    struct scan scan = {.dump = dump, .file = file};
    struct record_batch_info info;
    const char *why = NULL;

    if (fseeko(file, 0, SEEK_END) != 0 || (scan.file_bytes = ftello(file)) < 0 ||
        fseeko(file, 0, SEEK_SET) != 0) {
        cli_complain(&dump->cli, "%s: cannot be read", dump->path);
        return false;
    }
    while (dump->count_max < 0 || scan.shown < dump->count_max) {
        why = read_batch(&scan, &info);
        if (why != NULL)
            break;
        show_batch(&scan, &info);
        scan.position += info.size_bytes;
        dump->bytes += info.size_bytes;
        cli_progress_show(&dump->progress, dump->file_count, 0, dump->bytes);
    }
    if (why != NULL)
        show_tail(&scan, why);
    free(scan.bytes);
    return true;
}
