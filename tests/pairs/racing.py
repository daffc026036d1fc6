"""Every pair of public calls on one Connection, from two threads at once.

``python tests/pairs/racing.py COUNT`` runs each pair COUNT times over each transport, and prints
what went wrong. Whatever two threads do to one connection must end in answers and our own errors,
and must not touch another connection: bystanders are opened at that moment, so that they get
descriptors that are just being given up, and are checked byte for byte.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import queue
import socket
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from accepting import begin_request, dial, tcp_listener, unix_listener
from servers import client_context

from flask_rawsocket import ConnState, RawSocketError
from flask_rawsocket._sockets.tls_context import track_tls
from flask_rawsocket._tracking.tracker import ConnectionTracker

PATIENCE = 20.0
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: test\r\nConnection: Upgrade\r\n\r\n"


async def handler(_reader, _writer):
    """Serve a connection that `hijack_async` has hijacked: say nothing, and end it."""


CALLS = {
    "hijack": lambda conn: conn.hijack(),
    "upgrade": lambda conn: conn.upgrade("test"),
    "hijack_async": lambda conn: conn.hijack_async(handler),
    "abort": lambda conn: conn.abort(),
    "close": lambda conn: conn.sock.close(),
    "set_min_rates": lambda conn: conn.set_min_rates(read=5, write=5),
    "set_deadlines": lambda conn: conn.set_deadlines(read=5, write=5),
    "on_disconnect": lambda conn: conn.on_disconnect(bool),
    "queues": lambda conn: conn.queues(),
}
PAIRS = list(itertools.combinations_with_replacement(CALLS, 2))


class Pool:
    """Two threads that make calls, started once: a thread for each call would come too late."""

    def __init__(self):
        self.jobs = queue.SimpleQueue()
        self.done = queue.SimpleQueue()
        self.together = threading.Barrier(2)
        for _ in range(2):
            threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while (job := self.jobs.get()) is not None:
            call, conn = job
            self.together.wait(PATIENCE)
            try:
                self.done.put(("returned", call(conn)))
            except RawSocketError as exc:
                self.done.put(("refused", exc))
            except BaseException as exc:  # noqa: BLE001  that is what is looked for
                self.done.put(("failed", exc))

    def end(self):
        self.jobs.put(None)
        self.jobs.put(None)


class Race:
    """The pairs over one transport; what went wrong is in `failures`."""

    def __init__(self, transport, certificate, folder):
        self.transport = transport
        self.stack = contextlib.ExitStack()
        self.tracker = ConnectionTracker()
        if transport == "unix":
            self.listener = unix_listener(self.tracker, self.stack, Path(folder) / "s")
        else:
            self.listener = tcp_listener(self.tracker, self.stack)
        self.context = None
        if transport == "tls":
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
            track_tls(self.context)
            self.client_context = client_context()
        self.pool = Pool()
        self.failures = []

    def __enter__(self):
        self.before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        return self

    def __exit__(self, *exc_info):
        sys.setswitchinterval(self.before)
        self.pool.end()
        self.tracker.stop_handlers(PATIENCE)
        self.stack.close()

    def connect(self):
        """Connect; return the client's end and the server's, handshake done."""
        with contextlib.ExitStack() as stack:
            client, sock = dial(stack, self.listener)
            stack.pop_all()  # whoever ends the connection closes both
        client.settimeout(PATIENCE)
        if self.context is None:
            return client, sock
        return self.secured(client, sock)

    def secured(self, client, sock):
        """Shake hands in this one thread: both ends take their turns."""
        for each in (client, sock):  # or each waits for the other's delayed acknowledgements
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(0)
        client = self.client_context.wrap_socket(client, do_handshake_on_connect=False)
        sock.settimeout(0)
        sock = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        left = [client, sock]
        while left:
            for each in list(left):
                with contextlib.suppress(ssl.SSLWantReadError):
                    each.do_handshake()
                    left.remove(each)
        client.settimeout(PATIENCE)
        sock.settimeout(None)
        return client, sock

    def run(self, pair, count):
        """Race `pair` on `count` connections, each beside a bystander."""
        for number in range(count):
            try:
                self.once(pair, number)
            except BaseException as exc:  # noqa: BLE001  that is what is looked for
                self.failures.append((pair, number, repr(exc)))
            if len(self.failures) > 5:
                return

    def once(self, pair, number):
        client, sock = self.connect()
        client.sendall(b"x")
        assert sock.recv(1) == b"x"
        conn = sock.connection
        begin_request(conn)
        for name in pair:
            self.pool.jobs.put((CALLS[name], conn))
        self.check_bystander(number)
        results = [self.pool.done.get(timeout=PATIENCE) for _ in pair]
        self.finish(results, client, sock, conn)

    def check_bystander(self, number):
        """Open a connection just now, and have it carry what it was given, both ways."""
        client, sock = self.connect()
        with client, sock:
            for _ in range(2):
                token = b"bystander %d" % number
                client.sendall(token)
                assert sock.recv(100) == token, "a bystander's request"
                sock.sendall(token[::-1])
                assert client.recv(100) == token[::-1], "a bystander's response"

    def finish(self, results, client, sock, conn):
        """End the connection as owner and server do, and look at what came of it."""
        for how, result in results:
            if how == "failed":
                raise result
            if hasattr(result, "sendall"):
                result.close()
        with contextlib.suppress(OSError):
            sock.close()
        with client:
            data = self.read_all(client)
        assert data in (b"", HEAD), f"{data!r} came to the client"
        deadline = time.monotonic() + PATIENCE
        while conn.state is not ConnState.CLOSED or self.tracker.connections.by_id(conn.id):
            assert time.monotonic() < deadline, f"{conn!r} has not ended"
            time.sleep(0.001)

    def read_all(self, client):
        data = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while chunk := client.recv(65536):
                data += chunk
        return data


def main(count):
    from certificates import make_certificate  # noqa: PLC0415

    failed = False
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder))
        for transport in ("tcp", "unix", "tls"):
            begun = datetime.datetime.now(datetime.UTC)
            with Race(transport, certificate, folder) as race:
                for pair in PAIRS:
                    race.run(pair, count)
            took = datetime.datetime.now(datetime.UTC) - begun
            print(f"{transport}: {len(PAIRS)} pairs, {count} connections each, {took}")
            print(*race.failures or ["nothing went wrong"], sep="\n")
            failed = failed or bool(race.failures)
    return failed


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
