"""``TCPInfo`` agrees with ``ss`` of iproute2 about live connections, field by field.

Every value that ``ss`` prints must lie between what was read before and what was read after it,
so that a value that ticks is bracketed and one that does not must be equal.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from contextlib import suppress

import pytest
from servers import wait_for

from flask_rawsocket.errors import UnsupportedError
from flask_rawsocket.sockinfo import (
    TCPOptions,
    congestion,
    congestion_info,
    cookie,
    queues,
    set_congestion,
    tcp_info,
)

pytestmark = pytest.mark.skipif(not shutil.which("ss"), reason="ss of iproute2 is not installed")

#: ss' name, ours, and how ss makes its number of ours.
MILLISECONDS = {
    "rto": "rto",
    "ato": "ato",
    "minrtt": "min_rtt",
    "rcv_rtt": "rcv_rtt",
    "lastsnd": "last_data_sent",
    "lastrcv": "last_data_recv",
    "lastack": "last_ack_recv",
    "busy": "busy_time",
    "rwnd_limited": "rwnd_limited",
    "sndbuf_limited": "sndbuf_limited",
}
PLAIN = {
    "mss": "snd_mss",
    "pmtu": "pmtu",
    "rcvmss": "rcv_mss",
    "advmss": "advmss",
    "cwnd": "snd_cwnd",
    "ssthresh": "snd_ssthresh",
    "bytes_sent": "bytes_sent",
    "bytes_retrans": "bytes_retrans",
    "bytes_acked": "bytes_acked",
    "bytes_received": "bytes_received",
    "segs_out": "segs_out",
    "segs_in": "segs_in",
    "data_segs_out": "data_segs_out",
    "data_segs_in": "data_segs_in",
    "delivered": "delivered",
    "delivered_ce": "delivered_ce",
    "unacked": "unacked",
    "sacked": "sacked",
    "lost": "lost",
    "reordering": "reordering",
    "dsack_dups": "dsack_dups",
    "reord_seen": "reord_seen",
    "rcv_space": "rcv_space",
    "rcv_ssthresh": "rcv_ssthresh",
    "notsent": "notsent_bytes",
    "snd_wnd": "snd_wnd",
    "rcv_wnd": "rcv_wnd",
    "rcv_ooopack": "rcv_ooopack",
    "rehash": "rehash",
    "backoff": "backoff",
}
#: Whole milliseconds, cut off; the others are printed with all digits.
CUT = {"lastsnd", "lastrcv", "lastack", "busy", "rwnd_limited", "sndbuf_limited"}


def ask_ss(sock):
    """Return the line that ss prints for a socket."""
    ours, theirs = sock.getsockname()[1], sock.getpeername()[1]
    command = ["ss", "-tinmeOH", "sport", "=", f":{ours}", "and", "dport", "=", f":{theirs}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def as_printed(info):
    """Return what ss should print for a snapshot, by ss' names; what is None is left out."""
    shown = {name: getattr(info, ours) for name, ours in PLAIN.items()}
    for name, ours in MILLISECONDS.items():
        value = getattr(info, ours)
        if value is not None:
            shown[name] = int(value * 1000 + 1e-9) if name in CUT else round(value * 1000, 6)
    shown["rtt"], shown["rttvar"] = info.rtt * 1000, info.rttvar * 1000
    for name in ("pacing_rate", "delivery_rate"):
        value = getattr(info, name)
        shown[name] = None if value is None else value * 8  # ss prints bits
    shown["retrans"], shown["total_retrans"] = info.retrans, info.total_retrans
    shown["snd_wscale"], shown["rcv_wscale"] = info.snd_wscale, info.rcv_wscale
    for option, word in (("TIMESTAMPS", "ts"), ("SACK", "sack"), ("ECN", "ecn")):
        shown[word] = int(TCPOptions[option] in info.options)
    shown["app_limited"] = int(info.delivery_rate_app_limited)
    return {name: value for name, value in shown.items() if value is not None}


def parse(line):
    """Return the numbers of a line of ss by name."""
    found = {}
    body = line.partition("skmem:")[2]
    for name, text in re.findall(r" (\w+):(-?[\d.]+)(?:ms|bps)?(?:\([\d.]+%\))?(?= |\n|$)", body):
        found[name] = float(text)
    for name, other, pattern in (
        ("rtt", "rttvar", r" rtt:([\d.]+)/([\d.]+)"),
        ("retrans", "total_retrans", r" retrans:(\d+)/(\d+)"),
        ("snd_wscale", "rcv_wscale", r" wscale:(\d+),(\d+)"),
    ):
        if match := re.search(pattern, body):
            found[name], found[other] = map(float, match.groups())
    for name in ("pacing_rate", "delivery_rate"):
        if match := re.search(rf" {name} (\d+)bps", body):
            found[name] = float(match[1])
    words = body.split()
    for word in ("ts", "sack", "ecn", "app_limited"):
        found[word] = int(word in words)
    return found


def mismatches(before, line, after):
    """Return the compared names, and those whose value lies outside of its bracket."""
    first, last, shown = as_printed(before), as_printed(after), parse(line)
    compared = [name for name in shown if name in first and name in last]
    wrong = {}
    for name in compared:
        low, high = sorted((first[name], last[name]))
        slack = 1e-5 * abs(high)  # ss prints six digits
        if not low - slack <= shown[name] <= high + slack:
            wrong[name] = (first[name], shown[name], last[name])
    return compared, wrong


def agree(sock):
    """Compare until no clock was reset between the two reads; at most ten times."""
    for _ in range(10):
        before, line, after = tcp_info(sock), ask_ss(sock), tcp_info(sock)
        compared, wrong = mismatches(before, line, after)
        if not wrong:
            return line, compared
    pytest.fail(f"ss disagrees: {wrong}")


def talk(server, client):
    """Exchange some data both ways, so that the counters are not all zero."""
    for size in (1000, 50_000):
        client.sendall(b"x" * size)
        left = size
        while left:
            left -= len(server.recv(left))
        server.sendall(b"y" * size)
        left = size
        while left:
            left -= len(client.recv(left))


def fill(sock):
    """Write until the kernel takes no more: the peer does not read."""
    sock.settimeout(0)
    with suppress(BlockingIOError):
        while sock.send(b"z" * 65536):
            pass
    sock.settimeout(None)


@pytest.mark.parametrize("kind", ["tcp4", "tcp6"])
@pytest.mark.parametrize("end", ["server", "client"])
@pytest.mark.parametrize("stalled", [False, True], ids=["idle", "stalled"])
def test_agrees_with_ss(pair, kind, end, stalled):
    """At least twenty-five numbers are compared, and each is what ss prints."""
    server, client = pair(kind)
    talk(server, client)
    if stalled:
        fill(server)
    sock = server if end == "server" else client
    line, compared = agree(sock)
    assert len(compared) >= 25, compared
    assert line.startswith("ESTAB")
    assert tcp_info(sock).state == "ESTABLISHED"


def test_queues_cookie_and_algorithm_agree_with_ss(pair):
    """Recv-Q, Send-Q, sk and the algorithm's name are those that ss shows."""
    server, client = pair("tcp4")
    client.sendall(b"x" * 5000)
    fill(server)
    for _ in range(10):  # the kernel may move some of it to the peer between two looks
        before, (line, _), after = queues(server), agree(server), queues(server)
        if before == after:
            break
    _state, receive, send = line.split()[:3]
    assert before.receive == int(receive) == 5000
    assert before.send == int(send)
    assert 0 < queues(server).unsent <= queues(server).send
    assert re.search(r" sk:([0-9a-f]+)", line)[1] == f"{cookie(server):x}"
    assert congestion(server) in line.split()


def test_bbr_agrees_with_ss(pair):
    """BBR's model of the path is what ss prints in ``bbr:(...)``."""
    server, client = pair("tcp4")
    try:
        for sock in (server, client):
            set_congestion(sock, "bbr")
    except (UnsupportedError, PermissionError) as exc:
        pytest.skip(f"this kernel does not let us use bbr: {exc}")
    talk(server, client)
    for _ in range(10):
        before, line, after = congestion_info(server), ask_ss(server), congestion_info(server)
        if before == after:
            break
    pattern = r"bbr:\(bw:(\d+)bps,mrtt:([\d.]+)(?:,pacing_gain:([\d.]+))?(?:,cwnd_gain:([\d.]+))?"
    bandwidth, min_rtt, pacing, cwnd = re.search(pattern, line).groups(default="0")
    assert before == after
    assert before.bw * 8 == int(bandwidth)
    assert before.min_rtt * 1000 == pytest.approx(float(min_rtt), rel=1e-5)
    assert before.pacing_gain == pytest.approx(float(pacing), rel=1e-5)
    assert before.cwnd_gain == pytest.approx(float(cwnd), rel=1e-5)


def test_a_listener_shows_its_backlog(pair):
    """Of a listener ``unacked`` is the accept queue and ``sacked`` its backlog, as in ss."""
    listener = pair.listener("tcp4")
    with socket.create_connection(listener.getsockname()):
        wait_for(lambda: tcp_info(listener).unacked == 1)
        info = tcp_info(listener)
        command = ["ss", "-tlnH", "sport", "=", f":{listener.getsockname()[1]}"]
        line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert [info.state, str(info.unacked), str(info.sacked)] == line[:3]
