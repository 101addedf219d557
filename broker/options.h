/* The daemon's options: one row each in options.def, which also makes the sample file and the manual.
 *
 * Threads: filled before any thread starts; reloadable fields are changed by the control thread only and read
 * by others through what they are turned into (topic configurations). */
#ifndef PENSTOCK_BROKER_OPTIONS_H
#define PENSTOCK_BROKER_OPTIONS_H

#include "common/buf.h"
#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define OPTION_FIELD_BOOL(name)                                        bool name;
#define OPTION_FIELD_INT(name)                                         int64_t name;
#define OPTION_FIELD_STR(name)                                         char *name;

#define OPTION(field, key, type, initial, min, max, flags, unit, text) OPTION_FIELD_##type(field)
struct broker_options {
#include "broker/options.def"
    uint8_t set[16]; /* bit i: row i was given by file or command line */
};
#undef OPTION

enum option_type {
    OPTION_TYPE_BOOL,
    OPTION_TYPE_INT,
    OPTION_TYPE_STR,
};

enum option_flags {
    RELOADABLE = 1, /* a SIGHUP takes it over */
};

struct option_row {
    const char *key;
    enum option_type type;
    int64_t initial;          /* BOOL, INT */
    const char *initial_text; /* STR */
    int64_t min;
    int64_t max;
    unsigned flags;
    const char *unit;
    const char *text;
    size_t offset; /* in struct broker_options */
};

const struct option_row *options_rows(unsigned *ret_count);

MUST_CHECK enum pst_status options_init(struct broker_options *options); /* all defaults; PST_NOMEM */
void options_free(struct broker_options *options);

/* Sets one option.  `where` ("file:12" or "--set") begins the messages.  PST_INVALID: the value, with the
 * reason appended to `messages`; an unknown key is PST_OK with a warning there, naming the nearest known one.
 */
MUST_CHECK enum pst_status options_set(struct broker_options *options, const char *key, const char *value,
                                       const char *where, struct buf *messages);
/* Reads a properties file.  PST_NOT_FOUND, PST_DENIED, PST_IO; PST_INVALID as options_set (all bad lines are
 * reported). */
MUST_CHECK enum pst_status options_load(struct broker_options *options, const char *path,
                                        struct buf *messages);

/* The value as text ("true", "42", "…"). */
void options_format(const struct broker_options *options, const struct option_row *row, struct buf *out);
const struct option_row *options_find(const char *key); /* NULL: unknown */
bool options_is_set(const struct broker_options *options, const struct option_row *row);
/* The sample configuration file. */
void options_write_sample(struct buf *out);

#endif
