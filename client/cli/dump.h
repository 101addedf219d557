/* What the parts of `penstock dump` share.  Everything is read from files, no broker is asked; the files may
 * be those of a running broker, of Apache Kafka, or damaged. */
#ifndef PENSTOCK_CLIENT_CLI_DUMP_H
#define PENSTOCK_CLIENT_CLI_DUMP_H

#include "client/cli/cli.h"
#include "protocol/record_batch.h"

struct dump {
    struct cli cli;
    bool records;  /* -r: also the records of the batches */
    bool problems; /* -q: only what is wrong */
    int64_t from_offset;
    int64_t count_max; /* batches or entries per file; -1: all */

    const char *path; /* of the file in hand */
    uint64_t file_count;
    uint64_t problem_count;
    uint64_t bytes;
    struct cli_progress progress;
};

/* A line on stderr that names the file and the place in it; counts as a problem. */
void dump_problem(struct dump *dump, int64_t position, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Each dumps one open file of its kind; false when reading failed (complained). */
bool dump_batches(struct dump *dump, FILE *file);
bool dump_offset_index(struct dump *dump, FILE *file);
bool dump_time_index(struct dump *dump, FILE *file);
bool dump_txn_index(struct dump *dump, FILE *file);
bool dump_producer_snapshot(struct dump *dump, FILE *file);
bool dump_text(struct dump *dump, FILE *file);

/* One record, decoded where its topic (from the file's folder) tells how: metadata, groups, transactions. */
void dump_record(const struct dump *dump, const struct record_batch_info *batch, const struct record *record);

#endif
