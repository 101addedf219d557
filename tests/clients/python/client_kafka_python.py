"""The round trip of ../README.md with kafka-python."""
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from plan import Plan, line

TIMEOUT = 60


def produce(plan, topic, codec, is_idempotent):
    admin = KafkaAdminClient(bootstrap_servers=plan.bootstrap)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=plan.bootstrap, compression_type=None if codec == "none" else codec,
                             enable_idempotence=is_idempotent, acks="all" if is_idempotent else 1)
    sent = [producer.send(topic, m.value, m.key, m.headers, 0, m.timestamp_ms) for m in plan.messages]
    producer.flush(TIMEOUT)
    for future in sent:
        future.get(TIMEOUT)
    producer.close()


def read(consumer, partition, offset, end):
    consumer.seek(partition, offset)
    while offset < end:
        records = consumer.poll(TIMEOUT * 1000).get(partition)
        assert records, "nothing at offset %d" % offset
        for r in records:
            offset = r.offset + 1
            yield line(r.offset, r.timestamp, r.key, r.value, r.headers)


def consume(plan, run, topic):
    consumer = KafkaConsumer(bootstrap_servers=plan.bootstrap, enable_auto_commit=False)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    end = consumer.end_offsets([partition])[partition]
    plan.write(run, "offset", read(consumer, partition, plan.from_offset, end))
    found = consumer.offsets_for_times({partition: plan.from_time_ms})[partition]
    plan.write(run, "time", read(consumer, partition, found.offset, end))
    consumer.close()


plan = Plan()
for run, topic, codec, is_idempotent in plan.each():
    if plan.mode != "consume":
        produce(plan, topic, codec, is_idempotent)
    if plan.mode != "produce":
        consume(plan, run, topic)
