#include "protocol/error_codes.h"

#include <stddef.h>

struct error {
    int16_t code;
    bool retriable;
    const char *name;
    const char *text;
};

#define ERROR(code, name, retriable, text) {code, retriable, #name, text},
static const struct error errors[] = {
#include "protocol/error_codes.def"
};
#undef ERROR

/* The list is dense from -1 on. */
static const struct error *find(int16_t code)
{
    if (code < -1 || code + 1 >= (int)(sizeof errors / sizeof errors[0]))
        return NULL;
    return &errors[code + 1];
}

const char *kafka_error_name(int16_t code)
{
    const struct error *error = find(code);

    return error == NULL ? "UNKNOWN" : error->name;
}

const char *kafka_error_text(int16_t code)
{
    const struct error *error = find(code);

    return error == NULL ? "an error code this build does not know" : error->text;
}

bool kafka_error_is_retriable(int16_t code)
{
    const struct error *error = find(code);

    return error != NULL && error->retriable;
}
