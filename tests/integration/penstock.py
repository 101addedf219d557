"""A daemon of our own for a test, and a Kafka client in a few lines that can also misbehave.

Nothing here hides an error: a test fails by exception, run by tests/run."""
import os, signal, socket, struct, subprocess, sys, tempfile, time

BUILD = os.environ.get("PENSTOCK_BUILD", "build/release")
TMP = os.environ.get("PENSTOCK_TMP") or tempfile.mkdtemp(prefix="penstock-")


def wait_for(condition, what, seconds=20):
    """Polls until condition() is true; the deadline is generous because the machine may be busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError("waited %d s for: %s" % (seconds, what))


class Broker:
    def __init__(self, name="data", settings=(), environment=None, wrapper=()):
        self.dir = os.path.join(TMP, name)
        self.settings = list(settings)
        self.environment = dict(os.environ, **(environment or {}))
        self.wrapper = list(wrapper)
        self.process = None
        self.port = None
        self.log = os.path.join(TMP, name + ".log")

    def command(self, port=0):
        command = self.wrapper + [os.path.join(BUILD, "penstockd"), "--set",
                                  "listeners=PLAINTEXT://127.0.0.1:%d" % port, "--set", "log.dirs=" + self.dir]
        for setting in self.settings:
            command += ["--set", setting]
        return command

    def start(self):
        offset = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.command(), stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                            env=self.environment)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError("penstockd ended with %s:\n%s" % (self.process.returncode, self.text()[-3000:]))
            with open(self.log, "rb") as f:
                f.seek(offset)
                for line in f.read().decode(errors="replace").splitlines():
                    if " daemon.ready " in line:
                        return int(line.split("address=")[1].split()[0].rsplit(":", 1)[1])
            return None

        self.port = wait_for(ready, "daemon.ready", 60)
        return self

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert code == 0, "penstockd stopped with %s:\n%s" % (code, self.text()[-3000:])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def rss_kb(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1])

    def is_alive(self):
        return self.process.poll() is None

    def client(self, timeout=30):
        return Client(self.port, timeout)


# ---- encoding ----

def string(text):
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack(">h", -1) if raw is None else struct.pack(">h", len(raw)) + raw


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_TABLE = []
for _n in range(256):
    _c = _n
    for _ in range(8):
        _c = _c >> 1 ^ (0x82f63b78 if _c & 1 else 0)
    _TABLE.append(_c)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def record(index, key, value, timestamp_delta=0, offset_delta=None):
    part = lambda b: varint(-1) if b is None else varint(len(b)) + b
    body = b"\0" + varint(timestamp_delta) + varint(index if offset_delta is None else offset_delta) + part(key) + \
        part(value) + varint(0)
    return varint(len(body)) + body


def batch(values, timestamp=None, producer=(-1, -1, -1), attributes=0, magic=2, base_offset=0, keys=None, crc=None,
          records=None, count=None, last_delta=None):
    timestamp = int(time.time() * 1000) if timestamp is None else timestamp
    keys = keys or [b"k"] * len(values)
    body = records if records is not None else b"".join(record(i, k, v) for i, (k, v) in enumerate(zip(keys, values)))
    count = len(values) if count is None else count
    after_crc = struct.pack(">hiqqqhii", attributes, count - 1 if last_delta is None else last_delta, timestamp,
                            timestamp, *producer, count) + body
    crc = crc32c(after_crc) if crc is None else crc
    rest = struct.pack(">ibI", -1, magic, crc) + after_crc
    return struct.pack(">qi", base_offset, len(rest)) + rest


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def string(self):
        length = self.take("h")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length:self.at].decode()

    def bytes(self):
        length = self.take("i")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length:self.at]


class Closed(Exception):
    """The broker closed the connection."""


class Client:
    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def close(self):
        self.socket.close()

    def send_raw(self, data):
        self.socket.sendall(data)

    def frame(self, key, version, body, client="test"):
        self.correlation += 1
        payload = struct.pack(">hhi", key, version, self.correlation) + string(client) + body
        return struct.pack(">i", len(payload)) + payload

    def send(self, key, version, body):
        self.send_raw(self.frame(key, version, body))
        return self.correlation

    def receive_exactly(self, length):
        data = b""
        while len(data) < length:
            try:
                got = self.socket.recv(length - len(data))
            except ConnectionResetError:
                raise Closed()
            if not got:
                raise Closed()
            data += got
        return data

    def receive(self):
        length = struct.unpack(">i", self.receive_exactly(4))[0]
        reader = Reader(self.receive_exactly(length))
        return reader.take("i"), reader

    def call(self, key, version, body):
        sent = self.send(key, version, body)
        correlation, reader = self.receive()
        assert correlation == sent, (correlation, sent)
        return reader

    # ---- requests in their simplest versions ----

    def api_versions(self):
        r = self.call(18, 0, b"")
        assert r.take("h") == 0
        return {key: (low, high) for key, low, high in (r.take("hhh") for _ in range(r.take("i")))}

    def create_topic(self, name, partitions=1, configs=(), replication=1):
        topic = string(name) + struct.pack(">ih", partitions, replication) + array([]) + \
            array([string(k) + string(v) for k, v in configs])
        r = self.call(19, 2, array([topic]) + struct.pack(">ib", 30000, 0))
        r.take("i")
        r.take("i")
        r.string()
        return r.take("h"), r.string()

    def delete_topic(self, name):
        r = self.call(20, 1, array([string(name)]) + struct.pack(">i", 30000))
        r.take("i")
        r.take("i")
        r.string()
        return r.take("h")

    def produce_body(self, topic, data, partition=0, acks=-1):
        part = struct.pack(">i", partition) + struct.pack(">i", len(data)) + data
        return string(None) + struct.pack(">hi", acks, 30000) + array([string(topic) + array([part])])

    def read_produce(self, r):
        r.take("i")
        r.string()
        r.take("i")
        _, error, offset, _ = r.take("ihqq")
        return error, offset

    def produce(self, topic, data, partition=0, acks=-1):
        return self.read_produce(self.call(0, 3, self.produce_body(topic, data, partition, acks)))

    def fetch(self, topic, offset, partition=0, max_bytes=1 << 20, max_wait=0, min_bytes=1):
        part = struct.pack(">iqi", partition, offset, max_bytes)
        r = self.call(1, 4, struct.pack(">iiiib", -1, max_wait, min_bytes, 50 << 20, 0) +
                      array([string(topic) + array([part])]))
        r.take("i")
        r.take("i")
        r.string()
        r.take("i")
        _, error, high_watermark, _ = r.take("ihqq")
        aborted = r.take("i")
        assert aborted <= 0
        return error, high_watermark, r.bytes()

    def list_offset(self, topic, timestamp, partition=0):
        r = self.call(2, 1, struct.pack(">i", -1) +
                      array([string(topic) + array([struct.pack(">iq", partition, timestamp)])]))
        r.take("i")
        r.string()
        r.take("i")
        _, error, found, offset = r.take("ihqq")
        return error, found, offset

    def init_producer_id(self):
        r = self.call(22, 0, string(None) + struct.pack(">i", 60000))
        r.take("i")
        error, producer_id, epoch = r.take("hqh")
        assert error == 0, error
        return producer_id, epoch

    def read_all(self, topic, partition=0, offset=0):
        """Every value from offset to the end, with its offset; checks that batches follow each other."""
        values = []
        while True:
            error, high_watermark, data = self.fetch(topic, offset, partition, 4 << 20)
            assert error == 0, error
            got = [v for v in parse_batches(data) if v[0] >= offset]
            if not got:
                assert offset == high_watermark, (offset, high_watermark)
                return values
            for at, _, value in got:
                assert at == offset, "offset %d where %d was expected" % (at, offset)
                values.append(value)
                offset += 1


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def parse_batches(data, check_crc=True):
    """(offset, key, value) of every record of every whole, uncompressed batch."""
    out, at = [], 0
    while at + 61 <= len(data):
        base, length = struct.unpack_from(">qi", data, at)
        if at + 12 + length > len(data):
            break
        crc, = struct.unpack_from(">I", data, at + 17)
        if check_crc:
            assert crc == crc32c(data[at + 21:at + 12 + length]), "CRC at offset %d" % base
        count, = struct.unpack_from(">i", data, at + 57)
        p = at + 61
        for _ in range(count):
            _, p = read_varint(data, p)
            p += 1
            _, p = read_varint(data, p)
            delta, p = read_varint(data, p)
            parts = []
            for _ in range(2):
                size, p = read_varint(data, p)
                parts.append(None if size < 0 else data[p:p + size])
                p += max(size, 0)
            headers, p = read_varint(data, p)
            assert headers == 0
            out.append((base + delta, *parts))
        at += 12 + length
    return out


def run(*tests):
    for test in tests:
        started = time.monotonic()
        test()
        print("%-60s %.2f s" % (test.__name__.replace("_", " "), time.monotonic() - started), flush=True)
