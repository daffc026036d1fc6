"""``tls_info`` over real handshakes, before them and after them."""

from __future__ import annotations

import socket
import ssl

import pytest
from servers import wait_for

from flask_rawsocket.errors import ConnectionClosedError
from flask_rawsocket.sockinfo import TLSInfo, peer_status, queues, remember_server_name, tls_info


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_plain(pair, kind):
    """A socket without TLS has no TLS info."""
    server, _ = pair(kind)
    assert tls_info(server) is None


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_what_was_negotiated(tls, contexts, version, certificate_der):
    """Version, cipher, protocol and certificate are those of the handshake, at both ends."""
    for context in contexts:
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        context.set_alpn_protocols(["h2", "http/1.1"])
    with tls() as (server, client):
        ours, theirs = tls_info(server), tls_info(client)
        assert ours.version == theirs.version == version.replace("_", ".")
        assert ours.cipher == theirs.cipher == server.cipher()[0]
        assert ours.cipher_bits in (128, 256)
        assert ours.alpn == "h2"
        assert ours.resumed is False
        assert ours.peer_certificate is None
        assert ours.peer_certificate_der is None
        assert theirs.peer_certificate["subject"] == ((("commonName", "localhost"),),)
        assert theirs.peer_certificate_der == certificate_der
        assert theirs.server_name == "localhost"
        assert ours == tls_info(server)
        assert hash(theirs) == hash(tls_info(client))


def test_channel_binding(tls, contexts):
    """Up to TLS 1.2 both ends have the same tls-unique; an unknown type is a ValueError."""
    contexts[0].maximum_version = ssl.TLSVersion.TLSv1_2
    with tls() as (server, client):
        ours = tls_info(server)
        assert len(ours.channel_binding()) == 12
        assert ours.channel_binding() == tls_info(client).channel_binding("tls-unique")
        assert ours.channel_binding("tls-exporter") is None
        with pytest.raises(ValueError, match="tls-nonsense"):
            ours.channel_binding("tls-nonsense")


def test_no_tls_unique_in_tls_1_3(tls):
    """TLS 1.3 does not define tls-unique, whatever OpenSSL returns."""
    with tls() as (server, _):
        assert server.version() == "TLSv1.3"
        assert tls_info(server).channel_binding() is None


def test_a_client_certificate(tls, contexts, certificate, certificate_der):
    """A certificate that the client sent is there as a dictionary and as DER."""
    contexts[0].verify_mode = ssl.CERT_REQUIRED
    contexts[0].load_verify_locations(certificate[0])
    contexts[1].load_cert_chain(*certificate)
    contexts[1].maximum_version = ssl.TLSVersion.TLSv1_2  # the server has it when it returns
    with tls() as (server, _):
        info = tls_info(server)
        assert info.peer_certificate["subject"] == ((("commonName", "localhost"),),)
        assert info.peer_certificate_der == certificate_der


def test_an_unverified_certificate(tls, contexts, certificate_der):
    """A certificate that the context did not verify is an empty dictionary, and DER."""
    contexts[1].check_hostname = False
    contexts[1].verify_mode = ssl.CERT_NONE
    with tls() as (_, client):
        assert tls_info(client).peer_certificate == {}
        assert tls_info(client).peer_certificate_der == certificate_der


def test_a_resumed_session(tls, contexts):
    """A second connection that presents the first one's session is resumed."""
    contexts[1].maximum_version = ssl.TLSVersion.TLSv1_2
    with tls() as (server, client):
        server.sendall(b"x")
        client.recv(1)
        session = client.session
    with tls(session=session) as (server, client):
        assert tls_info(server).resumed is True
        assert tls_info(client).resumed is True


def test_the_server_learns_the_name(tls, contexts):
    """After ``remember_server_name`` the server knows which name the client asked for."""
    with tls() as (server, _):
        assert tls_info(server).server_name is None
    seen = []
    contexts[0].sni_callback = lambda _sock, name, _context: seen.append(name)
    remember_server_name(contexts[0])
    with tls() as (server, _):
        assert tls_info(server).server_name == "localhost"
        assert seen == ["localhost"]


def test_a_client_without_a_name(tls, contexts):
    """A client that sends no name leaves None; the application's callback decides as before."""
    remember_server_name(contexts[0])
    contexts[1].check_hostname = False
    with tls(server_hostname=None) as (server, _):
        assert tls_info(server).server_name is None


def test_before_the_handshake(pair, contexts):
    """Before the handshake all is None or empty, and nothing raises."""
    raw, _client = pair("tcp4")
    with contexts[0].wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as server:
        nothing = TLSInfo(
            version=None,
            cipher=None,
            cipher_bits=None,
            alpn=None,
            server_name=None,
            resumed=False,
            peer_certificate=None,
            peer_certificate_der=None,
        )
        assert tls_info(server) == nothing
        assert tls_info(server).channel_binding() is None


def test_before_the_connection(contexts):
    """A TLS socket that is not even connected tells nothing, and raises nothing."""
    with contexts[1].wrap_socket(socket.socket(), server_hostname="localhost") as client:
        info = tls_info(client)
    assert info.version is None
    assert info.server_name == "localhost"
    assert info.peer_certificate is None


def test_during_the_handshake(pair, contexts):
    """In the middle of a handshake there is no ValueError either."""
    raw_server, raw_client = pair("tcp4")
    server = contexts[0].wrap_socket(raw_server, server_side=True, do_handshake_on_connect=False)
    client = contexts[1].wrap_socket(
        raw_client, server_hostname="localhost", do_handshake_on_connect=False
    )
    with server, client:
        client.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        server.settimeout(5)
        server.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            server.do_handshake()
        assert tls_info(server).peer_certificate is None
        assert tls_info(client).peer_certificate_der is None


def test_after_unwrap_and_close(tls):
    """A TLS socket without its TLS object tells nothing; a closed one says that it is closed."""
    with tls() as (server, client):
        client._sslobj = None  # what unwrap() leaves behind
        assert tls_info(client).version is None
        assert tls_info(client).peer_certificate is None
        server.close()
        with pytest.raises(ConnectionClosedError):
            tls_info(server)


def test_the_kernel_sees_ciphertext(tls):
    """The queues of a TLS connection count records, not the application's bytes."""
    with tls() as (server, client):
        base = queues(server).receive
        client.sendall(b"x" * 1000)
        wait_for(lambda: queues(server).receive > base + 1000)
        assert peer_status(server) == "OPEN"


def test_repr_hides_long_bytes(tls):
    """The repr does not print the certificate's DER."""
    with tls() as (_, client):
        assert "_der" not in repr(tls_info(client))


def test_a_patched_ssl_module(tls, monkeypatch):
    """A TLS socket is one whatever class ``ssl.SSLSocket`` now is: gevent puts its own there."""
    with tls() as (server, _):
        monkeypatch.setattr(ssl, "SSLSocket", type("Patched", (), {}))
        assert tls_info(server).version == "TLSv1.3"
