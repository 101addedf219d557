"""The round trip of ../README.md with confluent-kafka."""
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from plan import Plan, line

TIMEOUT = 60


def produce(plan, topic, codec, is_idempotent):
    admin = AdminClient({"bootstrap.servers": plan.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(TIMEOUT)
    errors = []
    producer = Producer({"bootstrap.servers": plan.bootstrap, "compression.type": codec, "message.max.bytes": 1048576,
                         "enable.idempotence": is_idempotent})
    for m in plan.messages:
        producer.produce(topic, m.value, m.key, 0, timestamp=m.timestamp_ms, headers=m.headers,
                         on_delivery=lambda error, _: error and errors.append(error))
    assert producer.flush(TIMEOUT) == 0 and not errors, errors


def read(consumer, start, end):
    consumer.assign([start])
    offset = start.offset
    while offset < end:
        message = consumer.poll(TIMEOUT)
        assert message is not None, "nothing at offset %d" % offset
        assert message.error() is None, message.error()
        offset = message.offset() + 1
        yield line(message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers())


def consume(plan, run, topic):
    consumer = Consumer({"bootstrap.servers": plan.bootstrap, "group.id": "none", "enable.auto.commit": False,
                         "check.crcs": True, "fetch.wait.max.ms": 10})
    end = len(plan.messages)
    plan.write(run, "offset", read(consumer, TopicPartition(topic, 0, plan.from_offset), end))
    found, = consumer.offsets_for_times([TopicPartition(topic, 0, plan.from_time_ms)], TIMEOUT)
    plan.write(run, "time", read(consumer, found, end))
    consumer.close()


plan = Plan()
for run, topic, codec, is_idempotent in plan.each():
    if plan.mode != "consume":
        produce(plan, topic, codec, is_idempotent)
    if plan.mode != "produce":
        consume(plan, run, topic)
