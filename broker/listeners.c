#include "broker/listeners.h"

#include "common/str.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

static enum pst_status refuse(struct str entry, const char *why, struct buf *reason)
{
    buf_printf(reason, "'%.*s': %s; expected NAME://host:port", STR_FORMAT(entry), why);
    return PST_INVALID;
}

static enum pst_status parse_one(struct str entry, struct listener_address *ret, struct buf *reason)
{
    const char *scheme_end = memmem(entry.at, entry.length, "://", 3);
    struct str host;
    struct str port;
    const char *colon;
    int64_t number;
    size_t name_length;

    if (scheme_end == NULL || scheme_end == entry.at)
        return refuse(entry, "no listener name", reason);
    name_length = (size_t)(scheme_end - entry.at);
    if (name_length >= sizeof ret->name)
        return refuse(entry, "the listener name is too long", reason);
    for (size_t i = 0; i < name_length; i++)
        ret->name[i] = (char)toupper((unsigned char)entry.at[i]);
    ret->name[name_length] = '\0';
    host = str_of_bytes(scheme_end + 3, entry.length - name_length - 3);
    colon = memrchr(host.at, ':', host.length);
    if (colon == NULL)
        return refuse(entry, "no port", reason);
    port = str_of_bytes(colon + 1, host.length - (size_t)(colon - host.at) - 1);
    host.length = (size_t)(colon - host.at);
    if (!str_parse_i64(port, &number) || number < 0 || number > UINT16_MAX)
        return refuse(entry, "the port is not a number from 0 to 65535", reason);
    if (host.length >= 2 && host.at[0] == '[' && host.at[host.length - 1] == ']')
        host = str_of_bytes(host.at + 1, host.length - 2);
    if (host.length >= sizeof ret->host)
        return refuse(entry, "the host is too long", reason);
    memcpy(ret->host, host.at, host.length);
    ret->host[host.length] = '\0';
    ret->port = (uint16_t)number;
    return PST_OK;
}

enum pst_status listeners_parse(const char *text, struct listener_addresses *ret, struct buf *reason)
{
    ret->count = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, ",");
        struct str entry = str_of_bytes(text, length);
        enum pst_status status;

        while (entry.length > 0 && isspace((unsigned char)entry.at[0]))
            entry = str_of_bytes(entry.at + 1, entry.length - 1);
        while (entry.length > 0 && isspace((unsigned char)entry.at[entry.length - 1]))
            entry.length--;
        if (ret->count == LISTENERS_MAX) {
            buf_printf(reason, "more than %u listeners", LISTENERS_MAX);
            return PST_INVALID;
        }
        status = parse_one(entry, &ret->at[ret->count], reason);
        if (status != PST_OK)
            return status;
        for (unsigned i = 0; i < ret->count; i++) {
            if (strcmp(ret->at[i].name, ret->at[ret->count].name) == 0)
                return refuse(entry, "two listeners of the same name", reason);
        }
        ret->count++;
        text += length + (text[length] == ',');
    }
    if (ret->count == 0) {
        buf_append_text(reason, "no listener; expected NAME://host:port");
        return PST_INVALID;
    }
    return PST_OK;
}

bool listener_host_is_wildcard(const char *host)
{
    return host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static const struct listener_address *find(const struct listener_addresses *addresses, const char *name)
{
    for (unsigned i = 0; i < addresses->count; i++) {
        if (strcmp(addresses->at[i].name, name) == 0)
            return &addresses->at[i];
    }
    return NULL;
}

enum pst_status listeners_advertise(const struct listener_addresses *listeners, const char *advertised,
                                    struct listener_addresses *ret, struct buf *reason)
{
    struct listener_addresses given = {.count = 0};
    enum pst_status status;

    if (advertised[0] != '\0') {
        status = listeners_parse(advertised, &given, reason);
        if (status != PST_OK)
            return status;
    }
    *ret = *listeners; /* in the order of the listeners, so that an index means the same in both */
    for (unsigned i = 0; i < ret->count; i++) {
        const struct listener_address *other = find(&given, ret->at[i].name);

        if (other != NULL) {
            if (listener_host_is_wildcard(other->host)) {
                buf_printf(
                    reason,
                    "advertised.listeners: %s: clients cannot connect to '%s'; name the host they can reach",
                    other->name, other->host);
                return PST_INVALID;
            }
            ret->at[i] = *other;
        } else if (listener_host_is_wildcard(ret->at[i].host) &&
                   gethostname(ret->at[i].host, sizeof ret->at[i].host - 1) != 0) {
            buf_append_text(reason,
                            "listeners: the name of this machine is unknown; set advertised.listeners");
            return PST_INVALID;
        }
    }
    for (unsigned i = 0; i < given.count; i++) {
        if (find(listeners, given.at[i].name) == NULL) {
            buf_printf(reason, "advertised.listeners: no listener is named %s", given.at[i].name);
            return PST_INVALID;
        }
    }
    return PST_OK;
}
