/* How functions of the library tell their caller what went wrong: a code, and a sentence written where it is
 * known. */
#ifndef PENSTOCK_CLIENT_ERROR_H
#define PENSTOCK_CLIENT_ERROR_H

#include "client/include/penstock/penstock.h"
#include "common/status.h"
#include "common/str.h"

/* Stores code and text (error may be NULL) and returns the code. */
pst_err_t error_set(struct pst_error *error, pst_err_t code, const char *format, ...) PRINTF_LIKE(3, 4);
/* The same with the code's own sentence. */
pst_err_t error_set_code(struct pst_error *error, pst_err_t code);
/* An item's outcome: the peer's words when there are some, else the code's sentence; "" on success. */
void outcome_set(struct pst_outcome *outcome, pst_err_t code, struct str words);
/* What a status of our own layers means to the library's user. */
pst_err_t error_of_status(enum pst_status status);

#endif
