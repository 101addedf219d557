#include <penstock/penstock.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct pst_config *config = pst_config_new();
    struct pst_record record = PST_RECORD_INIT;
    struct pst_error error = {0};
    struct pst_client *client = NULL;
    struct pst_producer *producer = NULL;
    struct pst_consumer *consumer = NULL;
    struct pst_message message;
    int64_t offset = -1;

    record.topic = "greetings";
    record.value = "hello";
    record.value_bytes = strlen("hello");
    if (pst_config_set(config, "bootstrap.servers", argc > 1 ? argv[1] : "localhost:9092", &error) ||
        pst_client_new(config, &client, &error) || pst_producer_new(client, NULL, NULL, &producer, &error) ||
        pst_produce_wait(producer, &record, NULL, &offset, &error) ||
        pst_consumer_new(client, &consumer, &error) ||
        pst_consumer_assign(consumer, &(struct pst_assignment){"greetings", 0, offset}, 1, &error) ||
        pst_consumer_poll(consumer, 10000, &message, &error))
        fprintf(stderr, "%s: %s\n", pst_err_name(error.code), error.text);
    else
        printf("offset %lld: %.*s\n", (long long)offset, (int)message.value_bytes,
               (const char *)message.value);
    pst_consumer_free(consumer);
    pst_producer_free(producer);
    pst_client_free(client);
    pst_config_free(config);
    return error.code != PST_ERR_NONE;
}
