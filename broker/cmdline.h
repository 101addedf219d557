/* The daemon's command line. */
#ifndef PENSTOCK_BROKER_CMDLINE_H
#define PENSTOCK_BROKER_CMDLINE_H

#include "broker/options.h"

enum cmdline_action {
    CMDLINE_RUN,
    CMDLINE_CHECK,  /* --check-config */
    CMDLINE_SAMPLE, /* --sample-config */
    CMDLINE_HELP,
    CMDLINE_VERSION,
    CMDLINE_ERROR, /* messages say why */
};

/* Reads -c FILE and --set key=value into `options` (initialised by the caller; also used again for a reload).
 */
enum cmdline_action cmdline_read(int argc, char **argv, struct broker_options *options, struct buf *messages);

extern const char cmdline_help[];

#endif
