#include "broker/log/meta_properties.h"

#include "broker/log/text_line.h"
#include "common/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX 65536u

struct found {
    struct str version;
    struct str cluster_id;
    struct str node_id;
    struct str broker_id;
    struct str directory_id;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static struct str without_blanks_in_front(struct str s)
{
    while (s.length > 0 && is_blank(s.at[0]))
        s = str_of_bytes(s.at + 1, s.length - 1);
    return s;
}

/* Java's rule: the name ends at the first '=', ':' or blank; one separator and blanks around it are dropped.
 * Our values need no escapes, so a backslash makes the line unreadable. */
static bool split_property(struct str line, struct str *ret_name, struct str *ret_value)
{
    size_t length = 0;

    if (memchr(line.at, '\\', line.length) != NULL)
        return false;
    while (length < line.length && line.at[length] != '=' && line.at[length] != ':' &&
           !is_blank(line.at[length]))
        length++;
    *ret_name = str_of_bytes(line.at, length);
    *ret_value = without_blanks_in_front(str_of_bytes(line.at + length, line.length - length));
    if (ret_value->length > 0 && (ret_value->at[0] == '=' || ret_value->at[0] == ':'))
        *ret_value = without_blanks_in_front(str_of_bytes(ret_value->at + 1, ret_value->length - 1));
    return true;
}

static void keep(struct found *found, struct str name, struct str value)
{
    if (str_equal_text(name, "version"))
        found->version = value;
    else if (str_equal_text(name, "cluster.id"))
        found->cluster_id = value;
    else if (str_equal_text(name, "node.id"))
        found->node_id = value;
    else if (str_equal_text(name, "broker.id"))
        found->broker_id = value;
    else if (str_equal_text(name, "directory.id"))
        found->directory_id = value;
}

static bool parse_node_id(struct str text, int32_t *ret)
{
    int64_t value;

    if (!str_parse_i64(text, &value) || value < 0 || value > INT32_MAX)
        return false;
    *ret = (int32_t)value;
    return true;
}

/* NULL, or what is wrong. */
static const char *fill(const struct found *found, struct meta_properties *properties)
{
    struct str node_id = properties->version == 0 ? found->broker_id : found->node_id;

    if (found->cluster_id.length > CLUSTER_ID_LENGTH_MAX)
        return "cluster.id is too long";
    if (properties->version == 1 && found->cluster_id.length == 0)
        return "cluster.id is missing";
    if (!str_is_null(found->cluster_id))
        memcpy(properties->cluster_id, found->cluster_id.at, found->cluster_id.length);
    properties->node_id = NO_NODE_ID;
    if (str_is_null(node_id) && properties->version == 1)
        return "node.id is missing";
    if (!str_is_null(node_id) && !parse_node_id(node_id, &properties->node_id))
        return "the node id is not a number from 0 to 2147483647";
    if (!str_is_null(found->directory_id) && !uuid_parse(found->directory_id, &properties->directory_id))
        return "directory.id is not an id of 22 characters";
    return NULL;
}

enum pst_status meta_properties_parse(struct str text, struct meta_properties *ret, const char **ret_reason)
{
    struct meta_properties properties = {0};
    enum pst_status status = PST_CORRUPT;
    const char *reason = NULL;
    struct found found = {0};
    struct str line, name, value;
    int64_t version;

    while (text_line_next(&text, &line)) {
        line = without_blanks_in_front(line);
        if (line.length == 0 || line.at[0] == '#' || line.at[0] == '!')
            continue;
        if (!split_property(line, &name, &value)) {
            reason = "a line has an escape";
            goto fail;
        }
        keep(&found, name, value);
    }
    if (!str_parse_i64(found.version, &version)) {
        reason = "version is missing";
        goto fail;
    }
    if (version != 0 && version != 1) {
        status = PST_UNSUPPORTED;
        reason = "the version is neither 0 nor 1";
        goto fail;
    }
    properties.version = (int)version;
    reason = fill(&found, &properties);
    if (reason != NULL)
        goto fail;
    *ret = properties;
    return PST_OK;

fail:
    if (ret_reason != NULL)
        *ret_reason = reason;
    return status;
}

enum pst_status meta_properties_load(const char *dir_path, struct meta_properties *ret,
                                     const char **ret_reason)
{
    enum pst_status status;
    char *path, *content = NULL;
    size_t length;

    if (asprintf(&path, "%s/" META_PROPERTIES_FILE, dir_path) < 0)
        return PST_NOMEM;
    status = file_read_all(path, FILE_BYTES_MAX, &content, &length);
    free(path);
    if (status == PST_FULL) {
        if (ret_reason != NULL)
            *ret_reason = "too long";
        return PST_CORRUPT;
    }
    if (status != PST_OK)
        return status;
    status = meta_properties_parse(str_of_bytes(content, length), ret, ret_reason);
    free(content);
    return status;
}

enum pst_status meta_properties_save(const struct file_ops *files, const char *dir_path,
                                     const struct meta_properties *properties)
{
    char directory_id[UUID_TEXT_LENGTH + 1];
    enum pst_status status;
    struct buf text;
    char *path;

    if (asprintf(&path, "%s/" META_PROPERTIES_FILE, dir_path) < 0)
        return PST_NOMEM;
    buf_init(&text, FILE_BYTES_MAX);
    buf_printf(&text, "version=1\ncluster.id=%s\nnode.id=%" PRId32 "\n", properties->cluster_id,
               properties->node_id);
    if (!uuid_is_zero(&properties->directory_id)) {
        uuid_format(&properties->directory_id, directory_id);
        buf_printf(&text, "directory.id=%s\n", directory_id);
    }
    status = text.status;
    if (status == PST_OK)
        status = file_replace(files, path, buf_view(&text));
    buf_free(&text);
    free(path);
    return status;
}
