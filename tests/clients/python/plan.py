"""What every client program is told, and how it writes what it read: see ../README.md."""
import os, sys

RUN_CODEC = {"plain": "none"}  # every other run is named after its codec


def unhex(text):
    return None if text == "-" else bytes.fromhex(text)


def tohex(data):
    return "-" if data is None else bytes(data).hex()


class Message:
    def __init__(self, line):
        timestamp, key, value, headers = line.rstrip("\n").split("\t")
        self.timestamp_ms, self.key, self.value = int(timestamp), unhex(key), unhex(value)
        pairs = (pair.split("=") for pair in headers.split(",") if pair)
        self.headers = [(unhex(name).decode(), unhex(data)) for name, data in pairs]


def line(offset, timestamp_ms, key, value, headers):
    pairs = ",".join("%s=%s" % (name.encode().hex(), tohex(data)) for name, data in headers or ())
    return "%d\t%d\t%s\t%s\t%s\n" % (offset, timestamp_ms, tohex(key), tohex(value), pairs)


class Plan:
    def __init__(self):
        self.mode, self.bootstrap, messages, self.out, offset, time_ms, self.prefix = sys.argv[1:8]
        self.runs = sys.argv[8:]
        self.from_offset, self.from_time_ms = int(offset), int(time_ms)
        with open(messages) as f:
            self.messages = [Message(text) for text in f]

    def each(self):
        """(run, topic, codec, is_idempotent) of every run."""
        for run in self.runs:
            yield run, "%s-%s" % (self.prefix, run), RUN_CODEC.get(run, run), run != "plain"

    def write(self, run, what, lines):
        with open(os.path.join(self.out, "%s.%s" % (run, what)), "w") as f:
            f.writelines(lines)
