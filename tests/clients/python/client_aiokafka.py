"""The round trip of ../README.md with aiokafka."""
import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from plan import Plan, line

TIMEOUT = 60


async def produce(plan, topic, codec, is_idempotent):
    admin = AIOKafkaAdminClient(bootstrap_servers=plan.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=plan.bootstrap, compression_type=None if codec == "none" else codec,
                                enable_idempotence=is_idempotent, acks="all" if is_idempotent else 1)
    await producer.start()
    sent = [await producer.send(topic, m.value, m.key, 0, m.timestamp_ms, m.headers) for m in plan.messages]
    await asyncio.wait_for(asyncio.gather(*sent), TIMEOUT)
    await producer.stop()


async def read(consumer, partition, offset, end):
    consumer.seek(partition, offset)
    lines = []
    while offset < end:
        r = await asyncio.wait_for(consumer.getone(partition), TIMEOUT)
        offset = r.offset + 1
        lines.append(line(r.offset, r.timestamp, r.key, r.value, r.headers))
    return lines


async def consume(plan, run, topic):
    consumer = AIOKafkaConsumer(bootstrap_servers=plan.bootstrap, enable_auto_commit=False)
    await consumer.start()
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    end = (await consumer.end_offsets([partition]))[partition]
    plan.write(run, "offset", await read(consumer, partition, plan.from_offset, end))
    found = (await consumer.offsets_for_times({partition: plan.from_time_ms}))[partition]
    plan.write(run, "time", await read(consumer, partition, found.offset, end))
    await consumer.stop()


async def main(plan):
    for run, topic, codec, is_idempotent in plan.each():
        if plan.mode != "consume":
            await produce(plan, topic, codec, is_idempotent)
        if plan.mode != "produce":
            await consume(plan, run, topic)


asyncio.run(main(Plan()))
