"""Answers that take too long, or are too long."""

from __future__ import annotations

import pytest
from listing import answering, failure

from flask_rawsocket._ss import _limited


def test_silence(monkeypatch):
    """A server that does not answer is given up."""
    monkeypatch.setattr(_limited, "_SILENCE", 0.2)
    with answering(b"") as url:
        assert failure(url) == f"Cannot read {url}: timed out."


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-", id="head"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n[", id="body"),
    ],
)
def test_trickle(monkeypatch, data):
    """Nor is one waited for that goes on sending a little, be it of the head or of the body."""
    monkeypatch.setattr(_limited, "_TIME", 0.3)
    with answering(data, trickle=b" ") as url:
        assert failure(url) == f"Cannot read {url}: the answer takes longer than 0.3 seconds."


def test_too_late(monkeypatch):
    """When the time is over, bytes that have arrived since count no more."""
    monkeypatch.setattr(_limited, "_TIME", 0)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n[]") as url:
        assert failure(url) == f"Cannot read {url}: the answer takes longer than 0 seconds."


def test_silence_at_the_end(monkeypatch):
    """The whole answer's time also ends a silence that would have been short enough."""
    monkeypatch.setattr(_limited, "_TIME", 0.2)
    with answering(b"") as url:
        assert failure(url) == f"Cannot read {url}: the answer takes longer than 0.2 seconds."


@pytest.mark.parametrize(
    ("head", "prefix"),
    [
        (b"", b""),
        (b"Content-Length: 2000000\r\n", b""),
        (b"Content-Length: 99999999999999\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"5ffffffffffff\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"-1\r\n"),
    ],
    ids=["until the end", "announced", "announced far too large", "large chunk", "negative chunk"],
)
def test_too_large(monkeypatch, head, prefix):
    """An answer has a limit, whatever length it announces, and no memory is taken for that."""
    monkeypatch.setattr(_limited, "_SIZE", 2**20)
    data = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + prefix + b" " * 2**20
    with answering(data) as url:
        assert failure(url) == f"Cannot read {url}: the answer is larger than 1 MiB."


def test_no_chunk():
    """A chunk cannot have less than no bytes."""
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n[]"
    with answering(data) as url:
        assert failure(url).startswith(f"Cannot read {url}: ")
