/* Every message Kafka's own serializers made: decodes to its fields, encodes to its bytes, and no shorter or
 * damaged form of it does harm. */
#include "protocol/message.h"
#include "protocol/schemas.h"
#include "tests/support/lines.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define VECTORS    "tests/vectors/messages.jsonl.gz"
#define ARENA_MAX  (4u << 20)
#define BUFFER_MAX (4u << 20)

struct vector {
    const struct message_schema *schema;
    int16_t version;
    uint8_t *bytes;
    size_t length;
    json_t *fields;
    const char *name;
};

static const struct message_schema *find_schema(const char *type, const char *message)
{
    size_t count;
    const struct schema_row *rows = schemas_all(&count);
    char name[160];

    snprintf(name, sizeof name, "%s%s", message,
             strcmp(type, "request") == 0    ? "Request"
             : strcmp(type, "response") == 0 ? "Response"
                                             : "");
    if (strcmp(name, "RequestHeaderData") == 0 || strcmp(name, "ResponseHeaderData") == 0)
        name[strlen(name) - 4] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].schema;
    }
    return NULL;
}

static void with_vector(char *line, size_t length, void (*fn)(const struct vector *v))
{
    json_t *json = json_loadb(line, length, JSON_DECODE_ANY, NULL);
    const char *type = json_string_value(json_object_get(json, "type"));
    const char *message = json_string_value(json_object_get(json, "message"));
    const char *hex = json_string_value(json_object_get(json, "hex"));
    struct vector v = {.schema = find_schema(type, message), .name = message};

    if (v.schema == NULL)
        fail_msg("no schema for %s %s", type, message);
    v.version = (int16_t)json_integer_value(json_object_get(json, "version"));
    v.fields = json_object_get(json, "fields");
    v.bytes = hex_decode(hex, strlen(hex), &v.length);
    fn(&v);
    free(v.bytes);
    json_decref(json);
}

static void *decode(const struct vector *v, const uint8_t *bytes, size_t length, struct arena *arena,
                    enum pst_status *ret_status, size_t *ret_left)
{
    struct wire_reader reader = wire_reader_of(bytes, length);
    void *message = arena_alloc(arena, message_struct_size(v->schema));

    *ret_status = message_decode(v->schema, v->version, &reader, arena, message);
    *ret_left = wire_left(&reader);
    return message;
}

/* Kafka prints doubles its own way, and escapes differ: compared as JSON when the texts differ. */
static bool same_fields(const struct vector *v, const struct buf *text)
{
    json_t *ours = json_loadb((const char *)text->at, text->length, JSON_DECODE_ANY, NULL);
    bool same = ours != NULL && json_equal(ours, v->fields);

    json_decref(ours);
    return same;
}

static void check_round_trip(const struct vector *v)
{
    struct arena *arena = arena_new(ARENA_MAX);
    struct buf out;
    enum pst_status status;
    size_t left;
    void *message = decode(v, v->bytes, v->length, arena, &status, &left);

    buf_init(&out, BUFFER_MAX);
    if (status != PST_OK || left != 0)
        fail_msg("%s v%d: %s, %zu bytes left", v->name, v->version, pst_status_text(status), left);
    message_format_json(v->schema, v->version, message, &out);
    if (!same_fields(v, &out)) {
        char *expected = json_dumps(v->fields, JSON_COMPACT);

        fail_msg("%s v%d:\n%.*s\nexpected\n%s", v->name, v->version, (int)out.length, (char *)out.at,
                 expected);
    }
    buf_reset(&out);
    status = message_encode(v->schema, v->version, message, &out);
    if (status != PST_OK || out.length != v->length ||
        (v->length > 0 && memcmp(out.at, v->bytes, v->length) != 0))
        fail_msg("%s v%d: encodes differently (%s, %zu bytes for %zu)", v->name, v->version,
                 pst_status_text(status), out.length, v->length);
    buf_free(&out);
    arena_free(arena);
}

static void round_trip_line(char *line, size_t length, void *arg)
{
    (void)arg;
    with_vector(line, length, check_round_trip);
}

static void every_kafka_message_decodes_to_its_fields_and_back_to_its_bytes(void **state)
{
    (void)state;
    assert_int_equal(lines_each(VECTORS, round_trip_line, NULL), 2860);
}

static void check_truncations(const struct vector *v)
{
    struct arena *arena = arena_new(ARENA_MAX);

    for (size_t length = 0; length < v->length; length++) {
        uint8_t *exact = malloc(length + 1); /* so that a sanitizer sees every byte too far */
        enum pst_status status;
        size_t left;

        memcpy(exact, v->bytes, length);
        decode(v, exact, length, arena, &status, &left);
        if (status == PST_OK)
            fail_msg("%s v%d cut to %zu of %zu bytes decodes", v->name, v->version, length, v->length);
        arena_clear(arena);
        free(exact);
    }
    arena_free(arena);
}

static void truncations_line(char *line, size_t length, void *arg)
{
    (void)arg;
    if (length < 4000) /* the long ones repeat the short ones' structures */
        with_vector(line, length, check_truncations);
}

static void no_truncated_message_decodes(void **state)
{
    (void)state;
    lines_each(VECTORS, truncations_line, NULL);
}

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Whatever a damaged frame decodes to must encode, decode and encode to the same again. */
static void check_mutations(const struct vector *v)
{
    struct arena *arena = arena_new(ARENA_MAX);
    uint8_t *bytes = malloc(v->length + 1);
    struct buf once;
    struct buf twice;

    buf_init(&once, BUFFER_MAX);
    buf_init(&twice, BUFFER_MAX);
    for (int round = 0; round < 20 && v->length > 0; round++) {
        enum pst_status status;
        size_t left;
        void *message;

        memcpy(bytes, v->bytes, v->length);
        for (uint64_t n = next_random() % 3 + 1; n > 0; n--)
            bytes[next_random() % v->length] = (uint8_t)next_random();
        message = decode(v, bytes, v->length, arena, &status, &left);
        buf_reset(&once);
        buf_reset(&twice);
        if (status == PST_OK && message_encode(v->schema, v->version, message, &once) == PST_OK) {
            message = decode(v, once.at, once.length, arena, &status, &left);
            assert_int_equal(status, PST_OK);
            assert_int_equal(left, 0);
            assert_int_equal(message_encode(v->schema, v->version, message, &twice), PST_OK);
            assert_int_equal(once.length, twice.length);
            if (once.length > 0)
                assert_memory_equal(once.at, twice.at, once.length);
        }
        arena_clear(arena);
    }
    buf_free(&once);
    buf_free(&twice);
    free(bytes);
    arena_free(arena);
}

static void mutations_line(char *line, size_t length, void *arg)
{
    (void)arg;
    with_vector(line, length, check_mutations);
}

static void damaged_messages_decode_to_something_that_stays_the_same_or_fail(void **state)
{
    (void)state;
    lines_each(VECTORS, mutations_line, NULL);
}

static void an_array_count_beyond_the_input_takes_no_memory(void **state)
{
    static const uint8_t metadata_v1[] = {0x7f, 0xff, 0xff, 0xff, 0x00, 0x01, 'a'};
    struct vector v = {.schema = find_schema("request", "Metadata"), .version = 1};
    struct arena *arena = arena_new(ARENA_MAX);
    enum pst_status status;
    size_t left;

    (void)state;
    decode(&v, metadata_v1, sizeof metadata_v1, arena, &status, &left);
    assert_int_equal(status, PST_TRUNCATED);
    assert_true(arena_used_bytes(arena) < 1024);
    arena_free(arena);
}

static void a_version_outside_the_schema_is_unsupported(void **state)
{
    struct vector v = {.schema = find_schema("request", "Produce"), .version = 2};
    struct arena *arena = arena_new(ARENA_MAX);
    enum pst_status status;
    size_t left;

    (void)state;
    decode(&v, (const uint8_t *)"", 0, arena, &status, &left);
    assert_int_equal(status, PST_UNSUPPORTED);
    v.version = 99;
    decode(&v, (const uint8_t *)"", 0, arena, &status, &left);
    assert_int_equal(status, PST_UNSUPPORTED);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_array_count_beyond_the_input_takes_no_memory),
        cmocka_unit_test(a_version_outside_the_schema_is_unsupported),
        cmocka_unit_test(every_kafka_message_decodes_to_its_fields_and_back_to_its_bytes),
        cmocka_unit_test(no_truncated_message_decodes),
        cmocka_unit_test(damaged_messages_decode_to_something_that_stays_the_same_or_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
