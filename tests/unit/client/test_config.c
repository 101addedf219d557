#include "client/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_bad_key_or_value_is_refused_with_the_reason(void **state)
{
    static const struct {
        const char *key, *value, *text;
    } rows[] = {
        {"linger", "5", "linger.ms"},
        {"bootstrap.server", "x", "bootstrap.servers"},
        {"fetch.max.byte", "1", "fetch.max.bytes"},
        {"linger.ms", "-1", "from 0 to"},
        {"linger.ms", "5ms", "from 0 to"},
        {"linger.ms", "", "from 0 to"},
        {"linger.ms", "99999999999999999999", "from 0 to"},
        {"enable.idempotence", "yes", "true or false"},
        {"compression.type", "brotli", "none,gzip,snappy,lz4,zstd"},
        {"acks", "2", "all,-1,0,1"},
        {"acks", "al", "all,-1,0,1"},
    };
    struct pst_config *config = pst_config_new();

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pst_error error = {0};

        assert_int_equal(pst_config_set(config, rows[i].key, rows[i].value, &error), PST_ERR_INVALID_CONFIG);
        assert_int_equal(error.code, PST_ERR_INVALID_CONFIG);
        assert_non_null(strstr(error.text, rows[i].text));
    }
    assert_string_equal(pst_config_get(config, "linger.ms"), "5");
    assert_int_equal(pst_config_set(NULL, "linger.ms", "5", NULL), PST_ERR_INVALID_ARGUMENT);
    pst_config_free(config);
}

static void every_key_has_a_default_it_would_accept_itself(void **state)
{
    struct pst_config *config = pst_config_new();
    const char *key, *preset, *doc, *last = "";
    size_t index = 0;

    (void)state;
    while (pst_config_describe(index++, &key, &preset, &doc)) {
        assert_int_equal(pst_config_set(config, key, preset, NULL), PST_ERR_NONE);
        assert_string_equal(pst_config_get(config, key), preset);
        assert_true(strcmp(last, key) < 0); /* by key, so that users find it */
        assert_true(strlen(doc) > 10);
        last = key;
    }
    assert_int_equal(index - 1, OPTION_COUNT);
    assert_null(pst_config_get(config, "no.such.key"));
    pst_config_free(config);
}

static pst_err_t settled(const char *const *pairs, struct pst_config **ret, struct pst_error *error)
{
    struct pst_config *config = pst_config_new();
    pst_err_t code;

    for (; pairs[0] != NULL; pairs += 2)
        assert_int_equal(pst_config_set(config, pairs[0], pairs[1], error), PST_ERR_NONE);
    code = config_settle(config, ret, error);
    pst_config_free(config);
    return code;
}

static void keys_that_contradict_each_other_are_refused(void **state)
{
    static const char *const rows[][7] = {
        {NULL},
        {"bootstrap.servers", "a:1", "enable.idempotence", "true", "acks", "1", NULL},
        {"bootstrap.servers", "a:1", "enable.idempotence", "true", "retries", "0", NULL},
        {"bootstrap.servers", "a:1", "enable.idempotence", "true", "max.in.flight.requests.per.connection",
         "6", NULL},
        {"bootstrap.servers", "a:1", "delivery.timeout.ms", "100", NULL},
    };
    static const char *const words[] = {"bootstrap.servers", "acks=all", "retries", "max.in.flight",
                                        "delivery.timeout.ms"};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pst_config *config = NULL;
        struct pst_error error = {0};

        assert_int_equal(settled(rows[i], &config, &error), PST_ERR_INVALID_CONFIG);
        assert_non_null(strstr(error.text, words[i]));
        assert_null(config);
    }
}

static void idempotence_not_asked_for_gives_way(void **state)
{
    static const char *const pairs[] = {"bootstrap.servers", "a:1", "acks", "1", NULL};
    struct pst_config *config = NULL;

    (void)state;
    assert_int_equal(settled(pairs, &config, NULL), PST_ERR_NONE);
    assert_int_equal(config->number[OPTION_IDEMPOTENCE], 0);
    assert_int_equal(config_acks(config), 1);
    pst_config_free(config);
}

static void acks_reads_all_its_spellings(void **state)
{
    static const struct {
        const char *text;
        int acks;
    } rows[] = {{"all", -1}, {"-1", -1}, {"0", 0}, {"1", 1}};
    struct pst_config *config = pst_config_new();

    (void)state;
    assert_int_equal(config_acks(config), -1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(pst_config_set(config, "acks", rows[i].text, NULL), PST_ERR_NONE);
        assert_int_equal(config_acks(config), rows[i].acks);
    }
    pst_config_free(config);
}

static void a_client_says_which_bootstrap_address_is_wrong(void **state)
{
    static const char *const rows[] = {"a:0",  "a:65536", "a:x", ":9092",
                                       "[::1", "[::1]x",  ",",   "good:1,bad:"};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pst_config *config = pst_config_new();
        struct pst_client *client = NULL;
        struct pst_error error = {0};

        assert_int_equal(pst_config_set(config, "bootstrap.servers", rows[i], NULL), PST_ERR_NONE);
        assert_int_equal(pst_client_new(config, &client, &error), PST_ERR_INVALID_CONFIG);
        assert_non_null(strstr(error.text, "bootstrap.servers"));
        assert_null(client);
        pst_config_free(config);
    }
}

static void a_client_takes_names_numbers_and_v6_addresses(void **state)
{
    struct pst_config *config = pst_config_new();
    struct pst_client *client = NULL;

    (void)state;
    assert_int_equal(
        pst_config_set(config, "bootstrap.servers", "localhost, 127.0.0.1:1 ,[::1]:9092,[::1]", NULL),
        PST_ERR_NONE);
    assert_int_equal(pst_client_new(config, &client, NULL), PST_ERR_NONE);
    pst_client_free(client);
    pst_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_key_or_value_is_refused_with_the_reason),
        cmocka_unit_test(every_key_has_a_default_it_would_accept_itself),
        cmocka_unit_test(keys_that_contradict_each_other_are_refused),
        cmocka_unit_test(idempotence_not_asked_for_gives_way),
        cmocka_unit_test(acks_reads_all_its_spellings),
        cmocka_unit_test(a_client_says_which_bootstrap_address_is_wrong),
        cmocka_unit_test(a_client_takes_names_numbers_and_v6_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
