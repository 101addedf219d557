"""A TCP proxy that resets connections in the middle of their load.

Every connection gets a number of bytes it may send (drawn from a seed, so runs are alike). Then it is cut in one of two
ways, in turn: in the middle of a request, so that the broker sees half of it; or when the broker has answered one, with
the answer dropped, so that the client must send again what is already written. After `most` cuts the proxy lets
everything through, so that a load always ends."""

import random, select, socket, struct, threading

RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends a reset


class ResettingProxy:
    def __init__(self, seed, least_bytes=16 << 10, most_bytes=48 << 10, most=40):
        self.random = random.Random(seed)
        self.least_bytes, self.most_bytes, self.most = least_bytes, most_bytes, most
        self.lock = threading.Lock()
        self.in_request = self.in_answer = 0
        self.target = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def start(self, target_port):
        self.target = ("127.0.0.1", target_port)
        threading.Thread(target=self.accept, daemon=True).start()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # stopped
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def take_cut(self):
        """'request', 'answer', or None when there were enough cuts."""
        with self.lock:
            if self.in_request + self.in_answer >= self.most:
                return None
            if self.in_request <= self.in_answer:
                self.in_request += 1
                return "request"
            self.in_answer += 1
            return "answer"

    def carry(self, client):
        with self.lock:
            left = self.random.randint(self.least_bytes, self.most_bytes)
        broker = socket.create_connection(self.target)
        try:
            self.pump(client, broker, left)
        except OSError:  # one side has gone
            pass
        for end in (client, broker):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.close()

    def pump(self, client, broker, left):
        cut = None
        while True:
            readable = select.select([client, broker], [], [])[0]
            if broker in readable:
                data = broker.recv(1 << 16)
                if not data or cut == "answer":
                    return
                client.sendall(data)
            if client in readable:
                data = client.recv(1 << 14)
                if not data:
                    return
                left -= len(data)
                if left <= 0 and cut is None:
                    cut = self.take_cut()
                    if cut == "request":
                        broker.sendall(data[:len(data) // 2])
                        return
                broker.sendall(data)
