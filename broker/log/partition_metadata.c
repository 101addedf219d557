#include "broker/log/partition_metadata.h"

#include "broker/log/text_line.h"

#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX 1024u

/* The value of a line "name: value"; false: another line. */
static bool value_of(struct str *rest, const char *name, struct str *ret)
{
    struct str line, word, more;

    return text_line_next(rest, &line) && text_word_next(&line, &word) && str_equal_text(word, name) &&
           text_word_next(&line, ret) && !text_word_next(&line, &more);
}

enum pst_status partition_metadata_parse(struct str text, struct uuid *ret_topic_id, const char **ret_reason)
{
    const char *reason = NULL;
    struct uuid topic_id;
    struct str value, more;
    int64_t version;

    if (!value_of(&text, "version:", &value) || !str_parse_i64(value, &version))
        reason = "the first line is not \"version: <number>\"";
    else if (version != 0)
        reason = "the version is not 0";
    else if (!value_of(&text, "topic_id:", &value) || !uuid_parse(value, &topic_id))
        reason = "the second line is not \"topic_id: <22 characters>\"";
    else if (uuid_is_zero(&topic_id))
        reason = "the topic id is zero";
    else if (text_line_next(&text, &more))
        reason = "there are more than two lines";
    if (reason != NULL) {
        if (ret_reason != NULL)
            *ret_reason = reason;
        return PST_CORRUPT;
    }
    *ret_topic_id = topic_id;
    return PST_OK;
}

enum pst_status partition_metadata_load(const char *dir_path, struct uuid *ret_topic_id,
                                        const char **ret_reason)
{
    enum pst_status status;
    char *path, *content = NULL;
    size_t length;

    if (asprintf(&path, "%s/" PARTITION_METADATA_FILE, dir_path) < 0)
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
    status = partition_metadata_parse(str_of_bytes(content, length), ret_topic_id, ret_reason);
    free(content);
    return status;
}

enum pst_status partition_metadata_save(const struct file_ops *files, const char *dir_path,
                                        const struct uuid *topic_id)
{
    static const char head[] = "version: 0\ntopic_id: ";
    char text[sizeof head + UUID_TEXT_LENGTH];
    enum pst_status status;
    char *path;

    if (asprintf(&path, "%s/" PARTITION_METADATA_FILE, dir_path) < 0)
        return PST_NOMEM;
    memcpy(text, head, sizeof head);
    uuid_format(topic_id, text + sizeof head - 1);
    status = file_replace(files, path, str_of(text));
    free(path);
    return status;
}
