#include "client/config.h"

#include "common/compress.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum option_type { NUMBER, BOOLEAN, CHOICE, TEXT };

struct option {
    const char *key;
    enum option_type type;
    int64_t low;
    int64_t high;
    const char *preset;
    const char *choices;
    const char *doc;
};

#define OPTION(id, key, type, low, high, preset, choices, doc) {key, type, low, high, preset, choices, doc},
static const struct option options[] = {
#include "client/options.def"
};
#undef OPTION

static int find_option(const char *key)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (strcmp(options[i].key, key) == 0)
            return i;
    return -1;
}

/* Levenshtein distance of two short words, by rows. */
#define KEY_LENGTH_MAX 64u

static unsigned word_distance(const char *a, const char *b)
{
    unsigned row[KEY_LENGTH_MAX + 1];
    size_t a_length = strlen(a), b_length = strlen(b);

    if (a_length > KEY_LENGTH_MAX || b_length > KEY_LENGTH_MAX)
        return UINT32_MAX;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_length; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j - 1] + 1 < change)
                change = row[j - 1] + 1;
            if (row[j] + 1 < change)
                change = row[j] + 1;
            row[j] = change;
        }
    }
    return row[b_length];
}

static const char *nearest_key(const char *key)
{
    unsigned best = UINT32_MAX;
    const char *nearest = options[0].key;

    for (int i = 0; i < OPTION_COUNT; i++) {
        unsigned distance = word_distance(key, options[i].key);

        if (distance < best) {
            best = distance;
            nearest = options[i].key;
        }
    }
    return nearest;
}

/* The place of `value` in a comma-separated list; -1: not in it. */
static int64_t choice_index(const char *choices, const char *value)
{
    size_t length = strlen(value);
    int64_t index = 0;

    for (const char *at = choices; at != NULL; index++) {
        const char *comma = strchr(at, ',');
        size_t word = comma == NULL ? strlen(at) : (size_t)(comma - at);

        if (word == length && memcmp(at, value, length) == 0)
            return index;
        at = comma == NULL ? NULL : comma + 1;
    }
    return -1;
}

static pst_err_t parse_value(const struct option *option, const char *value, int64_t *ret,
                             struct pst_error *error)
{
    int64_t number = 0;

    switch (option->type) {
    case NUMBER:
        if (!str_parse_i64(str_of(value), &number) || number < option->low || number > option->high)
            return error_set(error, PST_ERR_INVALID_CONFIG, "%s=%s: must be a number from %lld to %lld",
                             option->key, value, (long long)option->low, (long long)option->high);
        break;
    case BOOLEAN:
        if (strcasecmp(value, "true") != 0 && strcasecmp(value, "false") != 0)
            return error_set(error, PST_ERR_INVALID_CONFIG, "%s=%s: must be true or false", option->key,
                             value);
        number = strcasecmp(value, "true") == 0;
        break;
    case CHOICE:
        number = choice_index(option->choices, value);
        if (number < 0)
            return error_set(error, PST_ERR_INVALID_CONFIG, "%s=%s: must be one of %s", option->key, value,
                             option->choices);
        break;
    case TEXT:
        break;
    }
    *ret = number;
    return PST_ERR_NONE;
}

struct pst_config *pst_config_new(void)
{
    struct pst_config *config = calloc(1, sizeof *config);

    if (config == NULL)
        return NULL;
    for (int i = 0; i < OPTION_COUNT; i++) {
        config->text[i] = strdup(options[i].preset);
        if (config->text[i] == NULL ||
            parse_value(&options[i], options[i].preset, &config->number[i], NULL) != PST_ERR_NONE) {
            pst_config_free(config);
            return NULL;
        }
    }
    return config;
}

void pst_config_free(struct pst_config *config)
{
    if (config == NULL)
        return;
    for (int i = 0; i < OPTION_COUNT; i++)
        free(config->text[i]);
    free(config);
}

pst_err_t pst_config_set(struct pst_config *config, const char *key, const char *value,
                         struct pst_error *error)
{
    int64_t number;
    pst_err_t code;
    char *text;
    int index;

    if (config == NULL || key == NULL || value == NULL)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "config, key and value must be given");
    index = find_option(key);
    if (index < 0)
        return error_set(error, PST_ERR_INVALID_CONFIG, "no configuration key \"%s\"; the nearest is %s", key,
                         nearest_key(key));
    code = parse_value(&options[index], value, &number, error);
    if (code != PST_ERR_NONE)
        return code;
    text = strdup(value);
    if (text == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    free(config->text[index]);
    config->text[index] = text;
    config->number[index] = number;
    config->given[index] = true;
    return PST_ERR_NONE;
}

const char *pst_config_get(const struct pst_config *config, const char *key)
{
    int index = config == NULL || key == NULL ? -1 : find_option(key);

    return index < 0 ? NULL : config->text[index];
}

bool pst_config_describe(size_t index, const char **ret_key, const char **ret_default, const char **ret_doc)
{
    if (index >= OPTION_COUNT)
        return false;
    if (ret_key != NULL)
        *ret_key = options[index].key;
    if (ret_default != NULL)
        *ret_default = options[index].preset;
    if (ret_doc != NULL)
        *ret_doc = options[index].doc;
    return true;
}

int16_t config_acks(const struct pst_config *config)
{
    static const int16_t acks[] = {-1, -1, 0, 1};

    return acks[config->number[OPTION_ACKS]];
}

/* What idempotence needs of other keys; NULL: all there. */
static const char *idempotence_obstacle(const struct pst_config *config)
{
    if (config_acks(config) != -1)
        return "acks=all";
    if (config->number[OPTION_RETRIES] == 0)
        return "retries above 0";
    if (config->number[OPTION_MAX_IN_FLIGHT] > 5)
        return "max.in.flight.requests.per.connection of at most 5";
    return NULL;
}

static pst_err_t settle(struct pst_config *config, struct pst_error *error)
{
    const char *obstacle = idempotence_obstacle(config);
    int64_t needed_ms = config->number[OPTION_LINGER] + config->number[OPTION_REQUEST_TIMEOUT];

    if (config->text[OPTION_BOOTSTRAP][0] == '\0')
        return error_set(error, PST_ERR_INVALID_CONFIG, "bootstrap.servers is not set");
    if (config->number[OPTION_IDEMPOTENCE] && obstacle != NULL) {
        if (config->given[OPTION_IDEMPOTENCE])
            return error_set(error, PST_ERR_INVALID_CONFIG, "enable.idempotence=true needs %s", obstacle);
        config->number[OPTION_IDEMPOTENCE] = 0;
    }
    if (config->number[OPTION_DELIVERY_TIMEOUT] < needed_ms) {
        if (config->given[OPTION_DELIVERY_TIMEOUT])
            return error_set(error, PST_ERR_INVALID_CONFIG,
                             "delivery.timeout.ms must be at least linger.ms + request.timeout.ms (%lld)",
                             (long long)needed_ms);
        config->number[OPTION_DELIVERY_TIMEOUT] = needed_ms;
    }
    return PST_ERR_NONE;
}

pst_err_t config_settle(const struct pst_config *config, struct pst_config **ret, struct pst_error *error)
{
    struct pst_config *copy = calloc(1, sizeof *copy);
    pst_err_t code = PST_ERR_NO_MEMORY;

    if (copy == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    memcpy(copy->number, config->number, sizeof copy->number);
    memcpy(copy->given, config->given, sizeof copy->given);
    for (int i = 0; i < OPTION_COUNT; i++) {
        copy->text[i] = strdup(config->text[i]);
        if (copy->text[i] == NULL) {
            error_set_code(error, code);
            goto fail;
        }
    }
    code = settle(copy, error);
    if (code != PST_ERR_NONE)
        goto fail;
    *ret = copy;
    return PST_ERR_NONE;

fail:
    pst_config_free(copy);
    return code;
}
