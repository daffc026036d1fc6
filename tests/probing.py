"""What a server can do, found out by trying: the cells of the matrix (`matrix.py`).

Each probe takes a running server, asks `apps/matrix.py`, and returns the cell: "yes", "-" where the
server cannot, or a word on how.  It looks at what comes of it, not at whether a method is there.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess

from servers import wait_for
from talking import talking
from websockets.exceptions import WebSocketException

YES, NO = "yes", "-"
PROMPT = 2.5
"""How long an answer may take that is not to wait for anything, in seconds."""


def ask(server, path, *headers):
    """Return what a view answers, on a connection of its own."""
    with server.connect() as client:
        return client.request(f"/can/{path}", "Connection: close", *headers)


def said(server, path):
    """Return a view's "yes" or "-"."""
    return ask(server, path).body.decode()


def current_conn(server):
    """Look for this very client's address."""
    with server.connect() as client:
        answer = client.request("/can/conn", "Connection: close")
        if answer.body == b"-":
            return NO
        assert answer.json["key"] == client.key
        assert answer.json["alive"]
    return YES


def several_requests(server):
    """Make a second request on a connection."""
    with server.connect() as client:
        first = client.request("/can/conn")
        if first.body == b"-":
            return NO
        try:
            second = client.request("/can/conn").json
        except (EOFError, OSError):
            return "one request each"
    assert (second["requests"], second["seen"]) == (2, 2)
    return YES


def the_map(server):
    """Look for the connection in the map."""
    answer = ask(server, "conn")
    return YES if answer.body != b"-" and answer.json["in_map"] else NO


def states(server):
    """Read the changes of state that a hook was told."""
    server.mark()
    with server.connect() as client, contextlib.suppress(EOFError, OSError):
        for _ in range(2):
            client.request("/can/conn")
    if the_map(server) != YES:
        assert server.sequences() == []
        return NO
    wait_for(lambda: all(each[-1] == "C" for each in server.sequences()), "the end")
    return {"NAIAIC": YES, "NAC": "yes, no IDLE"}[server.sequences()[0]]


def header_timeout(server):
    """Send half a head; the server was told to wait for a second."""
    with server.connect() as client:
        client.send(b"GET / HTT")
        client.sock.settimeout(PROMPT)
        try:
            return YES if client.at_eof() else NO
        except TimeoutError:
            return NO


def silent_connections(server):
    """Leave eight connections silent, and see whether they hold threads."""
    for _ in range(8):  # those of a pool are started one by one
        before = int(said(server, "threads"))
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(8):  # where one waits for another, the queue is full before that
                stack.enter_context(server.connect())
            client = stack.enter_context(server.connect())
            client.sock.settimeout(PROMPT)
            now = int(client.request("/can/threads", "Connection: close").body)
        except TimeoutError:
            return NO
    return YES if now < before + 4 else NO


def gone(way):
    """Return the probe for a way of hearing that the client has left."""

    def probe(server):
        with server.connect() as client:
            client.get(f"/can/{way}")
            begun = wait_for(lambda: {"begun": way} in server.events() or refused(client), way)
            if begun != YES and begun is not True:
                return NO
        heard = {"heard": way}
        with contextlib.suppress(AssertionError):
            wait_for(lambda: heard in server.events(), f"{way} to hear it", timeout=8)
            return YES
        return NO

    return probe


def refused(client):
    """Return the answer of a view that could not begin; None while there is none."""
    client.sock.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        return client.response().body
    return None


def hijack(path, *headers):
    """Return the probe for a hijack: what came with the request comes out first."""

    def probe(server):
        with server.connect() as client:
            client.get(f"/can/{path}", *headers or ["Connection: close"], body=b"pipelined")
            client.sock.settimeout(PROMPT)
            answer = _switched(client) if headers else client.rest()
        return YES if answer.endswith(b"pipelined") else NO

    return probe


def _switched(client):
    head, client.buffered = client._until(b"\r\n\r\n")
    return client._exactly(9) if b" 101 " in head.split(b"\r\n")[0] else b""


def stream(server):
    """Have an async generator sent."""
    answer = ask(server, "stream")
    return answer.body.decode() if answer.status == 200 else NO


def websocket(server):
    """Talk to a WebSocket."""
    try:
        with talking(server, "/can/websocket") as ws:
            ws.send("hello")
            return YES if ws.recv(timeout=PROMPT) == "hello" else NO
    except (WebSocketException, OSError, EOFError):
        return NO


def abort(server):
    """Have the connection reset."""
    with server.connect() as client:
        client.get("/can/abort")
        try:
            return YES if client.response() is None else NO
        except (ConnectionResetError, EOFError):
            return YES


def close_after_response(server):
    """Have a connection closed that is kept else."""
    if several_requests(server) != YES:
        return NO if said(server, "close_after_response") == NO else "always closes"
    with server.connect() as client:
        answer = client.request("/can/close_after_response")
        if answer.body == b"-":
            return NO
        assert client.at_eof()
    return YES


def proxy(server):
    """Say by a PROXY header who is asking."""
    with server.connect() as client:
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 50000 80\r\n")
        client.sock.settimeout(PROMPT)
        with contextlib.suppress(OSError, EOFError, json.JSONDecodeError, ValueError):
            answer = client.request("/can/conn", "Connection: close")
            return YES if answer.json["proxy"] else NO
    return NO


def on_shutdown(server):
    """Stop the server; the last one."""
    by_hand = "werkzeug" in server.name or "waitress" in server.name
    how = signal.SIGINT if by_hand else signal.SIGTERM
    server.process.send_signal(how)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(10)
    heard = {"shutdown": True} in server.events()
    return NO if not heard else "on Control-C" if how == signal.SIGINT else YES


def unix_key(server):
    """Compare the key and REMOTE_ADDR of a UNIX peer."""
    answer = ask(server, "conn")
    if answer.body == b"-":
        return NO
    found = answer.json
    return YES if found["key"] and found["key"] == found["remote_addr"] else NO


def credentials(server):
    """Ask who a UNIX peer is."""
    return YES if said(server, "kernel") == "pid" else NO


def tcp_info(server):
    """Ask for a measured time."""
    return YES if said(server, "kernel") == "rtt" else NO


def tls(server):
    """Ask for what the handshake has come to."""
    return YES if said(server, "kernel") == "rtt tls" else NO


def http2(server):
    """Ask over HTTP/2."""
    host, port = server.address
    url = f"https://{host}:{port}/can/conn"
    form = "%{http_version} %{http_code}"
    command = ["curl", "-sk", "--http2", "-m", "10", "-o", "/dev/null", "-w", form, url]
    asked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    if asked.stdout != "2 200":
        return NO
    return YES if the_map(server) == YES else "without states"


TCP = {
    "`current_conn`: key, addresses, socket, age": current_conn,
    "`conn.requests`, `conn.data` over several requests": several_requests,
    "the map of live connections": the_map,
    "states, `on_state_change`, `close_reason`": states,
    "`tcp_info()` and its like": tcp_info,
    "`saved_syn()`": lambda server: said(server, "saved_syn"),
    "`is_disconnected()`, and what asks it: `checkpoint()` ...": gone("is_disconnected"),
    "`on_disconnect()`": gone("on_disconnect"),
    "`wait_disconnected()`": gone("wait_disconnected"),
    "`hijack()`": hijack("hijack"),
    "`upgrade()`": hijack("upgrade", "Connection: Upgrade", "Upgrade: echo"),
    "`hijack_async()`": hijack("hijack_async"),
    "`stream()`, `events()`": stream,
    "`websocket()`, with the extra `websocket`": websocket,
    "`set_deadlines()`": lambda server: said(server, "deadlines"),
    "`set_min_rates()`": lambda server: said(server, "rates"),
    "`abort()`": abort,
    "`close_after_response()`": close_after_response,
    "`conn.proxy`, from a PROXY protocol header": proxy,
    "a limit on the time that a request's head may take": header_timeout,
    "a silent connection holds no thread": silent_connections,
    "`on_shutdown`": on_shutdown,
}
"""The rows of the table that are tried over TCP, in the order of trying."""

UNIX = {
    "a UNIX peer: `peer_credentials()`, `require_peer()`": credentials,
    "a UNIX peer's key is its `REMOTE_ADDR` too": unix_key,
}
TLS = {
    "`conn.tls`": tls,
    "HTTP/2, with the extra `http2`; it cannot be hijacked": http2,
}
ROWS = {"tcp": TCP, "unix": UNIX, "tls": TLS}
"""Likewise, by transport."""
