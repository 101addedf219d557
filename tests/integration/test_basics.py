"""Create, produce, fetch, restart: the life of a message through a real daemon."""
import os, signal, subprocess, threading, time
from penstock import *

broker = Broker().start()
client = broker.client()


def api_versions_lists_what_is_served():
    served = client.api_versions()
    assert served[0] == (0, 11) and served[1] == (4, 17) and served[18] == (0, 4), served
    for key in (2, 3, 10, 19, 20, 21, 22, 23, 32, 33, 35, 37, 44, 60, 61, 75):
        assert key in served, key


def an_unknown_api_versions_version_is_answered_in_version_0():
    other = broker.client()
    r = other.call(18, 99, b"anything at all")
    assert r.take("h") == 35
    assert r.take("i") == 1 and r.take("hhh") == (18, 0, 4)
    other.close()


def topics_are_created_and_refused_with_kafkas_codes():
    assert client.create_topic("first")[0] == 0
    assert client.create_topic("first")[0] == 36
    assert client.create_topic("no/slash")[0] == 17
    assert client.create_topic("bad", configs=[("retention.ms", "soon")])[0] == 40
    assert client.create_topic("bad", configs=[("no.such.config", "1")])[0] == 40
    assert client.create_topic("bad", partitions=0)[0] == 37
    assert client.create_topic("bad", replication=3)[0] == 38
    error, text = client.create_topic("bad", configs=[("cleanup.policy", "shred")])
    assert error == 40 and "cleanup.policy" in text, text


def what_is_produced_is_fetched():
    assert client.produce("first", batch([b"one", b"two"])) == (0, 0)
    assert client.produce("first", batch([b"three"]), acks=1) == (0, 2)
    error, high_watermark, data = client.fetch("first", 0)
    assert error == 0 and high_watermark == 3
    assert [v for _, _, v in parse_batches(data)] == [b"one", b"two", b"three"]
    error, _, data = client.fetch("first", 1)
    assert (1, b"k", b"two") in parse_batches(data)
    assert client.fetch("first", 3)[2] == b""
    assert client.fetch("first", 4)[0] == 1
    assert client.fetch("nothing", 0)[0] == 3


def acks_0_is_silent_and_visible():
    client.send_raw(client.frame(0, 3, client.produce_body("first", batch([b"four"]), acks=0)))
    assert wait_for(lambda: client.fetch("first", 3)[2], "the record of acks=0")


def a_fetch_waits_for_data():
    waiting = broker.client()
    part = struct.pack(">iqi", 0, 4, 1 << 20)
    waiting.send(1, 4, struct.pack(">iiiib", -1, 20000, 1, 50 << 20, 0) + array([string("first") + array([part])]))
    started = time.monotonic()
    assert client.produce("first", batch([b"five"])) == (0, 4)
    _, r = waiting.receive()
    assert time.monotonic() - started < 15
    assert b"five" in r.data
    waiting.close()


def offsets_are_found_by_time():
    assert client.create_topic("timed")[0] == 0
    now = int(time.time() * 1000)
    for i in range(5):
        assert client.produce("timed", batch([b"x"], timestamp=now - 10000 + i * 1000))[0] == 0
    assert client.list_offset("timed", -1) == (0, -1, 5)
    assert client.list_offset("timed", -2) == (0, -1, 0)
    assert client.list_offset("timed", now - 10000 + 2500) == (0, now - 10000 + 3000, 3)
    assert client.list_offset("timed", now + 1000000) == (0, -1, -1)


def idempotent_retries_are_answered_with_the_first_offset():
    producer_id, epoch = client.init_producer_id()
    assert client.create_topic("once")[0] == 0
    data = [batch([b"a%d" % i], producer=(producer_id, epoch, i)) for i in range(3)]
    assert [client.produce("once", d) for d in data] == [(0, 0), (0, 1), (0, 2)]
    assert client.produce("once", data[1]) == (0, 1)
    assert client.produce("once", batch([b"z"], producer=(producer_id, epoch, 7)))[0] == 45
    assert client.produce("once", batch([b"z"], producer=(producer_id, epoch - 1, 3)))[0] in (42, 47, 87)
    assert len(client.read_all("once")) == 3


def a_large_backlog_is_read_back_whole():
    assert client.create_topic("large", configs=[("segment.bytes", "1048576")])[0] == 0
    sent = []
    for i in range(60):
        values = [b"%06d-%04d" % (i, k) + b"x" * 900 for k in range(100)]
        error, offset = client.produce("large", batch(values))
        assert (error, offset) == (0, len(sent)), (error, offset)
        sent += values
    assert client.read_all("large") == sent


def a_clean_restart_keeps_everything():
    global client
    before = {t: client.read_all(t) for t in ("first", "timed", "once", "large")}
    broker.stop()
    assert os.path.exists(os.path.join(broker.dir, ".kafka_cleanshutdown"))
    broker.start()
    client = broker.client()
    for topic, values in before.items():
        assert client.read_all(topic) == values, topic
    assert client.produce("first", batch([b"six"])) == (0, 5)


def a_killed_broker_keeps_what_it_acknowledged():
    global client
    before = client.read_all("large")
    error, offset = client.produce("large", batch([b"last"]))
    assert error == 0
    broker.kill()
    broker.start()
    client = broker.client()
    assert client.read_all("large") == before + [b"last"]


def a_deleted_topic_is_gone_and_its_name_free():
    assert client.delete_topic("large") == 0
    assert client.fetch("large", 0)[0] == 3
    assert client.delete_topic("large") == 3
    assert client.create_topic("large")[0] == 0
    assert client.read_all("large") == []


def a_port_in_use_is_refused_with_advice():
    second = Broker("second")
    result = subprocess.run(second.command(broker.port), capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "in use" in result.stderr, result.stderr


def a_data_directory_in_use_is_refused():
    second = Broker()
    result = subprocess.run(second.command(), capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and broker.dir in result.stderr, result.stderr


def bad_options_are_refused_with_what_was_expected():
    result = subprocess.run([os.path.join(BUILD, "penstockd"), "--set", "num.partitions=many"], capture_output=True,
                            text=True, timeout=60)
    assert result.returncode == 2 and "num.partitions=many" in result.stderr and "1 to" in result.stderr
    result = subprocess.run([os.path.join(BUILD, "penstockd"), "--check-config", "--set", "num.partition=3"],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "did you mean 'num.partitions'" in result.stderr, result.stderr


run(api_versions_lists_what_is_served, an_unknown_api_versions_version_is_answered_in_version_0,
    topics_are_created_and_refused_with_kafkas_codes, what_is_produced_is_fetched, acks_0_is_silent_and_visible,
    a_fetch_waits_for_data, offsets_are_found_by_time, idempotent_retries_are_answered_with_the_first_offset,
    a_large_backlog_is_read_back_whole, a_clean_restart_keeps_everything,
    a_killed_broker_keeps_what_it_acknowledged, a_deleted_topic_is_gone_and_its_name_free,
    a_port_in_use_is_refused_with_advice, a_data_directory_in_use_is_refused,
    bad_options_are_refused_with_what_was_expected)
broker.stop()
