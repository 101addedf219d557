"""What is sent, what must come back, and one function for each client: see README.md."""
import os, random, re, shutil, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
import penstock
from install import (CACHE, Failure, INSTALL, Skip, command, java, librdkafka, need, python, tail)
from proxy import ResettingProxy

RUNS = ["plain", "none", "gzip", "snappy", "lz4", "zstd"]
CODEC_BITS = {"plain": 0, "none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
MESSAGES, LARGE_INDEX, FROM_OFFSET, FROM_TIME_INDEX = 300, 200, 57, 120
LARGE_BYTES = 1000 * 1000
PROGRAM_SECONDS = 180
JOIN_GROUP = 11  # API key


# ---- what is sent ----

def tohex(data):
    return "-" if data is None else data.hex()


def message(timestamp, key, value, headers=()):
    pairs = ",".join("%s=%s" % (name.encode().hex(), tohex(data)) for name, data in headers)
    return "%s\t%s\t%s\t%s" % (timestamp, tohex(key), tohex(value), pairs)


def messages(has_all_nulls=True):
    """The lines of the message file and a time between two of them. The same every time, but for the timestamps: those
    start an hour back, 10 ms apart, because retention must not take the messages away. Without all nulls there are no
    null headers and no message with neither key nor value, which some clients refuse to send."""
    draw = random.Random(20)
    start_ms = int(time.time() * 1000) - 3600 * 1000
    lines = []
    for i in range(MESSAGES):
        key = [b"key-%d" % i, None, b"", draw.randbytes(20)][i % 4]
        value = b"value %d " % i + (draw.randbytes(draw.randrange(400)) if i % 2 else b"compresses well " * (i % 50))
        headers = []
        if i % 3 == 0:
            headers = [("trace", b"%d" % i), ("trace", draw.randbytes(8)), ("gr\u00f6\u00dfe", b"")]
            headers += [("null", None)] if has_all_nulls else []
        if i % 10 == 5 and (has_all_nulls or key is not None):
            value = None
        if i % 10 == 7:
            value = b""
        if i == LARGE_INDEX:
            value = draw.randbytes(LARGE_BYTES)
        lines.append(message(start_ms + 10 * i, key, value, headers))
    return lines, start_ms + 10 * FROM_TIME_INDEX - 3


# ---- what must come back ----

def check_read_back(path, first, sent):
    """What a client has read into the file must be what was sent, from index `first` to the end."""
    if not os.path.exists(path):
        raise Failure("nothing was read back: no " + os.path.basename(path))
    with open(path) as f:
        got = f.read().splitlines()
    expected = ["%d\t%s" % (first + i, text) for i, text in enumerate(sent[first:])]
    for have, want in zip(got, expected):
        if have != want:
            raise Failure("%s: read back %.300s where %.300s was sent" % (os.path.basename(path), have, want))
    if len(got) != len(expected):
        raise Failure("%s: %d messages where %d were sent" % (os.path.basename(path), len(got), len(expected)))


def batches(client, topic):
    """(base offset, attributes, producer id) of every batch."""
    offset, found = 0, []
    while True:
        error, high_watermark, data = client.fetch(topic, offset, 0, 4 << 20)
        if error:
            raise Failure("fetch of %s: error %d" % (topic, error))
        if offset >= high_watermark:
            return found
        at = 0
        while at + 61 <= len(data) and at + 12 + struct.unpack_from(">i", data, at + 8)[0] <= len(data):
            base, length = struct.unpack_from(">qi", data, at)
            attributes, last = struct.unpack_from(">hi", data, at + 21)
            found.append((base, attributes) + struct.unpack_from(">q", data, at + 43))
            at, offset = at + 12 + length, base + last + 1


def check_batches(broker, topic, run):
    """The codec and the idempotence that the client was asked for are in the batches on the broker."""
    client = broker.client()
    found = batches(client, topic)
    client.close()
    codecs = {attributes & 7 for _, attributes, _ in found}
    # a client may leave a batch that does not shrink as it is
    if CODEC_BITS[run] not in codecs or not codecs <= {0, CODEC_BITS[run]}:
        raise Failure("the batches have codecs %s, not %d" % (sorted(codecs), CODEC_BITS[run]))
    for base, _, producer_id in found:
        if (producer_id >= 0) != (run != "plain"):
            raise Failure("the batch at %d has producer id %d" % (base, producer_id))


# ---- a suite ----

class Suite:
    """One client's tests: daemons of its own, a scratch directory, a log that stays."""

    def __init__(self, name, build, logs, report):
        self.name, self.logs, self.report = name, logs, report
        self.scratch = tempfile.mkdtemp(prefix="penstock-clients-")
        self.log = os.path.join(logs, name + ".log")
        self.brokers, self.failures = [], 0
        open(self.log, "wb").close()
        penstock.BUILD = build

    def close(self):
        """Ends what is left running; the logs stay only when something failed."""
        for broker in self.brokers:
            if broker.process and broker.is_alive():
                broker.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)
        for log in [self.log] + [broker.log for broker in self.brokers]:
            if not self.failures:
                os.remove(log)

    def broker(self, name="broker", settings=()):
        broker = penstock.Broker(name, settings)
        broker.dir = os.path.join(self.scratch, name)
        broker.log = os.path.join(self.logs, "%s-%s.log" % (self.name, name))
        open(broker.log, "wb").close()
        self.brokers.append(broker)
        return broker

    def test(self, name, function, *arguments):
        """One line of the report. True when it is ok."""
        started, outcome, reason = time.monotonic(), "ok", ""
        try:
            function(*arguments)
        except Skip as skip:
            outcome, reason = "skip", str(skip)
        except (Failure, AssertionError, OSError, subprocess.SubprocessError) as error:
            outcome, reason = "FAIL", "%s: %s" % (type(error).__name__, error)
            self.failures += 1
        self.report(outcome, "%s: %s" % (self.name, name), time.monotonic() - started, reason, self.log)
        return outcome == "ok"

    def run(self, arguments):
        with open(self.log, "a") as f:
            f.write("$ %s\n" % " ".join(arguments))
        code = command(arguments, self.log, PROGRAM_SECONDS, self.scratch)
        if code != 0:
            raise Failure("%s ended with %d: %s" % (os.path.basename(arguments[0]), code, tail(self.log)))

    def output(self, arguments, stdin=b""):
        """The program's standard output; what it says on the other goes to the log."""
        with open(self.log, "ab") as log:
            log.write(("$ %s\n" % " ".join(arguments)).encode())
            log.flush()
            process = subprocess.run(arguments, input=stdin, stdout=subprocess.PIPE, stderr=log, cwd=self.scratch,
                                     timeout=PROGRAM_SECONDS)
            log.write(process.stdout[:10000] + b"\n")
        if process.returncode != 0:
            raise Failure("%s ended with %d: %s" % (os.path.basename(arguments[0]), process.returncode, tail(self.log)))
        return process.stdout


def address(broker):
    return "127.0.0.1:%d" % broker.port


# ---- round trips ----

class RoundTrip:
    """The messages through one client, once for each run, into the topics NAME-RUN of a daemon."""

    def __init__(self, suite, has_all_nulls=True):
        self.suite, self.broker = suite, suite.broker().start()
        self.sent, self.from_time_ms = messages(has_all_nulls)
        self.path = os.path.join(suite.scratch, "messages")
        with open(self.path, "w") as f:
            f.writelines(line + "\n" for line in self.sent)

    def program(self, program, mode, out, runs):
        folder = os.path.join(self.suite.scratch, out)
        os.makedirs(folder, exist_ok=True)
        self.suite.run(program(mode, address(self.broker), self.path, folder, str(FROM_OFFSET), str(self.from_time_ms),
                               self.suite.name, *runs))

    def check_stored(self, run):
        check_batches(self.broker, "%s-%s" % (self.suite.name, run), run)

    def check_read(self, out, run):
        folder = os.path.join(self.suite.scratch, out)
        check_read_back(os.path.join(folder, run + ".offset"), FROM_OFFSET, self.sent)
        check_read_back(os.path.join(folder, run + ".time"), FROM_TIME_INDEX, self.sent)

    def check(self, out, run):
        self.check_stored(run)
        self.check_read(out, run)


def round_trip(program, install, has_all_nulls=True):
    def run_suite(suite):
        INSTALL[install]()
        trip = RoundTrip(suite, has_all_nulls)
        if suite.test("runs to its end", trip.program, program, "both", "out", RUNS):
            for run in RUNS:
                suite.test(run, trip.check, "out", run)
        suite.test("the daemon stops cleanly", trip.broker.stop)
    return run_suite


KAFKAJS_RUNS = [run for run in RUNS if run != "lz4"]  # see README.md


def kafkajs(suite):
    """kafkajs consumes through groups only; what it has produced is read back by librdkafka as well."""
    INSTALL["node"]()
    trip = RoundTrip(suite, False)
    main = lambda *arguments: ["node", os.path.join(CACHE, "kafkajs", "main.js"), *arguments]

    def read_with_librdkafka():
        INSTALL["librdkafka"]()
        trip.program(librdkafka, "consume", "librdkafka", KAFKAJS_RUNS)

    def consume():
        if JOIN_GROUP not in trip.broker.client().api_versions():
            raise Skip("kafkajs consumes through groups only, and the daemon serves none")
        trip.program(main, "consume", "kafkajs", KAFKAJS_RUNS)

    if suite.test("produces to its end", trip.program, main, "produce", "kafkajs", KAFKAJS_RUNS):
        for run in KAFKAJS_RUNS:
            suite.test("%s, stored" % run, trip.check_stored, run)
        for reader, function in (("librdkafka", read_with_librdkafka), ("kafkajs", consume)):
            if suite.test("read by %s" % reader, function):
                for run in KAFKAJS_RUNS:
                    suite.test("%s, read by %s" % (run, reader), trip.check_read, reader, run)
    suite.test("the daemon stops cleanly", trip.broker.stop)


# ---- kcat: no timestamps of its own, topics by themselves ----

KCAT_FORMAT = "%o %T %K %S [%h]\\n%k%s\\n"


def parse_kcat(data):
    """(offset, timestamp, key, value, headers) of every message that kcat wrote with KCAT_FORMAT."""
    at, found = 0, []
    while at < len(data):
        end = data.index(b"]\n", at)
        offset, timestamp_ms, key_bytes, value_bytes, headers = data[at:end].split(b" ", 4)
        at = end + 2
        parts = []
        for length in (int(key_bytes), int(value_bytes)):
            parts.append(None if length < 0 else data[at:at + length])
            at += max(length, 0)
        assert data[at:at + 1] == b"\n", (at, data[at:at + 20])
        at += 1
        found.append((int(offset), int(timestamp_ms), *parts, headers[1:]))
    return found


def kcat_run(suite, broker, run):
    topic = "kcat-" + run
    base = ["kcat", "-b", address(broker), "-t", topic, "-p", "0"]
    codec = "none" if run == "plain" else run
    produce = base + ["-P", "-z", codec, "-X", "enable.idempotence=" + ("false" if run == "plain" else "true"), "-X",
                      "message.max.bytes=1048576"]
    draw = random.Random(21)
    expected = [(b"key %d" % i, b"value %d " % i + b"compresses well " * i, b"") for i in range(100)]
    lines = b"".join(key + b"\t" + value + b"\n" for key, value, _ in expected)
    lines += b"null value\t\n" + b"\tnull key\n"
    expected += [(b"null value", None, b""), (None, b"null key", b"")]
    suite.output(produce + ["-K", "\t", "-Z"], lines)
    suite.output(produce + ["-H", "name=value", "-H", "name=again", "-k", "with headers"], b"headed\n")
    expected.append((b"with headers", b"headed", b"name=value,name=again"))
    large = os.path.join(suite.scratch, "large")
    with open(large, "wb") as f:
        f.write(draw.randbytes(LARGE_BYTES))
    suite.output(produce + [large])
    with open(large, "rb") as f:
        expected.append((None, f.read(), b""))

    consume = base + ["-C", "-q", "-e", "-f", KCAT_FORMAT, "-X", "check.crcs=true"]
    everything = parse_kcat(suite.output(consume + ["-o", "beginning"]))
    if [(entry[0], *entry[2:]) for entry in everything] != [(i, *entry) for i, entry in enumerate(expected)]:
        raise Failure("other messages were read back than were sent")
    if parse_kcat(suite.output(consume + ["-o", str(FROM_OFFSET)])) != everything[FROM_OFFSET:]:
        raise Failure("other messages from offset %d" % FROM_OFFSET)
    middle_ms = everything[102][1]  # of the second kcat
    later = [entry for entry in everything if entry[1] >= middle_ms]
    if len(later) == len(everything) or parse_kcat(suite.output(consume + ["-o", "s@%d" % middle_ms])) != later:
        raise Failure("other messages from time %d" % middle_ms)
    check_batches(broker, topic, run)


def kcat(suite):
    need("kcat")
    broker = suite.broker().start()
    for run in RUNS:
        suite.test(run, kcat_run, suite, broker, run)
    suite.test("the daemon stops cleanly", broker.stop)


# ---- Kafka's own tools ----

def kafka_tools(suite):
    INSTALL["java"]()
    broker = suite.broker().start()
    server = ["--bootstrap-server", address(broker)]
    tool = lambda name, *arguments: suite.output(java(name, *arguments)).decode()
    topics = lambda *arguments: tool("org.apache.kafka.tools.TopicCommand", *server, *arguments)
    configs = lambda *arguments: tool("kafka.admin.ConfigCommand", *server, "--entity-type", "topics", "--entity-name",
                                      "tools", *arguments)
    dump = lambda *arguments: tool("org.apache.kafka.tools.DumpLogSegments", *arguments)
    file = lambda name: os.path.join(broker.dir, "tools-0", "0" * 20 + name)

    def expect(pattern, text, count=1):
        found = len(re.findall(pattern, text, re.M))
        if found != count:
            raise Failure("%d lines match %s, not %d, in: %.600s" % (found, pattern, count, text))

    def topic_command():
        topics("--create", "--topic", "tools", "--partitions", "1", "--replication-factor", "1", "--config",
               "index.interval.bytes=100")
        topics("--alter", "--topic", "tools", "--partitions", "3")
        topics("--create", "--topic", "gone")
        topics("--delete", "--topic", "gone")
        expect(r"^(tools|gone)$", topics("--list"))
        text = topics("--describe", "--topic", "tools")
        expect(r"PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: .*index.interval.bytes=100", text)
        expect(r"Topic: tools\s+Partition: [012]\s+Leader: 1\s+Replicas: 1\s+Isr: 1", text, 3)

    def config_command():
        configs("--alter", "--add-config", "retention.ms=123456789,max.message.bytes=2000000")
        configs("--alter", "--delete-config", "max.message.bytes")
        text = configs("--describe")
        expect(r"^  retention.ms=123456789 sensitive=false", text)
        expect(r"max.message.bytes", text, 0)

    def get_offset_shell():
        client = broker.client()
        now_ms = int(time.time() * 1000)
        for i in range(5):
            values = [b"%d" % (10 * i + j) for j in range(10)]
            producer = client.init_producer_id() + (0,)
            error, _ = client.produce("tools", penstock.batch(values, now_ms + i, producer))
            assert error == 0, error
        client.close()
        offsets = lambda *arguments: tool("org.apache.kafka.tools.GetOffsetShell", *server, "--topic", "tools",
                                          *arguments).splitlines()
        assert offsets() == ["tools:0:50", "tools:1:0", "tools:2:0"], offsets()
        by_time = offsets("--partitions", "0", "--time", str(now_ms + 2))
        assert by_time == ["tools:0:20"], by_time
        assert offsets("--partitions", "0", "--time", "earliest") == ["tools:0:0"]

    def dump_log():
        text = dump("--deep-iteration", "--print-data-log", "--files", file(".log"))
        payloads = re.findall(r"^\| offset: (\d+) .*payload: (\d+)$", text, re.M)
        assert payloads == [(str(i), str(i)) for i in range(50)], payloads
        expect(r"^baseOffset: .*isvalid: true", text, 5)

    def dump_indexes():
        text = dump("--index-sanity-check", "--files", file(".index") + "," + file(".timeindex"))
        expect(r"passed sanity check", text, 2)
        text = dump("--files", file(".index"))
        expect(r"^offset: \d+ position: \d+", text, 4)
        expect(r"Mismatch|Index offset", text, 0)
        text = dump("--files", file(".timeindex"))
        expect(r"^timestamp: [1-9]\d+ offset: \d+", text, 4)
        expect(r"Found timestamp mismatch|out of order|does not", text, 0)

    def dump_snapshot():
        text = dump("--files", os.path.join(broker.dir, "tools-0", "%020d.snapshot" % 50))
        expect(r"^producerId: \d+ producerEpoch: 0 .* firstSequence: 0 lastSequence: 9 lastOffset: \d*9 ", text, 5)

    def dump_metadata():
        folder = os.path.join(broker.dir, "__cluster_metadata-0")
        logs = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".log")]
        text = dump("--cluster-metadata-decoder", "--files", ",".join(logs))
        expect(r'"type":"TOPIC_RECORD".*"name":"tools"', text)
        expect(r'"type":"PARTITION_RECORD"', text, 4)
        expect(r"(?i)error|unknown|isvalid: false", text, 0)

    suite.test("TopicCommand creates, alters, lists, describes, deletes", topic_command)
    suite.test("ConfigCommand alters and describes", config_command)
    suite.test("GetOffsetShell finds by time and ends", get_offset_shell)
    suite.test("the daemon stops cleanly", broker.stop)
    suite.test("DumpLogSegments reads the log", dump_log)
    suite.test("DumpLogSegments reads the indexes", dump_indexes)
    suite.test("DumpLogSegments reads the producer snapshot", dump_snapshot)
    suite.test("DumpLogSegments reads the metadata log", dump_metadata)


# ---- connections that are reset ----

RESET_MESSAGES = 20000


def reset_run(suite, name, program, idempotence):
    """The numbers that arrived, in their order, and the proxy they went through."""
    proxy = ResettingProxy(seed=22)
    broker = suite.broker(name, ["advertised.listeners=PLAINTEXT://127.0.0.1:%d" % proxy.port]).start()
    client = broker.client()
    assert client.create_topic("ordered")[0] == 0
    proxy.start(broker.port)
    suite.run(program("ordered", "127.0.0.1:%d" % proxy.port, "ordered", str(RESET_MESSAGES), idempotence))
    proxy.stop()
    values = [int(value.split()[0]) for value in client.read_all("ordered")]
    client.close()
    broker.stop()
    if proxy.in_request < 10 or proxy.in_answer < 10:
        raise Failure("only %d requests and %d answers were cut" % (proxy.in_request, proxy.in_answer))
    return values


def idempotent(suite, name, program):
    values = reset_run(suite, name, program, "true")
    if values != list(range(RESET_MESSAGES)):
        first = next((i for i, value in enumerate(values) if value != i), len(values))
        raise Failure("%d messages, %d duplicates, %d lost, order broken at %d: %s" % (
            len(values), len(values) - len(set(values)), RESET_MESSAGES - len(set(values)), first,
            values[first:first + 5]))


def duplicates_without(suite, name, program):
    values = reset_run(suite, name, program, "false")
    if len(values) == len(set(values)):
        raise Failure("no duplicate: this proxy proves nothing")


def resets(suite):
    def with_librdkafka(function):
        INSTALL["librdkafka"]()
        function(suite, function.__name__, librdkafka)

    def with_java():
        INSTALL["java"]()
        idempotent(suite, "java", lambda *arguments: java("RoundTrip", *arguments))

    suite.test("librdkafka, not idempotent, sends twice", with_librdkafka, duplicates_without)
    suite.test("librdkafka, idempotent, sends each once and in order", with_librdkafka, idempotent)
    suite.test("Java, idempotent, sends each once and in order", with_java)


SUITES = {
    "kcat": kcat,
    "librdkafka": round_trip(librdkafka, "librdkafka"),
    "confluent-kafka": round_trip(lambda *arguments: python("client_confluent.py", *arguments), "python"),
    "kafka-python": round_trip(lambda *arguments: python("client_kafka_python.py", *arguments), "python", False),
    "aiokafka": round_trip(lambda *arguments: python("client_aiokafka.py", *arguments), "python", False),
    "java": round_trip(lambda *arguments: java("RoundTrip", *arguments), "java"),
    "kafka-tools": kafka_tools,
    "franz-go": round_trip(lambda *arguments: [os.path.join(CACHE, "franz-go", "client"), *arguments], "go"),
    "kafkajs": kafkajs,
    "resets": resets,
}
