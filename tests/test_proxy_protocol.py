"""A PROXY protocol header before a connection's first request, on every server of ours."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import SERVERS
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


@pytest.fixture(scope="module")
def proxied(run_server):
    """Servers that read headers from anybody, or whom `allow` names, started when asked for."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport, allow="*", *, more=(), header_timeout="10"):
            key = (name, transport, allow, more, header_timeout)
            if key not in started:
                env, options = {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": header_timeout}, more
                if name in ("werkzeug", "pywsgi", "waitress"):
                    env["CONTRACT_RAWSOCKET_PROXY_PROTOCOL"] = "auto"
                    env["CONTRACT_RAWSOCKET_PROXY_ALLOW_IPS"] = f'["{allow}"]'
                else:
                    options = ("--proxy-protocol", "auto", "--proxy-allow-from", allow, *more)
                running = run_server(name, transport, *options, env=env)
                started[key] = stack.enter_context(running)
            started[key].mark()
            return started[key]

        yield get


@pytest.fixture(params=[*SERVERS, "pywsgi"])
def server(request, transport, proxied):
    """Each of our servers over each transport."""
    return proxied(request.param, transport)


def behind(server, header, *, by_byte=False):
    """Open a connection that begins with `header`, before TLS where there is any."""
    sock = server.raw()
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for part in (header[at : at + 1] for at in range(len(header))) if by_byte else [header]:
        sock.sendall(part)
    if server.transport == "tls":
        sock = client_context().wrap_socket(sock, server_hostname="localhost")
    return Client(sock)


def closed(server):
    """Wait for the one connection since `mark`; give its states and why it was closed."""
    wait_for(server.closed, "the end")
    return server.sequences(), [each["why"] for each in server.closed()]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(server, kind):
    """The key stays the socket's; REMOTE_ADDR is the client's, where the header has one."""
    header, protocol = KINDS[kind]
    with behind(server, header) as client:
        client.send(GET)
        told = client.response().json
        own = "127.0.0.1" if server.transport != "unix" else told["key"]
        if server.transport != "unix":
            assert told["key"] == client.key
    source, destination = TOLD.get(protocol[-1], (None, None))
    proxy = told["proxy"]
    assert (proxy["protocol"], proxy["source"], proxy["destination"]) == (
        protocol,
        source,
        destination,
    )
    assert told["remote_addr"] == (source[0] if source else own)
    if source:
        assert int(told["remote_port"]) == source[1]
    assert proxy["authority"] == ("example.org" if kind == "v2-summed" else None)
    # That of NEW runs beside it, in another thread.
    assert closed(server)[0] == ["NAC"]
    known = [each["proxied"] for each in server.events() if each.get("id") == told["id"]]
    assert known[1:] == [protocol, protocol]


@pytest.mark.parametrize("header", [V1, summed()], ids=["v1", "v2"])
def test_byte_by_byte(server, header):
    """However it comes, and what is behind it as well."""
    with behind(server, header, by_byte=True) as client:
        for byte in GET:
            client.send(bytes([byte]))
        assert client.response().json["remote_addr"] == "192.0.2.7"


def test_none(server):
    """A connection without one is served as it is."""
    with server.connect() as client:
        client.send(GET)
        told = client.response().json
    assert told["proxy"] is None
    assert told["remote_addr"] == ("127.0.0.1" if server.transport != "unix" else told["key"])


def test_every_request(proxied, transport):
    """All requests of a connection have it; a second header is no request."""
    server = proxied("gthread", transport)
    with behind(server, V1) as client:
        first, second = client.request().json, client.request().json
        assert (first["requests"], second["requests"]) == (1, 2)
        assert first["remote_addr"] == second["remote_addr"] == "192.0.2.7"
        assert first["remote_port"] == second["remote_port"]
        assert first["proxy"] == second["proxy"]
        client.send(V1 + GET)
        assert client.response().status == 400


@pytest.mark.parametrize("name", ["werkzeug", "sync", "gthread"])
def test_inside_of_tls(proxied, name):
    """It may come there, as gunicorn has it, where there was none before TLS."""
    server = proxied(name, "tls")
    with server.connect() as client:
        client.send(V1 + GET)
        assert client.response().json["remote_addr"] == "192.0.2.7"
    with behind(server, v2(0x21, 0x21, TCP6)) as client:
        client.send(V1 + GET)  # the client's, whom the proxy has forwarded
        assert b"400" in client.rest()


@pytest.mark.parametrize("kind", BAD)
def test_malformed(server, kind):
    """It costs its own connection, and has a reason of its own; before TLS nobody is answered."""
    start = server.log.stat().st_size
    with Client(server.raw()) as client:
        client.send(BAD[kind] + GET)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = client.rest()
    assert answer.startswith(b"" if server.transport == "tls" else b"HTTP/1.1 400")
    assert (answer == b"") is (server.transport == "tls")
    assert closed(server) == (["NC"], ["BAD_PROXY_HEADER"])
    assert b"Traceback" not in server.log.read_bytes()[start:]
    assert ask(server).status == 200


@pytest.mark.parametrize(
    ("name", "transport"), [("werkzeug", "tcp"), ("sync", "tcp"), ("gthread", "tls")]
)
def test_not_allowed(proxied, name, transport):
    """Who may not send one is refused, and served without one."""
    server = proxied(name, transport, "192.0.2.0/24")
    with Client(server.raw()) as client:
        client.send(V1 + GET)
        with contextlib.suppress(ConnectionError):
            assert client.rest().startswith(b"" if transport == "tls" else b"HTTP/1.1 403")
    assert closed(server) == (["NC"], ["BAD_PROXY_HEADER"])
    assert ask(server).json["proxy"] is None


@pytest.mark.parametrize("name", ["werkzeug", "sync", "gthread"])
def test_a_unix_peer_is_allowed(proxied, name):
    server = proxied(name, "unix", "192.0.2.1")
    with behind(server, V1) as client:
        client.send(GET)
        assert client.response().json["remote_addr"] == "192.0.2.7"


@pytest.mark.parametrize("header", [V1[:-3], v2()[:14], b"\r\n\r\n", b"PRO"])
@pytest.mark.parametrize(
    ("name", "transport"), [("werkzeug", "tls"), ("sync", "unix"), ("gthread", "tls")]
)
def test_too_slow(proxied, name, transport, header):
    """It is due in the time that a head has, and is not answered."""
    server = proxied(name, transport, header_timeout=TIMEOUT)
    with Client(server.raw()) as client:
        client.send(header)
        assert client.rest() == b""
    assert closed(server) == (["NC"], ["HEAD_TOO_SLOW"])


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


@pytest.mark.parametrize("transport", ["tls", "tcp"])
def test_http2(proxied, transport):
    """Every stream has the address, over TLS and in the clear."""
    pytest.importorskip("h2", reason="needs h2: pip install h2")
    curl = shutil.which("curl") or pytest.skip("needs curl: apt install curl")
    more = ("--http-protocols", "h2,h1")
    if transport == "tcp":
        pytest.importorskip("gunicorn.http2.negotiation", reason="gunicorn before 26.2 has no h2c")
        more += ("--http2-cleartext", "both")
    server = proxied("gthread", transport, more=more)
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
