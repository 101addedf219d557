#include "broker/api/api_metadata.h"

#include "broker/listeners.h"

static void release_image(void *image)
{
    metadata_release(image);
}

const struct metadata_image *call_image(struct call *call)
{
    const struct metadata_image *image = metadata_acquire(call->env->metadata);

    if (arena_on_clear(call->arena, release_image, (void *)(uintptr_t)image) == PST_OK)
        return image;
    metadata_release(image);
    return NULL;
}

const struct metadata_endpoint *call_endpoint(const struct call *call, const struct metadata_broker *broker)
{
    return metadata_broker_endpoint(broker, str_of(call->env->advertised->at[call->listener].name));
}
