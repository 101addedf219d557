#include "protocol/frame.h"

#include "protocol/api.h"

/* Nobody defines header tags we would read: they are skipped, but must be well-formed. */
static void skip_tags(struct wire_reader *reader)
{
    uint32_t count = wire_read_uvarint(reader);

    if (count > wire_left(reader) / 2) {
        wire_fail(reader, PST_TRUNCATED);
        return;
    }
    while (count-- > 0 && reader->status == PST_OK) {
        wire_read_uvarint(reader);
        wire_read_bytes(reader, wire_read_uvarint(reader));
    }
}

enum pst_status request_header_decode(struct wire_reader *reader, struct request_header *ret)
{
    struct request_header header;
    const struct api *api;
    int16_t length;

    header.api_key = (int16_t)wire_read_u16(reader);
    header.api_version = (int16_t)wire_read_u16(reader);
    header.correlation_id = (int32_t)wire_read_u32(reader);
    header.client_id = STR_LITERAL("");
    length = (int16_t)wire_read_u16(reader); /* this form also in v2 */
    if (length < -1)
        wire_fail(reader, PST_INVALID);
    if (length > 0) {
        const uint8_t *at = wire_read_bytes(reader, (size_t)length);

        if (at != NULL)
            header.client_id = str_of_bytes(at, (size_t)length);
    }
    api = api_find(header.api_key);
    if (api != NULL && reader->status == PST_OK && header.api_version >= 0 &&
        header.api_version <= message_version_max(api->request) &&
        api_request_header_version(api, header.api_version) >= 2)
        skip_tags(reader);
    if (reader->status != PST_OK)
        return reader->status;
    *ret = header;
    return PST_OK;
}

void request_header_encode(const struct request_header *header, struct buf *out)
{
    const struct api *api = api_find(header->api_key);

    buf_put_be16(out, (uint16_t)header->api_key);
    buf_put_be16(out, (uint16_t)header->api_version);
    buf_put_be32(out, (uint32_t)header->correlation_id);
    if (header->client_id.at == NULL) {
        buf_put_be16(out, 0xffff);
    } else {
        buf_put_be16(out, (uint16_t)header->client_id.length);
        buf_append_str(out, header->client_id);
    }
    if (api != NULL && api_request_header_version(api, header->api_version) >= 2)
        buf_put_u8(out, 0);
}

enum pst_status response_header_decode(int16_t api_key, int16_t version, struct wire_reader *reader,
                                       int32_t *ret_correlation_id)
{
    const struct api *api = api_find(api_key);
    int32_t correlation_id = (int32_t)wire_read_u32(reader);

    if (api != NULL && api_response_header_version(api, version) >= 1)
        skip_tags(reader);
    if (reader->status != PST_OK)
        return reader->status;
    *ret_correlation_id = correlation_id;
    return PST_OK;
}

void response_header_encode(int16_t api_key, int16_t version, int32_t correlation_id, struct buf *out)
{
    const struct api *api = api_find(api_key);

    buf_put_be32(out, (uint32_t)correlation_id);
    if (api != NULL && api_response_header_version(api, version) >= 1)
        buf_put_u8(out, 0);
}
