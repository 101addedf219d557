#include "client/error.h"

#include "protocol/error_codes.h"

#include <stdarg.h>
#include <stdio.h>

struct local_error {
    pst_err_t code;
    const char *name;
    bool retriable;
    const char *text;
};

static const struct local_error local_errors[] = {
    {PST_ERR_INVALID_ARGUMENT, "INVALID_ARGUMENT", false, "an argument is not valid"},
    {PST_ERR_INVALID_CONFIG, "INVALID_CONFIG_KEY_OR_VALUE", false, "the configuration is not valid"},
    {PST_ERR_NO_MEMORY, "NO_MEMORY", false, "out of memory"},
    {PST_ERR_TIMED_OUT, "TIMED_OUT", true, "timed out"},
    {PST_ERR_QUEUE_FULL, "QUEUE_FULL", true, "buffer.memory is used up"},
    {PST_ERR_TRANSPORT, "TRANSPORT", true, "the connection failed"},
    {PST_ERR_BAD_RESPONSE, "BAD_RESPONSE", false, "the broker sent an answer that cannot be read"},
    {PST_ERR_UNSUPPORTED, "UNSUPPORTED", false, "the broker serves no version of this request that we speak"},
    {PST_ERR_CLOSED, "CLOSED", false, "closed"},
    {PST_ERR_MESSAGE_TOO_LARGE, "MESSAGE_OVER_REQUEST_SIZE", false,
     "the record is larger than max.request.size"},
    {PST_ERR_DELIVERY_TIMED_OUT, "DELIVERY_TIMED_OUT", false,
     "delivery.timeout.ms passed before the record was acknowledged"},
    {PST_ERR_CORRUPT, "CORRUPT", false, "a fetched batch fails its check"},
    {PST_ERR_PARTITION_EOF, "PARTITION_EOF", false, "the end of the partition is reached"},
    {PST_ERR_NO_OFFSET, "NO_OFFSET", false, "there is no position and auto.offset.reset is none"},
    {PST_ERR_UNKNOWN_PARTITION, "UNKNOWN_PARTITION", false, "no such partition"},
    {PST_ERR_SYSTEM, "SYSTEM", false, "a call of the operating system failed"},
};

static const struct local_error *find_local(pst_err_t code)
{
    for (size_t i = 0; i < sizeof local_errors / sizeof local_errors[0]; i++)
        if (local_errors[i].code == code)
            return &local_errors[i];
    return NULL;
}

const char *pst_err_name(pst_err_t code)
{
    const struct local_error *local = find_local(code);

    if (local != NULL)
        return local->name;
    return code < INT16_MIN || code > INT16_MAX ? "UNKNOWN" : kafka_error_name((int16_t)code);
}

const char *pst_err_text(pst_err_t code)
{
    const struct local_error *local = find_local(code);

    if (local != NULL)
        return local->text;
    return code < INT16_MIN || code > INT16_MAX ? "unknown error" : kafka_error_text((int16_t)code);
}

bool pst_err_is_retriable(pst_err_t code)
{
    const struct local_error *local = find_local(code);

    if (local != NULL)
        return local->retriable;
    return code >= INT16_MIN && code <= INT16_MAX && kafka_error_is_retriable((int16_t)code);
}

const char *pst_version(void)
{
    return PENSTOCK_VERSION;
}

pst_err_t error_set(struct pst_error *error, pst_err_t code, const char *format, ...)
{
    va_list arguments;

    if (error == NULL)
        return code;
    error->code = code;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return code;
}

pst_err_t error_set_code(struct pst_error *error, pst_err_t code)
{
    return error_set(error, code, "%s", pst_err_text(code));
}

void outcome_set(struct pst_outcome *outcome, pst_err_t code, struct str words)
{
    outcome->code = code;
    if (code == PST_ERR_NONE)
        outcome->text[0] = '\0';
    else if (words.at != NULL && words.length > 0)
        snprintf(outcome->text, sizeof outcome->text, "%.*s", STR_FORMAT(words));
    else
        snprintf(outcome->text, sizeof outcome->text, "%s", pst_err_text(code));
}

pst_err_t error_of_status(enum pst_status status)
{
    switch (status) {
    case PST_OK:
        return PST_ERR_NONE;
    case PST_NOMEM:
        return PST_ERR_NO_MEMORY;
    case PST_UNSUPPORTED:
        return PST_ERR_UNSUPPORTED;
    case PST_INVALID:
        return PST_ERR_INVALID_ARGUMENT;
    case PST_TIMEOUT:
        return PST_ERR_TIMED_OUT;
    case PST_CLOSED:
        return PST_ERR_CLOSED;
    case PST_CORRUPT:
        return PST_ERR_CORRUPT;
    default:
        return PST_ERR_SYSTEM;
    }
}
