"""A TLS 1.3 client that hands out its records instead of sending them.

So a half of one can be sent. It also makes KeyUpdate messages, which Python's ``ssl`` cannot:
they are encrypted here, with the secret that OpenSSL logs (RFC 8446, sections 4.6.3, 5.2, 7.2).
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_SUITE = "TLS_AES_256_GCM_SHA384"
_HASH = hashlib.sha384
_SECRET = "CLIENT_TRAFFIC_SECRET_0"  # noqa: S105  # the name of one
_KEY_LENGTH = 32
_NONCE_LENGTH = 12
_TAG_LENGTH = 16
_KEY_UPDATE = b"\x18\x00\x00\x01\x00"  # which does not ask for one in return
_HANDSHAKE = b"\x16"
_RECEIVE = 65536


class Client:
    """A TLS connection over a socket that its owner writes to."""

    def __init__(self, sock: socket.socket, certificate: Path) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=certificate)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        with tempfile.NamedTemporaryFile() as log:  # OpenSSL keeps it open
            context.keylog_filename = log.name
            self._tls = context.wrap_bio(
                self._incoming, self._outgoing, server_hostname="127.0.0.1"
            )
            self._log = Path(log.name).open(encoding="ascii")  # noqa: SIM115

    def hello(self) -> bytes:
        """Begin the handshake."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read()
        raise ssl.SSLError("the handshake was over before it began")

    def handshake(self) -> None:
        """Do the whole handshake.

        Raises:
            OSError: it failed.

        """
        self._sock.sendall(self.hello())
        while True:
            if not (received := self._sock.recv(_RECEIVE)):
                raise ConnectionError("the connection ended during the handshake")
            self._incoming.write(received)
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            self._sock.sendall(self._outgoing.read())
            return

    def record(self, data: bytes) -> bytes:
        """Encrypt ``data``."""
        self._tls.write(data)
        return self._outgoing.read()

    def key_updates(self, sent: int) -> KeyUpdates:
        """Make KeyUpdate messages, after so many records. It can make no other record then."""
        if (suite := self._tls.cipher()) is None or suite[0] != _SUITE:
            raise ssl.SSLError(f"KeyUpdate can be made with {_SUITE} alone, not {suite}")
        with self._log as log:
            secrets = [line.split()[2] for line in log if line.startswith(_SECRET)]
        return KeyUpdates(bytes.fromhex(secrets[0]), sent)


class KeyUpdates:
    """KeyUpdate messages, each under the key that the one before has announced."""

    def __init__(self, secret: bytes, sent: int) -> None:
        self._secret = secret
        self._sent = sent

    def next(self) -> bytes:
        """Make the next one."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        plain = _KEY_UPDATE + _HANDSHAKE
        head = b"\x17\x03\x03" + struct.pack("!H", len(plain) + _TAG_LENGTH)
        start = int.from_bytes(self._expand(b"iv", _NONCE_LENGTH))
        nonce = (start ^ self._sent).to_bytes(_NONCE_LENGTH)
        sealed = AESGCM(self._expand(b"key", _KEY_LENGTH)).encrypt(nonce, plain, head)
        self._secret = self._expand(b"traffic upd", _HASH().digest_size)
        self._sent = 0
        return head + sealed

    def _expand(self, label: bytes, length: int) -> bytes:
        """HKDF-Expand-Label with an empty context, for no more than one block."""
        label = b"tls13 " + label
        info = struct.pack("!HB", length, len(label)) + label + b"\x00"
        return hmac.digest(self._secret, info + b"\x01", _HASH)[:length]
