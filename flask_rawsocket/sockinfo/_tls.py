"""What was negotiated over TLS; portable, as Python's ``ssl`` is the same on every system."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from ._errno import open_fd

if TYPE_CHECKING:
    import socket

__all__ = ["TLSInfo", "is_tls", "remember_server_name", "tls_info"]

_BINDINGS = ("tls-unique", "tls-exporter")
"""The types of channel binding (RFC 5929, RFC 9266) that a socket's own data suffices for."""

_NO_CERTIFICATE_YET = (ValueError, AttributeError, OSError)
"""What ``getpeercert`` raises before the end of the handshake, after ``unwrap()`` has removed the
TLS object, and on a socket that is not connected."""

_server_names: WeakKeyDictionary[object, str] = WeakKeyDictionary()
"""The host names that clients asked for, by socket: OpenSSL passes them to the SNI callback only,
and a server-side ``SSLSocket`` does not keep them."""


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """The TLS session of a connection.

    Before the end of the handshake, and after ``unwrap()``, every field is None or empty.
    """

    version: str | None
    """The version of the protocol, such as ``TLSv1.3``."""
    cipher: str | None
    """The cipher suite, by OpenSSL's name."""
    cipher_bits: int | None
    """How many secret bits the cipher uses."""
    alpn: str | None
    """The application protocol that both sides agreed on (ALPN), such as ``http/1.1``."""
    server_name: str | None
    """The host name in the client's SNI. Python shows it to a server only in the context's
    ``sni_callback``, so it is known here only if `remember_server_name(context)` was called, or on
    a client's own socket. None otherwise, and if the client sent none."""
    resumed: bool
    """Whether the session was resumed: the handshake was abbreviated, no certificate was sent."""
    peer_certificate: dict[str, Any] | None = field(hash=False)
    """What ``SSLSocket.getpeercert()`` returns: None without a certificate, empty if the context
    did not verify it (``CERT_NONE``)."""
    peer_certificate_der: bytes | None = field(repr=False)
    """The certificate in DER form, verified or not."""
    bindings: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """The channel bindings that Python could compute, as pairs of type and data."""

    def channel_binding(self, kind: str = "tls-unique") -> bytes | None:
        """Return the channel binding of a type, for SCRAM-PLUS and the like.

        Args:
            kind: ``tls-unique`` (up to TLS 1.2; TLS 1.3 does not define it, RFC 8446 C.5) or
                ``tls-exporter`` (RFC 9266; needs a Python that exports keying material, which
                none up to 3.14 does).

        Returns:
            The data; None if this version of TLS does not define it or Python cannot compute it.

        Raises:
            ValueError: the type is unknown.
        """
        if kind not in _BINDINGS:
            raise ValueError(f"unknown channel binding {kind!r}: one of {', '.join(_BINDINGS)}")
        return dict(self.bindings).get(kind)


def is_tls(sock: socket.socket) -> bool:
    """Tell whether a socket's bytes go through TLS, as those of an ``ssl.SSLSocket`` do."""
    # Not isinstance: gevent's SSLSocket is not an ssl.SSLSocket, and replaces it once patched.
    return hasattr(sock, "selected_alpn_protocol")


def tls_info(sock: socket.socket) -> TLSInfo | None:
    """Return what was negotiated over TLS; None for a socket without TLS.

    Safe at any time: before the end of the handshake the fields are None or empty.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    open_fd(sock, "tls")
    if not is_tls(sock):
        return None
    return _describe(cast("ssl.SSLSocket", sock))


def _describe(sock: ssl.SSLSocket) -> TLSInfo:
    """Return what a TLS socket knows about its session."""
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
    """Return the certificate in DER form; None in the same cases."""
    try:
        return sock.getpeercert(binary_form=True)
    except _NO_CERTIFICATE_YET:
        return None


def _bindings(sock: ssl.SSLSocket, version: str | None) -> tuple[tuple[str, bytes], ...]:
    """Return the channel bindings that this version of TLS defines and this Python computes."""
    if version is None:
        return ()
    kinds = [kind for kind in _BINDINGS if kind in ssl.CHANNEL_BINDING_TYPES]
    if version == "TLSv1.3":  # OpenSSL would return a Finished message, which no RFC sanctions
        kinds = [kind for kind in kinds if kind != "tls-unique"]
    data = ((kind, sock.get_channel_binding(kind)) for kind in kinds)
    return tuple((kind, binding) for kind, binding in data if binding)


def remember_server_name(context: ssl.SSLContext) -> None:
    """Make `tls_info().server_name` known for the connections of a server's context.

    The context keeps its own ``sni_callback``, which runs after the name has been noted and decides
    as before. Call this once, after the application has set its callback.
    """
    inner = context.sni_callback

    def note(sock: ssl.SSLObject, name: str, ctx: ssl.SSLContext) -> int | None:
        if name:  # None if the client sent none, whatever the annotation says
            _server_names[sock] = name
        return inner(sock, name, ctx) if inner is not None else None

    context.sni_callback = note
