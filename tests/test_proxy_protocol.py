"""A PROXY protocol header before a connection's first request, on every server of ours."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from proxying import SIGNATURE, TCP4, TCP6, V1, summed, tlv, v2
from servers import PATIENCE, Client, ask, client_context, wait_for

pytestmark = pytest.mark.slow

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
KINDS = {
    "v1": (V1, "TCP4"),
    "v1-6": (b"PROXY TCP6 2001:db8::7 2001:db8::9 258 443\r\n", "TCP6"),
    "v1-unknown": (b"PROXY UNKNOWN\r\n", "UNKNOWN"),
    "v1-unknown-more": (b"PROXY UNKNOWN 192.0.2.7 198.51.100.9 258 443\r\n", "UNKNOWN"),
    "v2": (v2(), "TCP4"),
    "v2-6": (v2(0x21, 0x21, TCP6), "TCP6"),
    "v2-summed": (summed(tlv(2, b"example.org")), "TCP4"),
    "v2-local": (v2(0x20, 0x00, b""), "LOCAL"),
    "v2-local-more": (v2(0x20, 0x11, b"more"), "LOCAL"),
    "v2-unspec": (v2(0x21, 0x00, b""), "UNSPEC"),
    "v2-unspec-more": (v2(0x21, 0x00, b"more"), "UNSPEC"),
    "v2-unix": (v2(0x21, 0x31, bytes(216)), "UNIX"),
    "v2-udp": (v2(0x21, 0x12), "UDP4"),
}
TOLD = {
    "4": (["192.0.2.7", 258], ["198.51.100.9", 443]),
    "6": (["2001:db8::7", 258], ["2001:db8::9", 443]),
}
BAD = {
    "v1": b"PROXY TCP4 not-an-address\r\n",
    "v1 too long": b"PROXY ".ljust(200, b"x") + b"\r\n",
    "checksum": summed(wrong=1),
    "version": v2(0x11),
    "command": v2(0x22),
    "short": v2(0x21, 0x11, TCP4[:4]),
    "too long": SIGNATURE + b"\x21\x11\xff\xff",
}
TIMEOUT = "1.5"
"""Seconds for a head, where one that is late is waited for."""

SERVERS = ["werkzeug", "sync", "gthread", "gevent", "gevent_pywsgi", "pywsgi", "waitress"]
"""All of ours. Each reads a header by the same parser, whose own tests have more kinds of them."""

EVERYWHERE = [
    f"{name} {transport}"
    for name in SERVERS
    for transport in ("tcp", "unix", "tls")
    if (name, transport) != ("waitress", "tls")
]
SETTINGS_OF_OURS = ("werkzeug", "pywsgi", "waitress")
"""Those that have no settings of gunicorn's."""


@pytest.fixture(scope="module")
def proxied(run_server):
    """Servers that read headers from 127.0.0.1 and UNIX peers, started when asked for."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport, *, more=(), header_timeout="10"):
            key = (name, transport, more, header_timeout)
            if key not in started:
                env, options = {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": header_timeout}, more
                if name in SETTINGS_OF_OURS:
                    env["CONTRACT_RAWSOCKET_PROXY_PROTOCOL"] = "auto"
                    env["CONTRACT_RAWSOCKET_PROXY_ALLOW_IPS"] = '["127.0.0.1"]'
                else:
                    allowed = ("--proxy-allow-from", "127.0.0.1")
                    options = ("--proxy-protocol", "auto", *allowed, *more)
                running = run_server(name, transport, *options, env=env)
                started[key] = stack.enter_context(running)
            started[key].mark()
            return started[key]

        yield get


def behind(server, header, *, by_byte=False):
    """Open a connection that begins with `header`, before TLS where there is any.

    A byte at a time, or in one segment with what comes next, be that TLS or a request.
    """
    sock = server.raw()
    if by_byte:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header:
            sock.sendall(bytes([byte]))
    else:
        sock.sendall(header, getattr(socket, "MSG_MORE", 0))
    if server.transport == "tls":
        sock = client_context().wrap_socket(sock, server_hostname="localhost")
    return Client(sock)


def closed(server):
    """Wait for the one connection since `mark`; give its states and why it was closed."""
    wait_for(server.closed, "the end")
    return server.sequences(), [each["why"] for each in server.closed()]


def check_told(server, told, protocol, client):
    """Check what the view of a `client` has been told, and its hooks.

    The key stays the socket's; REMOTE_ADDR is the client's, where the header has one.
    """
    own = "127.0.0.1" if server.transport != "unix" else told["key"]
    if server.transport != "unix":
        assert told["key"] == client.key
    source, destination = TOLD.get(protocol[-1], (None, None))
    proxy = told["proxy"]
    assert (proxy["protocol"], proxy["source"]) == (protocol, source)
    assert proxy["destination"] == destination
    assert told["remote_addr"] == (source[0] if source else own)
    assert told["remote_host"] in (None, told["remote_addr"])  # waitress has it
    if source:
        assert told["remote_port"] == str(source[1])
    # That of NEW runs beside it, in another thread.
    assert closed(server)[0] == ["NAC"]
    known = [each["proxied"] for each in server.events() if each.get("id") == told["id"]]
    assert known[1:] == [protocol, protocol]


@pytest.mark.parametrize("kind", ["v1", "v2-summed"])
@pytest.mark.parametrize("where", EVERYWHERE)
def test_everywhere(proxied, where, kind):
    """On each server over each transport, however it comes; and a connection without a header."""
    server, (header, protocol) = proxied(*where.split()), KINDS[kind]
    with behind(server, header, by_byte=kind == "v1") as client:
        for part in [GET] if kind != "v1" else [GET[at : at + 1] for at in range(len(GET))]:
            client.send(part)
        told = client.response().json
        check_told(server, told, protocol, client)
    assert told["proxy"]["authority"] == ("example.org" if kind == "v2-summed" else None)
    with server.connect() as client:
        client.send(GET)
        told = client.response().json
    assert told["proxy"] is None
    assert told["remote_addr"] == ("127.0.0.1" if "unix" not in where else told["key"])


OF_ONE_SERVER = [("gthread", each) for each in KINDS if each not in ("v1", "v2-summed")]
OF_EACH_SERVER = [
    (name, kind)
    for name in SERVERS
    for kind in ("v1-6", "v1-unknown", "v2-local-more", "v2-unix")
    if name != "gthread"
]


@pytest.mark.parametrize(("name", "kind"), OF_ONE_SERVER + OF_EACH_SERVER)
def test_each_kind(proxied, name, kind):
    """Those with an address of the other family, and those without one."""
    server, (header, protocol) = proxied(name, "tcp"), KINDS[kind]
    with behind(server, header) as client:
        client.send(GET)
        told = client.response().json
        check_told(server, told, protocol, client)


@pytest.mark.parametrize(
    ("name", "transport"),
    [("gthread", "tls"), *((name, "tcp") for name in SERVERS if name not in ("werkzeug", "sync"))],
)
def test_every_request(proxied, name, transport):
    """All requests of a connection have it; a second header is no request."""
    server = proxied(name, transport)
    with behind(server, V1) as client:
        first, second = client.request().json, client.request().json
        assert (first["requests"], second["requests"]) == (1, 2)
        assert first["remote_addr"] == second["remote_addr"] == "192.0.2.7"
        assert first["remote_port"] == second["remote_port"] == "258"
        assert first["proxy"] == second["proxy"]
        client.send(V1 + GET)
        assert client.response().status == 400


@pytest.mark.parametrize("where", [each for each in EVERYWHERE if each.endswith("tls")])
def test_inside_of_tls(proxied, where):
    """It may come there, as gunicorn has it, where there was none before TLS."""
    server = proxied(*where.split())
    with server.connect() as client:
        client.send(V1 + GET)
        assert client.response().json["remote_addr"] == "192.0.2.7"
    with behind(server, v2(0x21, 0x21, TCP6)) as client:
        client.send(V1 + GET)  # the client's, whom the proxy has forwarded
        assert b"400" in client.rest()


BAD_EVERYWHERE = [(each, "checksum") for each in EVERYWHERE]
BAD_ON_ONE = [("gthread tcp", each) for each in BAD if each != "checksum"]


@pytest.mark.parametrize(("where", "kind"), BAD_EVERYWHERE + BAD_ON_ONE)
def test_malformed(proxied, where, kind):
    """It costs its own connection, and has a reason of its own; before TLS only the log says so."""
    server = proxied(*where.split())
    is_tls, start = server.transport == "tls", server.log.stat().st_size
    with Client(server.raw()) as client:
        client.send(BAD[kind] + GET)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = client.rest()
    assert answer == b"" if is_tls else answer.startswith(b"HTTP/1.1 400")
    assert closed(server) == (["NC"], ["BAD_PROXY_HEADER"])
    log = server.log.read_bytes()[start:]
    assert b"Traceback" not in log
    assert kind != "checksum" or b"the checksum is wrong" in log or server.name == "waitress"
    assert ask(server).status == 200


@pytest.mark.parametrize("name", SERVERS)
def test_not_allowed(proxied, name):
    """Who may not send one is refused, and served without one."""
    server = proxied(name, "tcp")
    with Client(server.raw(source=("127.0.0.2", 0))) as client:
        client.send(V1 + GET)
        with contextlib.suppress(ConnectionError):
            assert client.rest().startswith(b"HTTP/1.1 403")
    assert closed(server) == (["NC"], ["BAD_PROXY_HEADER"])
    with Client(server.raw(source=("127.0.0.2", 0))) as client:
        client.send(GET)
        assert client.response().json["proxy"] is None


def test_not_allowed_before_tls(proxied):
    server = proxied("gthread", "tls")
    with Client(server.raw(source=("127.0.0.2", 0))) as client:
        client.send(V1)
        with contextlib.suppress(ConnectionError):
            assert client.rest() == b""
    assert closed(server) == (["NC"], ["BAD_PROXY_HEADER"])


@pytest.mark.parametrize(
    ("name", "transport"), [(name, "tcp") for name in SERVERS] + [("gthread", "tls")]
)
def test_a_health_check(proxied, name, transport):
    """A proxy that looks whether the server is there says LOCAL, and leaves; no line says so."""
    server = proxied(name, transport)
    start = server.log.stat().st_size
    for _ in range(3):
        with server.raw() as sock:
            sock.sendall(v2(0x20, 0x00, b""))
    wait_for(lambda: len(server.closed()) == 3, "the ends")
    assert {each["why"] for each in server.closed()} <= {"PEER_CLOSED", "PEER_RESET"}
    assert server.sequences() == ["NC"] * 3
    assert server.log.read_bytes()[start:] == b""


@pytest.mark.parametrize(
    ("where", "header"),
    [
        ("werkzeug tls", V1[:-3]),
        ("sync unix", v2()[:14]),
        ("gthread tls", b"PRO"),
        ("gthread tcp", v2()[:-1]),
        ("gevent tls", b"\r\n\r\n"),
        ("pywsgi tls", V1[:-1]),
        ("waitress tcp", b"\r\n\r\n"),
    ],
)
def test_too_slow(proxied, where, header):
    """It is due in the time of a head, and is not answered; but waitress answers everybody."""
    server = proxied(*where.split(), header_timeout=TIMEOUT)
    with Client(server.raw()) as client:
        client.send(header)
        answer = client.rest()
    assert answer == b"" or ("waitress" in where and answer.startswith(b"HTTP/1.1 408"))
    assert closed(server) == (["NC"], ["HEAD_TOO_SLOW"])


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_no_thread_is_held(proxied, transport):
    """More clients than threads, each with a part of its header, or a header and nothing else."""
    server = proxied("gthread", transport)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(server.raw()) for _ in range(16)]
        for cut, sock in enumerate(socks):
            sock.sendall(V1[: 1 + cut] if cut < 8 else V1)
        assert ask(server).status == 200
        for cut, sock in enumerate(socks):
            sock.sendall(V1[1 + cut :] if cut < 8 else b"")
            client = Client(sock)
            if transport == "tls":
                client.sock = stack.enter_context(client_context().wrap_socket(sock))
            client.send(GET)
            assert client.response().json["remote_addr"] == "192.0.2.7"


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_header_and_silence(proxied, transport):
    """A balancer sends it at once, and its client may take its time, as on a new connection."""
    server = proxied("gthread", transport, header_timeout=TIMEOUT)
    with Client(server.raw()) as silent, Client(server.raw()) as slow:
        silent.send(V1[:-1])
        silent.send(V1[-1:])
        slow.send(V1[:-1])
        assert slow.rest() == b""  # later than it was due
        if transport == "tls":
            silent.sock = client_context().wrap_socket(silent.sock)
        silent.send(GET)
        assert silent.response().json["remote_addr"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("name", "transport"), [("gthread", "tls"), ("gthread", "tcp"), ("gevent", "tls")]
)
def test_http2(proxied, name, transport):
    """Every stream has the address, over TLS and in the clear."""
    pytest.importorskip("h2", reason="needs h2: pip install h2")
    curl = shutil.which("curl") or pytest.skip("needs curl: apt install curl")
    more = ("--http-protocols", "h2,h1")
    if transport == "tcp":
        pytest.importorskip("gunicorn.http2.negotiation", reason="gunicorn before 26.2 has no h2c")
        more += ("--http2-cleartext", "both")
    server = proxied(name, transport, more=more)
    host, port = server.address
    url = f"{'https' if transport == 'tls' else 'http'}://{host}:{port}/"
    command = [curl, "-sfk", "--haproxy-protocol", "-w", "\nHTTP/%{http_version}\n"]
    # By prior knowledge curl 7.88 fails to send a second request.
    command += ["--http2", url, url] if transport == "tls" else ["--http2-prior-knowledge", url]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True, text=True)
    count = command.count(url)
    assert done.stdout.count("HTTP/2\n") == count
    assert done.stdout.count('"protocol":"TCP4"') == count
    assert done.stdout.count('"remote_addr":"127.0.0.1"') == count


HAPROXY = """
global
    stats timeout 5s
defaults
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend clients
    mode tcp
    unique-id-format %ci-%cp-%pid
    bind fd@{listening} ssl crt {both} ca-file {certificate} verify optional alpn http/1.1
    default_backend servers
backend servers
    mode tcp
    server only {upstream} send-proxy-v2-ssl-cn proxy-v2-options unique-id,crc32c,authority {tls}
"""


@contextlib.contextmanager
def haproxy(folder, certificate, upstream, tls):
    """Run haproxy in front of `upstream`; give its address."""
    command = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if command is None:
        pytest.skip("needs haproxy: apt install haproxy")
    both = folder / "both.pem"
    both.write_text("".join(Path(each).read_text() for each in certificate))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        text = HAPROXY.format(
            listening=listening.fileno(),
            both=both,
            certificate=certificate[0],
            upstream="{}:{}".format(*upstream),
            tls="ssl verify none" if tls else "",
        )
        (folder / "haproxy.cfg").write_text(text)
        process = subprocess.Popen(
            [command, "-db", "-f", "haproxy.cfg"], cwd=folder, pass_fds=[listening.fileno()]
        )
        try:
            yield listening.getsockname()
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("has_certificate", [True, False])
def test_haproxy(proxied, transport, has_certificate, certificate, tmp_path):
    """The real one tells of its client's TLS and certificate; the checksum is right."""
    server = proxied("gthread", transport)
    context = client_context()
    context.set_alpn_protocols(["http/1.1"])
    if has_certificate:
        context.load_cert_chain(*certificate)
    with (
        haproxy(tmp_path, certificate, server.address, transport == "tls") as address,
        socket.create_connection(address, PATIENCE) as sock,
        Client(context.wrap_socket(sock, server_hostname="localhost")) as client,
    ):
        first, second = client.request().json, client.request().json
        port = client.sock.getsockname()[1]
    proxy = first["proxy"]
    assert proxy["source"] == ["127.0.0.1", port]
    assert proxy["destination"] == list(address)
    assert (proxy["version"], proxy["alpn"], proxy["authority"]) == (2, "http/1.1", "localhost")
    assert proxy["unique_id"].startswith(f"127.0.0.1-{port}-")
    assert proxy["tls"] == {
        "version": "TLSv1.3",
        "common_name": "localhost" if has_certificate else None,
        "is_verified": has_certificate,
    }
    assert int(first["remote_port"]) == int(second["remote_port"]) == port
    assert second["proxy"] == proxy
