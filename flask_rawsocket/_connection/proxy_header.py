"""What a PROXY protocol header says: values only.

Source: the PROXY protocol specification (haproxy, ``doc/proxy-protocol.txt``), sections 2.1 and
2.2; the cloud providers' documents for the types that are theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ProxyHeader", "ProxyTLS"]


@dataclass(frozen=True, slots=True)
class ProxyTLS:
    """What the proxy says of the client's TLS, which ends at the proxy (section 2.2.6)."""

    version: str | None = None
    """The version of TLS, as ``TLSv1.3``."""

    common_name: str | None = None
    """The Common Name of the client's certificate; None without one. It identifies the client only
    where `is_verified`."""

    verify_result: int = 1
    """0 where no verification has failed; else the proxy's code, as OpenSSL's ``X509_V_ERR_*``.
    haproxy also sends 0 where there is no certificate: see `is_verified`."""

    has_certificate: bool = False
    """Whether the client has presented a certificate, on this connection or earlier in its TLS
    session."""

    cipher: str | None = None
    """The cipher suite, as ``ECDHE-RSA-AES128-GCM-SHA256``."""

    signature_algorithm: str | None = None
    """How the proxy's own certificate is signed, as ``RSA-SHA256``."""

    key_algorithm: str | None = None
    """The key of the proxy's own certificate, as ``RSA2048``."""

    group: str | None = None
    """How the keys were exchanged, as ``secp256r1`` or ``X25519MLKEM768``."""

    signature_scheme: str | None = None
    """How the proxy has signed the handshake, as ``rsa_pss_rsae_sha256``."""

    certificate: bytes | None = None
    """The client's certificate, in DER, where the proxy sends it: verified or not, as
    `common_name`."""

    @property
    def is_verified(self) -> bool:
        """Whether the client has presented a certificate, and the proxy has verified it."""
        return self.has_certificate and self.verify_result == 0


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What the PROXY protocol header, version 1 or 2, at the beginning of a connection said.

    Text in a header of version 2 that is not UTF-8 is None here; `tlvs` has the bytes.
    """

    protocol: str
    """``TCP4``, ``TCP6``, ``UDP4`` or ``UDP6``; without an address of the internet ``LOCAL``,
    ``UNKNOWN``, ``UNSPEC`` or ``UNIX``."""

    source: tuple[str, int] | None
    """The client's address and port as the proxy saw them; None if the header has none."""

    destination: tuple[str, int] | None
    """The address and port that the client connected to; None if the header has none."""

    version: int = 1
    """The header's own version, 1 or 2. All that follows comes with version 2 only."""

    alpn: str | None = None
    """The protocol that client and proxy have agreed on by ALPN, as ``h2``."""

    authority: str | None = None
    """The host name that the client asked for, by TLS's server name indication."""

    unique_id: bytes | None = None
    """What the proxy calls this connection; at most 128 bytes."""

    tls: ProxyTLS | None = None
    """The client's TLS; None if it has spoken none to the proxy, or the header does not say."""

    network_namespace: str | None = None
    """The name of the network namespace that the proxy has accepted the client in."""

    aws_vpc_endpoint_id: str | None = None
    """The endpoint of AWS PrivateLink that the client came by, as ``vpce-08d2bf15fac5001c9``."""

    azure_link_id: int | None = None
    """The LINKID of the Azure private endpoint that the client came by."""

    gcp_psc_connection_id: int | None = None
    """The connection id of Google Cloud's Private Service Connect that the client came by."""

    tlvs: tuple[tuple[int, bytes], ...] = ()
    """All type-length-value fields, in their order, as pairs of a type and a value."""
