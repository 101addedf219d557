// The public header in C++: compiles with -Wpedantic, links, and an unreachable broker gives an error, not a hang.
#include <penstock/penstock.h>

#include <cstdio>
#include <memory>

namespace
{
struct free_config {
    void operator()(pst_config *config) const
    {
        pst_config_free(config);
    }
};
struct free_client {
    void operator()(pst_client *client) const
    {
        pst_client_free(client);
    }
};
} // namespace

int main()
{
    std::unique_ptr<pst_config, free_config> config(pst_config_new());
    pst_record record = PST_RECORD_INIT;
    pst_error error = {};
    pst_client *raw = nullptr;
    const pst_topics *topics = nullptr;

    if (record.partition != PST_PARTITION_ANY || record.timestamp_ms != PST_TIMESTAMP_NOW)
        return 1;
    if (pst_config_set(config.get(), "bootstrap.servers", "127.0.0.1:1", &error) != PST_ERR_NONE)
        return 1;
    if (pst_client_new(config.get(), &raw, &error) != PST_ERR_NONE)
        return 1;
    std::unique_ptr<pst_client, free_client> client(raw);
    if (pst_describe_topics(client.get(), nullptr, 0, 300, &topics, &error) != PST_ERR_TIMED_OUT)
        return 1;
    std::printf("%s: %s\n", pst_err_name(error.code), error.text);
    return 0;
}
