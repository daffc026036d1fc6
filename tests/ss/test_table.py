"""`flask rawsocket ss`: the table that it makes of rows, and which rows it shows."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from listing import COMMAND, HEAD, ROWS, holding, ss, table
from servers import PATIENCE, wait_for

ROOT = Path(__file__).parent.parent.parent


# The table


def test_table(site):
    """A row is a line; what the system does not tell is a dash."""
    assert table(ss(f"{site.url}/rows").output) == [
        ["ACTIVE", "192.0.2.1:1000", "5", "70000", "12.300ms", "10", "3", "4.2s", "2"],
        ["IDLE", "@77.2", "0", "-", "-", "-", "-", "1h01m", "1"],
        ["HIJACKED", "192.0.2.1:999", "0", "0", "200.000ms", "4", "0", "1m30s", "31"],
    ]


def test_alignment(site):
    """Texts stand to the left and numbers to the right of their column."""
    head, *lines = ss(f"{site.url}/rows").output.splitlines()
    for name in HEAD[1:2]:
        assert all(line[head.index(name) - 1] == " " != line[head.index(name)] for line in lines)
    for name in HEAD[2:]:
        end = head.index(name) + len(name)
        assert all(line[end - 1] != " " and line[end : end + 1] in {"", " "} for line in lines)


def test_empty_table(site):
    """Without connections there is the head alone."""
    site.answer = []
    assert table(ss(f"{site.url}/rows").output) == []


@pytest.mark.parametrize(
    ("names", "states"),
    [
        (["idle"], ["IDLE"]),
        (["HIJACKED", "active"], ["ACTIVE", "HIJACKED"]),
        (["new"], []),
    ],
)
def test_state(site, names, states):
    """`--state` shows only connections in one of the states it was given."""
    options = [each for name in names for each in ("--state", name)]
    assert [row[0] for row in table(ss(f"{site.url}/rows", *options).output)] == states


@pytest.mark.parametrize(
    ("column", "states"),
    [
        ("key", ["ACTIVE", "HIJACKED", "IDLE"]),
        ("state", ["ACTIVE", "HIJACKED", "IDLE"]),
        ("rtt", ["HIJACKED", "ACTIVE", "IDLE"]),
        ("send-q", ["ACTIVE", "HIJACKED", "IDLE"]),
        ("age", ["IDLE", "HIJACKED", "ACTIVE"]),
        ("requests", ["HIJACKED", "ACTIVE", "IDLE"]),
    ],
)
def test_sort(site, column, states):
    """`--sort` puts texts in order and the largest number first; what is not known comes last."""
    rows = table(ss(f"{site.url}/rows", "--sort", column).output)
    assert [row[0] for row in rows] == states


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (59.9, "59.9s"),
        (60, "1m00s"),
        (3599.9, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
        (1e7, "115d17h"),
        (-5, "-5.0s"),
        (-3700, "-1h01m"),
    ],
)
def test_age(site, seconds, text):
    """An age is written in its two largest units."""
    site.answer = [{"age": seconds}]
    assert table(ss(f"{site.url}/rows").output) == [["-"] * 7 + [text, "-"]]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"queues": 5, "tcp": [], "age": "old", "requests": None},
        {"state": 3, "key": {"a": 1}, "requests": True},
        {"age": float("nan"), "requests": float("inf")},
        {"age": 10**400, "tcp": {"rtt": -float("inf")}},
        {"tcp": {"rtt": None}},
    ],
)
def test_rows_of_another_kind(site, row):
    """What is missing or of another type in a row is a dash: no row is refused."""
    site.answer = [row]
    for options in [[], ["--sort", "age"], ["--sort", "key"]]:
        assert table(ss(f"{site.url}/rows", *options).output) == [["-"] * len(HEAD)]


def test_control_characters(site):
    """What came from the network does not steer the terminal."""
    site.answer = [{"state": "NEW", "key": "\x1b[2J\r\nx\u202e\u200b"}]
    assert table(ss(f"{site.url}/rows").output)[0][:2] == ["NEW", "?[2J??x??"]


@pytest.mark.parametrize(
    "document", [ROWS, {"connections": ROWS}, {"pid": 77, "connections": ROWS, "other": None}]
)
def test_documents(site, document):
    """The rows may come alone, or in an object together with other things."""
    site.answer = document
    assert len(table(ss(f"{site.url}/rows").output)) == 3


# Real applications, each way to reach them


def test_live_connections(site):
    """The table shows who is connected, the command's own connection included."""
    with holding(site) as (client, conn):
        rows = {row[1]: row for row in table(ss(f"{site.url}/api/connections").output)}
        assert rows[client.key][0] == "ACTIVE"
        assert re.fullmatch(r"\d+\.\d{3}ms", rows[client.key][4])
        assert int(rows[client.key][5]) == conn.tcp_info().snd_cwnd
        assert len(rows) >= 2


@pytest.mark.parametrize("transport", ["tcp", "unix", "tls"])
def test_example(run_server, transport):
    """The example application on the thread worker, its connections in several states."""
    with run_server(
        "gthread", transport, app="example_app.app:app", env={"PYTHONPATH": str(ROOT)}
    ) as server:
        if transport == "unix":
            where = ["--unix-socket", server.address]
        else:
            scheme = "https" if transport == "tls" else "http"
            where = ["{}://{}:{}".format(scheme, *server.address), "--insecure"]
        with server.connect(), server.connect() as idle:
            idle.request("/api/connection")

            def states():
                return {row[0] for row in table(ss(*where).output)}

            wait_for(lambda: states() == {"NEW", "IDLE", "ACTIVE"}, "all three states")


def test_without_an_application(site, tmp_path):
    """The command needs no application of its own to be found."""
    env = {key: value for key, value in os.environ.items() if key != "FLASK_APP"}
    command = [*COMMAND, f"{site.url}/rows"]
    out = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert len(table(out.stdout)) == 3
    assert out.stderr == ""


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_without_an_output(site, closed):
    """Where standard output is closed there is nothing to show, and that is not a failure."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, f"{site.url}/rows"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (out.returncode, out.stdout, out.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["--watch", "http://127.0.0.1/"], "the URL comes before --watch"),
        (["--watch", "nan"], "nan is not a number of seconds"),
        (["--watch", "0"], "0.0 is not in the range"),
        (["--watch", "soon"], "'soon' is not a valid number of seconds"),
        (["--state", "closed"], "'closed' is not one of"),
        (["--sort", "colour"], "'colour' is not one of"),
    ],
)
def test_usage(args, what):
    """An option that makes no sense is a usage error."""
    result = ss(*args)
    assert result.exit_code == 2
    assert what in result.output
