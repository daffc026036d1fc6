"""What is known of a connection, ready for JSON: the kernel's facts, TLS, and a UNIX peer's user.

The page, its feed and ``/api/connection`` all show this.
"""

from dataclasses import asdict

from example_app.extension import rawsocket
from flask_rawsocket import RawSocketError

MORE_OF_TCP = ["rto", "ato", "pmtu", "bytes_sent", "retrans", "pacing_rate", "segs_out", "segs_in"]
"""Fields of TCP_INFO, besides those that `rawsocket.describe` has."""


def describe(conn):
    """Return a row of a table: what there is to say of any connection."""
    return rawsocket.describe(conn) | {"peer": known(lambda: peer(conn))}


def facts(conn):
    """Return all of one connection."""
    row = describe(conn)
    if row["tcp"]:
        row["tcp"] |= known(lambda: more_of_tcp(conn)) or {}
    return row | {"tls": known(lambda: tls(conn))}


def peer(conn):
    """Return the process at the other end of a UNIX socket."""
    who = conn.peer_credentials()
    return {"user": who.user, "uid": who.uid, "pid": who.pid}


def more_of_tcp(conn):
    info = conn.tcp_info()
    return {name: getattr(info, name) for name in MORE_OF_TCP} | {"congestion": conn.congestion}


def tls(conn):
    """Return what was negotiated, and whose certificate the client has sent."""
    info = conn.tls
    if info is None:
        return None
    session = asdict(info)
    names = ["version", "cipher", "cipher_bits", "alpn", "resumed"]
    return {name: session[name] for name in names} | {"client": subject(info.peer_certificate)}


def subject(certificate):
    """Return the subject of a certificate that was verified; None if there is none."""
    if not certificate:
        return None
    pairs = [pair for part in certificate["subject"] for pair in part]
    return ", ".join(f"{name}={value}" for name, value in pairs)


def known(ask):
    """Return what `ask` returns; None if this kind of connection has no answer, or is gone."""
    try:
        return ask()
    except (RawSocketError, OSError):
        return None
