/* Java properties: "key=value", "key: value" or "key value" lines, # and ! comments, \ continuations and
 * escapes. */
#ifndef PENSTOCK_COMMON_PROPERTIES_H
#define PENSTOCK_COMMON_PROPERTIES_H

#include "common/status.h"
#include "common/str.h"

/* Calls fn for each entry with unescaped, NUL-terminated strings (borrowed for the call) and the line it
 * began on. fn returning anything but PST_OK ends the walk with that.  PST_NOMEM. */
MUST_CHECK enum pst_status properties_each(struct str text,
                                           enum pst_status (*fn)(void *arg, const char *key,
                                                                 const char *value, unsigned line),
                                           void *arg);

#endif
