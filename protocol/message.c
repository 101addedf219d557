#include "protocol/message.h"

#include "protocol/message_schema.h"

#include <math.h>
#include <stdio.h>

#define NULL_COUNT (-1)

static bool in(const struct message_versions *versions, int16_t version)
{
    return version >= versions->low && version <= versions->high;
}

static bool is_nullable(const struct message_field *field)
{
    return field->null_versions.low <= field->null_versions.high;
}

static bool is_pointer_struct(const struct message_field *field)
{
    return field->type == MESSAGE_STRUCT && !field->array && is_nullable(field);
}

static bool uses_compact(const struct message_field *field, bool flexible)
{
    return flexible && !field->inflexible;
}

static void *member(const struct message_field *field, const void *message)
{
    return (uint8_t *)(uintptr_t)message + field->offset;
}

static int32_t *count_member(const struct message_field *field, const void *message)
{
    return (int32_t *)(void *)((uint8_t *)(uintptr_t)message + field->count_offset);
}

static size_t element_bytes(const struct message_field *field)
{
    static const uint8_t sizes[] = {
        [MESSAGE_BOOL] = sizeof(bool),
        [MESSAGE_INT8] = 1,
        [MESSAGE_INT16] = 2,
        [MESSAGE_UINT16] = 2,
        [MESSAGE_INT32] = 4,
        [MESSAGE_UINT32] = 4,
        [MESSAGE_INT64] = 8,
        [MESSAGE_FLOAT64] = 8,
        [MESSAGE_UUID] = 16,
        [MESSAGE_STRING] = sizeof(struct str),
        [MESSAGE_BYTES] = sizeof(struct str),
        [MESSAGE_RECORDS] = sizeof(struct wire_records),
        [MESSAGE_STRUCT] = 0,
    };

    return field->type == MESSAGE_STRUCT ? field->of->size_bytes : sizes[field->type];
}

static size_t element_wire_bytes_min(const struct message_field *field)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 8, 8, 16, 1, 1, 1, 0};

    return field->type == MESSAGE_STRUCT ? field->of->wire_bytes_min : sizes[field->type];
}

/* ---- defaults ---- */

static void set_default(const struct message_field *field, void *message)
{
    void *at = member(field, message);

    if (field->array) {
        *(void **)at = NULL;
        *count_member(field, message) = field->default_null ? NULL_COUNT : 0;
        return;
    }
    switch (field->type) {
    case MESSAGE_BOOL:
        *(bool *)at = field->default_value != 0;
        return;
    case MESSAGE_INT8:
        *(int8_t *)at = (int8_t)field->default_value;
        return;
    case MESSAGE_INT16:
    case MESSAGE_UINT16:
        *(uint16_t *)at = (uint16_t)field->default_value;
        return;
    case MESSAGE_INT32:
    case MESSAGE_UINT32:
        *(uint32_t *)at = (uint32_t)field->default_value;
        return;
    case MESSAGE_INT64:
        *(int64_t *)at = field->default_value;
        return;
    case MESSAGE_FLOAT64:
        *(double *)at = (double)field->default_value;
        return;
    case MESSAGE_UUID:
        memset(at, 0, sizeof(struct uuid));
        return;
    case MESSAGE_STRING:
    case MESSAGE_BYTES:
        *(struct str *)at = field->default_null ? str_null() : STR_LITERAL("");
        return;
    case MESSAGE_RECORDS:
        *(struct wire_records *)at = (struct wire_records){NULL, 0, NULL};
        return;
    case MESSAGE_STRUCT:
        if (is_pointer_struct(field))
            *(void **)at = NULL;
        else
            message_init(field->of, at);
        return;
    }
}

void message_init(const struct message_schema *schema, void *message)
{
    for (unsigned i = 0; i < schema->field_count; i++)
        set_default(&schema->fields[i], message);
}

static bool is_default_struct(const struct message_schema *schema, const void *message);

static bool is_default(const struct message_field *field, const void *message)
{
    const void *at = member(field, message);
    const struct str *text = at;

    if (field->array)
        return *count_member(field, message) == (field->default_null ? NULL_COUNT : 0);
    switch (field->type) {
    case MESSAGE_BOOL:
        return *(const bool *)at == (field->default_value != 0);
    case MESSAGE_INT8:
        return *(const int8_t *)at == field->default_value;
    case MESSAGE_INT16:
        return *(const int16_t *)at == field->default_value;
    case MESSAGE_UINT16:
        return *(const uint16_t *)at == field->default_value;
    case MESSAGE_INT32:
        return *(const int32_t *)at == field->default_value;
    case MESSAGE_UINT32:
        return *(const uint32_t *)at == field->default_value;
    case MESSAGE_INT64:
        return *(const int64_t *)at == field->default_value;
    case MESSAGE_FLOAT64: {
        double expected = (double)field->default_value;

        return memcmp(at, &expected, sizeof expected) == 0;
    }
    case MESSAGE_UUID:
        return uuid_is_zero(at);
    case MESSAGE_STRING:
    case MESSAGE_BYTES:
        return field->default_null ? text->at == NULL : text->at != NULL && text->length == 0;
    case MESSAGE_RECORDS:
        return ((const struct wire_records *)at)->at == NULL &&
               ((const struct wire_records *)at)->external == NULL;
    case MESSAGE_STRUCT:
        if (is_pointer_struct(field))
            return *(void *const *)at == NULL;
        return is_default_struct(field->of, at);
    }
    return false;
}

static bool is_default_struct(const struct message_schema *schema, const void *message)
{
    for (unsigned i = 0; i < schema->field_count; i++) {
        if (!is_default(&schema->fields[i], message))
            return false;
    }
    return true;
}

/* ---- decoding ---- */

struct decoding {
    struct wire_reader *reader;
    struct arena *arena;
    enum pst_status status; /* the arena's failure; the reader keeps its own */
    int16_t version;
    bool flexible;
};

static void decode_struct(struct decoding *d, const struct message_schema *schema, void *message);

static void fail_decoding(struct decoding *d, enum pst_status status)
{
    if (d->status == PST_OK)
        d->status = status;
    wire_fail(d->reader, PST_INVALID);
}

/* Length of a string, bytes, records or array: -1 for null.  `wide`: int32 in old versions, else int16. */
static int64_t read_length(struct decoding *d, const struct message_field *field, bool wide)
{
    int64_t length;

    if (uses_compact(field, d->flexible))
        length = (int64_t)wire_read_uvarint(d->reader) - 1;
    else if (wide)
        length = (int32_t)wire_read_u32(d->reader);
    else
        length = (int16_t)wire_read_u16(d->reader);
    if (d->reader->status != PST_OK)
        return 0;
    if (length < -1 || (length == -1 && !in(&field->null_versions, d->version))) {
        wire_fail(d->reader, PST_INVALID);
        return 0;
    }
    return length;
}

static void read_view(struct decoding *d, const struct message_field *field, struct str *to)
{
    int64_t length = read_length(d, field, field->type == MESSAGE_BYTES);
    const uint8_t *at;

    if (length < 0) {
        *to = str_null();
        return;
    }
    at = wire_read_bytes(d->reader, (size_t)length);
    *to = at == NULL ? STR_LITERAL("") : str_of_bytes(at, (size_t)length);
}

static void read_records(struct decoding *d, const struct message_field *field, struct wire_records *to)
{
    int64_t length = read_length(d, field, true);

    *to = (struct wire_records){NULL, 0, NULL};
    if (length < 0)
        return;
    to->at = wire_read_bytes(d->reader, (size_t)length);
    to->length = to->at == NULL ? 0 : (size_t)length;
}

static void decode_value(struct decoding *d, const struct message_field *field, void *at)
{
    struct wire_reader *r = d->reader;
    const uint8_t *raw;

    switch (field->type) {
    case MESSAGE_BOOL:
        *(bool *)at = wire_read_u8(r) != 0;
        return;
    case MESSAGE_INT8:
        *(int8_t *)at = (int8_t)wire_read_u8(r);
        return;
    case MESSAGE_INT16:
    case MESSAGE_UINT16:
        *(uint16_t *)at = wire_read_u16(r);
        return;
    case MESSAGE_INT32:
    case MESSAGE_UINT32:
        *(uint32_t *)at = wire_read_u32(r);
        return;
    case MESSAGE_INT64:
    case MESSAGE_FLOAT64: {
        uint64_t bits = wire_read_u64(r);

        memcpy(at, &bits, sizeof bits);
        return;
    }
    case MESSAGE_UUID:
        raw = wire_read_bytes(r, sizeof(struct uuid));
        if (raw != NULL)
            memcpy(at, raw, sizeof(struct uuid));
        else
            memset(at, 0, sizeof(struct uuid));
        return;
    case MESSAGE_STRING:
    case MESSAGE_BYTES:
        read_view(d, field, at);
        return;
    case MESSAGE_RECORDS:
        read_records(d, field, at);
        return;
    case MESSAGE_STRUCT:
        decode_struct(d, field->of, at);
        return;
    }
}

static void decode_array(struct decoding *d, const struct message_field *field, void *message)
{
    int64_t count = read_length(d, field, true);
    size_t element = element_bytes(field);
    uint8_t *at;

    *(void **)member(field, message) = NULL;
    *count_member(field, message) = (int32_t)count;
    if (count <= 0)
        return;
    if ((uint64_t)count > wire_left(d->reader) / element_wire_bytes_min(field)) {
        *count_member(field, message) = 0;
        wire_fail(d->reader, PST_TRUNCATED);
        return;
    }
    at = arena_alloc(d->arena, (size_t)count * element);
    if (at == NULL) {
        *count_member(field, message) = 0;
        fail_decoding(d, PST_FULL);
        return;
    }
    *(void **)member(field, message) = at;
    for (int64_t i = 0; i < count; i++) {
        decode_value(d, field, at + (size_t)i * element);
        if (d->reader->status != PST_OK) {
            *count_member(field, message) = 0;
            return;
        }
    }
}

static void decode_nullable_struct(struct decoding *d, const struct message_field *field, void *message)
{
    int8_t present = 1;
    void *at;

    *(void **)member(field, message) = NULL;
    if (in(&field->null_versions, d->version))
        present = (int8_t)wire_read_u8(d->reader);
    if (present < 0 || d->reader->status != PST_OK)
        return;
    at = arena_alloc(d->arena, field->of->size_bytes);
    if (at == NULL) {
        fail_decoding(d, PST_FULL);
        return;
    }
    decode_struct(d, field->of, at);
    *(void **)member(field, message) = at;
}

static void decode_field(struct decoding *d, const struct message_field *field, void *message)
{
    if (field->array)
        decode_array(d, field, message);
    else if (is_pointer_struct(field))
        decode_nullable_struct(d, field, message);
    else
        decode_value(d, field, member(field, message));
}

static const struct message_field *find_tag(const struct message_schema *schema, uint32_t tag,
                                            int16_t version)
{
    for (unsigned i = 0; i < schema->tag_count; i++) {
        const struct message_field *field = &schema->fields[schema->tags[i]];

        if ((uint32_t)field->tag == tag)
            return in(&field->versions, version) ? field : NULL;
    }
    return NULL;
}

static void decode_tags(struct decoding *d, const struct message_schema *schema, void *message)
{
    uint32_t count = wire_read_uvarint(d->reader);
    int64_t last = -1;

    if (count > wire_left(d->reader) / 2) { /* a tag takes two bytes at least */
        wire_fail(d->reader, PST_TRUNCATED);
        return;
    }
    while (count-- > 0 && d->reader->status == PST_OK) {
        uint32_t tag = wire_read_uvarint(d->reader);
        uint32_t size = wire_read_uvarint(d->reader);
        const uint8_t *at = wire_read_bytes(d->reader, size);
        const struct message_field *field = find_tag(schema, tag, d->version);
        struct wire_reader inner;
        struct decoding inside;

        if (at == NULL)
            return;
        if (tag <= last) {
            wire_fail(d->reader, PST_INVALID);
            return;
        }
        last = tag;
        if (field == NULL)
            continue; /* from a newer peer */
        inner = wire_reader_of(at, size);
        inside = *d;
        inside.reader = &inner;
        decode_field(&inside, field, message);
        if (inside.status != PST_OK)
            fail_decoding(d, inside.status);
        else if (inner.status != PST_OK || wire_left(&inner) != 0)
            wire_fail(d->reader, PST_INVALID);
    }
}

static void decode_struct(struct decoding *d, const struct message_schema *schema, void *message)
{
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct message_field *field = &schema->fields[i];

        if (field->tag >= 0 || !in(&field->versions, d->version))
            set_default(field, message);
        else
            decode_field(d, field, message);
    }
    if (d->flexible)
        decode_tags(d, schema, message);
}

enum pst_status message_decode(const struct message_schema *schema, int16_t version,
                               struct wire_reader *reader, struct arena *arena, void *message)
{
    struct decoding d = {.reader = reader,
                         .arena = arena,
                         .status = PST_OK,
                         .version = version,
                         .flexible = version >= schema->flexible_from};

    if (!in(&schema->versions, version))
        return PST_UNSUPPORTED;
    decode_struct(&d, schema, message);
    return d.status != PST_OK ? d.status : reader->status;
}

/* ---- encoding ---- */

struct encoding {
    struct buf *out;
    enum pst_status status;
    int16_t version;
    bool flexible;
    message_external_fn hook;
    void *hook_arg;
};

static void encode_struct(struct encoding *e, const struct message_schema *schema, const void *message);

static void fail_encoding(struct encoding *e, enum pst_status status)
{
    if (e->status == PST_OK)
        e->status = status;
}

static void put_length(struct encoding *e, const struct message_field *field, int64_t length, bool wide)
{
    if (length < 0 && !in(&field->null_versions, e->version)) {
        fail_encoding(e, PST_INVALID);
        return;
    }
    if (length > (wide || uses_compact(field, e->flexible) ? INT32_MAX - 1 : INT16_MAX) ||
        (field->type == MESSAGE_STRING && length > INT16_MAX && !field->array)) {
        fail_encoding(e, PST_INVALID);
        return;
    }
    if (uses_compact(field, e->flexible))
        buf_put_uvarint(e->out, (uint64_t)(length + 1));
    else if (wide)
        buf_put_be32(e->out, (uint32_t)(int32_t)length);
    else
        buf_put_be16(e->out, (uint16_t)(int16_t)length);
}

static void put_view(struct encoding *e, const struct message_field *field, const struct str *view)
{
    bool wide = field->type == MESSAGE_BYTES;

    if (view->at == NULL) {
        put_length(e, field, -1, wide);
        return;
    }
    put_length(e, field, (int64_t)view->length, wide);
    buf_append(e->out, view->at, view->length);
}

static void put_records(struct encoding *e, const struct message_field *field,
                        const struct wire_records *records)
{
    if (records->external != NULL) {
        put_length(e, field, (int64_t)records->length, true);
        if (e->hook == NULL)
            fail_encoding(e, PST_INVALID);
        else
            e->hook(e->hook_arg, e->out->length, records);
        return;
    }
    if (records->at == NULL) {
        put_length(e, field, -1, true);
        return;
    }
    put_length(e, field, (int64_t)records->length, true);
    buf_append(e->out, records->at, records->length);
}

static void encode_value(struct encoding *e, const struct message_field *field, const void *at)
{
    switch (field->type) {
    case MESSAGE_BOOL:
        buf_put_u8(e->out, *(const bool *)at ? 1 : 0);
        return;
    case MESSAGE_INT8:
        buf_put_u8(e->out, *(const uint8_t *)at);
        return;
    case MESSAGE_INT16:
    case MESSAGE_UINT16:
        buf_put_be16(e->out, *(const uint16_t *)at);
        return;
    case MESSAGE_INT32:
    case MESSAGE_UINT32:
        buf_put_be32(e->out, *(const uint32_t *)at);
        return;
    case MESSAGE_INT64:
    case MESSAGE_FLOAT64: {
        uint64_t bits;

        memcpy(&bits, at, sizeof bits);
        buf_put_be64(e->out, bits);
        return;
    }
    case MESSAGE_UUID:
        buf_append(e->out, at, sizeof(struct uuid));
        return;
    case MESSAGE_STRING:
    case MESSAGE_BYTES:
        put_view(e, field, at);
        return;
    case MESSAGE_RECORDS:
        put_records(e, field, at);
        return;
    case MESSAGE_STRUCT:
        encode_struct(e, field->of, at);
        return;
    }
}

static void encode_array(struct encoding *e, const struct message_field *field, const void *message)
{
    int32_t count = *count_member(field, message);
    const uint8_t *at = *(void *const *)member(field, message);
    size_t element = element_bytes(field);

    put_length(e, field, count, true);
    for (int32_t i = 0; i < count; i++)
        encode_value(e, field, at + (size_t)i * element);
}

static void encode_nullable_struct(struct encoding *e, const struct message_field *field, const void *message)
{
    const void *at = *(void *const *)member(field, message);
    bool may_be_null = in(&field->null_versions, e->version);

    if (at == NULL && !may_be_null) {
        fail_encoding(e, PST_INVALID);
        return;
    }
    if (may_be_null)
        buf_put_u8(e->out, at == NULL ? 0xff : 1);
    if (at != NULL)
        encode_struct(e, field->of, at);
}

static void encode_field(struct encoding *e, const struct message_field *field, const void *message)
{
    if (field->array)
        encode_array(e, field, message);
    else if (is_pointer_struct(field))
        encode_nullable_struct(e, field, message);
    else
        encode_value(e, field, member(field, message));
}

/* The size stands in front of what it counts: written behind, then moved. */
static void encode_tag(struct encoding *e, const struct message_field *field, const void *message)
{
    uint8_t prefix[VARINT_BYTES_MAX];
    size_t from;
    size_t size;
    size_t prefix_length;

    buf_put_uvarint(e->out, (uint64_t)field->tag);
    from = e->out->length;
    encode_field(e, field, message);
    size = e->out->length - from;
    prefix_length = uvarint_store(prefix, size);
    if (buf_reserve(e->out, prefix_length) == NULL)
        return;
    memmove(e->out->at + from + prefix_length, e->out->at + from, size);
    memcpy(e->out->at + from, prefix, prefix_length);
    e->out->length += prefix_length;
}

static void encode_tags(struct encoding *e, const struct message_schema *schema, const void *message)
{
    unsigned count = 0;

    for (unsigned i = 0; i < schema->tag_count; i++) {
        const struct message_field *field = &schema->fields[schema->tags[i]];

        count += in(&field->versions, e->version) && !is_default(field, message);
    }
    buf_put_uvarint(e->out, count);
    for (unsigned i = 0; i < schema->tag_count && count > 0; i++) {
        const struct message_field *field = &schema->fields[schema->tags[i]];

        if (in(&field->versions, e->version) && !is_default(field, message))
            encode_tag(e, field, message);
    }
}

static void encode_struct(struct encoding *e, const struct message_schema *schema, const void *message)
{
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct message_field *field = &schema->fields[i];

        if (!in(&field->versions, e->version)) {
            if (!field->ignorable && !is_default(field, message))
                fail_encoding(e, PST_UNSUPPORTED);
        } else if (field->tag < 0) {
            encode_field(e, field, message);
        }
    }
    if (e->flexible)
        encode_tags(e, schema, message);
}

enum pst_status message_encode_external(const struct message_schema *schema, int16_t version,
                                        const void *message, struct buf *out, message_external_fn hook,
                                        void *hook_arg)
{
    struct encoding e = {.out = out,
                         .status = PST_OK,
                         .version = version,
                         .flexible = version >= schema->flexible_from,
                         .hook = hook,
                         .hook_arg = hook_arg};

    if (!in(&schema->versions, version))
        return PST_UNSUPPORTED;
    encode_struct(&e, schema, message);
    return e.status != PST_OK ? e.status : out->status;
}

enum pst_status message_encode(const struct message_schema *schema, int16_t version, const void *message,
                               struct buf *out)
{
    return message_encode_external(schema, version, message, out, NULL, NULL);
}

/* ---- JSON ---- */

static void json_text(struct buf *out, struct str text)
{
    buf_put_u8(out, '"');
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.at[i];

        switch (c) {
        case '"':
            buf_append_text(out, "\\\"");
            break;
        case '\\':
            buf_append_text(out, "\\\\");
            break;
        case '\n':
            buf_append_text(out, "\\n");
            break;
        case '\r':
            buf_append_text(out, "\\r");
            break;
        case '\t':
            buf_append_text(out, "\\t");
            break;
        default:
            if (c < 0x20)
                buf_printf(out, "\\u%04X", c);
            else
                buf_put_u8(out, c);
        }
    }
    buf_put_u8(out, '"');
}

static void json_base64(struct buf *out, struct str bytes)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = (const uint8_t *)bytes.at;
    size_t left = bytes.length;

    buf_put_u8(out, '"');
    for (; left > 0; at += 3) {
        uint32_t group =
            (uint32_t)at[0] << 16 | (left > 1 ? (uint32_t)at[1] << 8 : 0) | (left > 2 ? at[2] : 0);

        buf_put_u8(out, (uint8_t)alphabet[group >> 18]);
        buf_put_u8(out, (uint8_t)alphabet[group >> 12 & 0x3f]);
        buf_put_u8(out, left > 1 ? (uint8_t)alphabet[group >> 6 & 0x3f] : '=');
        buf_put_u8(out, left > 2 ? (uint8_t)alphabet[group & 0x3f] : '=');
        left -= left < 3 ? left : 3;
    }
    buf_put_u8(out, '"');
}

static void json_struct(struct buf *out, const struct message_schema *schema, int16_t version,
                        const void *message);

static void json_float(struct buf *out, double value)
{
    char text[32];

    snprintf(text, sizeof text, "%.17g", value);
    buf_append_text(out, text);
    if (isfinite(value) && strpbrk(text, ".e") == NULL)
        buf_append_text(out, ".0");
}

static void json_value(struct buf *out, const struct message_field *field, int16_t version, const void *at)
{
    char uuid_text[UUID_TEXT_LENGTH + 1];

    switch (field->type) {
    case MESSAGE_BOOL:
        buf_append_text(out, *(const bool *)at ? "true" : "false");
        return;
    case MESSAGE_INT8:
        buf_printf(out, "%d", *(const int8_t *)at);
        return;
    case MESSAGE_INT16:
        buf_printf(out, "%d", *(const int16_t *)at);
        return;
    case MESSAGE_UINT16:
        buf_printf(out, "%u", *(const uint16_t *)at);
        return;
    case MESSAGE_INT32:
        buf_printf(out, "%d", *(const int32_t *)at);
        return;
    case MESSAGE_UINT32:
        buf_printf(out, "%u", *(const uint32_t *)at);
        return;
    case MESSAGE_INT64:
        buf_printf(out, "%lld", (long long)*(const int64_t *)at);
        return;
    case MESSAGE_FLOAT64:
        json_float(out, *(const double *)at);
        return;
    case MESSAGE_UUID:
        uuid_format(at, uuid_text);
        buf_printf(out, "\"%s\"", uuid_text);
        return;
    case MESSAGE_STRING:
    case MESSAGE_BYTES:
        if (((const struct str *)at)->at == NULL)
            buf_append_text(out, "null");
        else if (field->type == MESSAGE_STRING)
            json_text(out, *(const struct str *)at);
        else
            json_base64(out, *(const struct str *)at);
        return;
    case MESSAGE_RECORDS: /* what they hold is shown by whoever walks batches */
        buf_append_text(out, ((const struct wire_records *)at)->at == NULL ? "null" : "\"\"");
        return;
    case MESSAGE_STRUCT:
        json_struct(out, field->of, version, at);
        return;
    }
}

static void json_field(struct buf *out, const struct message_field *field, int16_t version,
                       const void *message)
{
    const void *at = member(field, message);

    if (field->array) {
        int32_t count = *count_member(field, message);
        const uint8_t *elements = *(void *const *)at;

        if (count < 0) {
            buf_append_text(out, "null");
            return;
        }
        buf_put_u8(out, '[');
        for (int32_t i = 0; i < count; i++) {
            if (i > 0)
                buf_put_u8(out, ',');
            json_value(out, field, version, elements + (size_t)i * element_bytes(field));
        }
        buf_put_u8(out, ']');
    } else if (is_pointer_struct(field)) {
        if (*(void *const *)at == NULL)
            buf_append_text(out, "null");
        else
            json_struct(out, field->of, version, *(void *const *)at);
    } else {
        json_value(out, field, version, at);
    }
}

static void json_struct(struct buf *out, const struct message_schema *schema, int16_t version,
                        const void *message)
{
    bool first = true;

    buf_put_u8(out, '{');
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct message_field *field = &schema->fields[i];

        if (!in(&field->versions, version) || (field->tag >= 0 && is_default(field, message)))
            continue;
        buf_printf(out, "%s\"%s\":", first ? "" : ",", field->name);
        first = false;
        json_field(out, field, version, message);
    }
    buf_put_u8(out, '}');
}

void message_format_json(const struct message_schema *schema, int16_t version, const void *message,
                         struct buf *out)
{
    json_struct(out, schema, version, message);
}

/* ---- properties ---- */

size_t message_struct_size(const struct message_schema *schema)
{
    return schema->size_bytes;
}

const char *message_name(const struct message_schema *schema)
{
    return schema->name;
}

int16_t message_version_min(const struct message_schema *schema)
{
    return schema->versions.low;
}

int16_t message_version_max(const struct message_schema *schema)
{
    return schema->versions.high;
}

bool message_is_flexible(const struct message_schema *schema, int16_t version)
{
    return version >= schema->flexible_from;
}
