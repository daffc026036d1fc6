"""What was negotiated over TLS; portable, for Python's ``ssl`` is the same on every system."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from ._errno import open_fd

if TYPE_CHECKING:
    import socket

__all__ = ["TLSInfo", "remember_server_name", "tls_info"]

_BINDINGS = ("tls-unique", "tls-exporter")
"""The channel bindings with a name (RFC 5929, RFC 9266) that a socket's own data can give."""

_NO_CERTIFICATE_YET = (ValueError, AttributeError, OSError)
"""What ``getpeercert`` raises for "handshake not done yet", for a TLS object that ``unwrap()`` took
away, and for a socket that is not connected."""

_server_names: WeakKeyDictionary[object, str] = WeakKeyDictionary()
"""The names that clients asked for, by socket: OpenSSL hands them to the SNI callback only, and a
server-side ``SSLSocket`` does not keep them."""


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """The TLS session of a connection.

    Before the end of the handshake, and after ``unwrap()``, all is None or empty.
    """

    version: str | None
    """``TLSv1.3`` and the like."""
    cipher: str | None
    """The cipher suite, by OpenSSL's name."""
    cipher_bits: int | None
    """How many secret bits the cipher uses."""
    alpn: str | None
    """The application protocol that both agreed on (ALPN), ``http/1.1`` say."""
    server_name: str | None
    """The host name of the client's SNI. Python gives it to a server only in the context's
    ``sni_callback``: it is known here if `remember_server_name(context)` was called, and on a
    client's own socket. None otherwise, or if the client sent none."""
    resumed: bool
    """The session was resumed: the handshake was abbreviated, no certificate was sent."""
    peer_certificate: dict[str, Any] | None = field(hash=False)
    """As of ``SSLSocket.getpeercert()``: None without a certificate, empty if the context did not
    verify it (``CERT_NONE``)."""
    peer_certificate_der: bytes | None = field(repr=False)
    """The certificate in DER, verified or not."""
    bindings: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """The channel bindings that Python could compute: pairs of type and data."""

    def channel_binding(self, kind: str = "tls-unique") -> bytes | None:
        """Return the channel binding of a type, for SCRAM-PLUS and the like.

        Args:
            kind: ``tls-unique`` (up to TLS 1.2; TLS 1.3 does not define it, RFC 8446 C.5) or
                ``tls-exporter`` (RFC 9266; needs a Python that exports keying material, which
                none up to 3.14 does).

        Returns:
            The data; None where the version of TLS or of Python has none.

        Raises:
            ValueError: there is no such type.
        """
        if kind not in _BINDINGS:
            raise ValueError(f"unknown channel binding {kind!r}: one of {', '.join(_BINDINGS)}")
        return dict(self.bindings).get(kind)


def tls_info(sock: socket.socket) -> TLSInfo | None:
    """Return what was negotiated over TLS; None for a socket without TLS.

    Safe at any time: before the end of the handshake the fields are None or empty.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    open_fd(sock, "tls")
    # Not isinstance: gevent's SSLSocket is no ssl.SSLSocket, and replaces it when it patches.
    if not hasattr(sock, "selected_alpn_protocol"):
        return None
    return _describe(cast("ssl.SSLSocket", sock))


def _describe(sock: ssl.SSLSocket) -> TLSInfo:
    """Return what a TLS socket tells of its session."""
    version = sock.version()
    cipher = sock.cipher() if version else None
    return TLSInfo(
        version=version,
        cipher=cipher[0] if cipher else None,
        cipher_bits=cipher[2] if cipher else None,
        alpn=sock.selected_alpn_protocol() if version else None,
        server_name=_server_names.get(sock) or sock.server_hostname,
        resumed=bool(version and sock.session_reused),
        peer_certificate=_certificate(sock),
        peer_certificate_der=_certificate_der(sock),
        bindings=_bindings(sock, version),
    )


def _certificate(sock: ssl.SSLSocket) -> dict[str, Any] | None:
    """Return the parsed certificate; None before the handshake is done or after ``unwrap()``."""
    try:
        return sock.getpeercert()
    except _NO_CERTIFICATE_YET:
        return None


def _certificate_der(sock: ssl.SSLSocket) -> bytes | None:
    """Return the certificate in DER; None in the same cases."""
    try:
        return sock.getpeercert(binary_form=True)
    except _NO_CERTIFICATE_YET:
        return None


def _bindings(sock: ssl.SSLSocket, version: str | None) -> tuple[tuple[str, bytes], ...]:
    """Return the channel bindings that this version of TLS defines and this Python computes."""
    if version is None:
        return ()
    kinds = [kind for kind in _BINDINGS if kind in ssl.CHANNEL_BINDING_TYPES]
    if version == "TLSv1.3":  # OpenSSL would return a Finished message; no RFC says it means that
        kinds = [kind for kind in kinds if kind != "tls-unique"]
    data = ((kind, sock.get_channel_binding(kind)) for kind in kinds)
    return tuple((kind, binding) for kind, binding in data if binding)


def remember_server_name(context: ssl.SSLContext) -> None:
    """Make `tls_info().server_name` known for the connections of a server's context.

    Keeps the context's own ``sni_callback``, which runs after the name has been noted and decides
    as before. Call it once, after the application has set its callback.
    """
    inner = context.sni_callback

    def note(sock: ssl.SSLObject, name: str, ctx: ssl.SSLContext) -> int | None:
        if name:  # None, whatever the type says, from a client that sent no name
            _server_names[sock] = name
        return inner(sock, name, ctx) if inner is not None else None

    context.sni_callback = note
