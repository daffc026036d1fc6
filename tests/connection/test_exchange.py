"""`Exchange`: what every server does alike with a request in hand."""

from __future__ import annotations

import pytest
from accepting import PlainExchange

from flask_rawsocket import InvalidStateError, UnsupportedError
from flask_rawsocket._connection.exchange import Phase


class Exchange(PlainExchange):
    """One whose facts a test sets."""

    begun = in_chunked_body = head_sent = may_read = False

    def __init__(self):
        super().__init__()
        self.sent = []

    def _has_begun(self):
        return self.begun

    def _is_in_chunked_body(self):
        return self.in_chunked_body

    def _has_sent_head(self):
        return self.head_sent

    def _may_read_yet(self):
        return self.may_read

    def _take_read_ahead(self):
        return b"ahead"

    def _send(self, data):
        self.sent.append(data)

    def force_close(self):
        self.sent.append("close")

    def let_go(self):
        self.sent.append("let go")

    def complain(self, text, exc):
        self.sent += [text, type(exc)]


@pytest.fixture
def exchange():
    return Exchange()


def test_phases(exchange):
    """A request has not begun its response, or it has; or the server has let go, for good."""
    assert exchange.phase is Phase.NOT_BEGUN
    exchange.begun = True
    assert exchange.phase is Phase.BEGUN
    exchange.begun = False
    assert exchange.hand_over() == b"ahead"
    exchange.begun = True
    assert exchange.phase is Phase.HIJACKED


@pytest.mark.parametrize(
    ("fact", "error", "text"),
    [
        ("begun", InvalidStateError, "the response has begun"),
        ("in_chunked_body", UnsupportedError, "a chunked body has been read in part"),
    ],
)
def test_refusals(exchange, fact, error, text):
    """What stands against a hijack is said, and leaves everything as it is."""
    setattr(exchange, fact, True)
    with pytest.raises(error, match=text):
        exchange.hand_over()
    assert not exchange.hijacked
    setattr(exchange, fact, False)
    assert exchange.hand_over() == b"ahead"


def test_reading_keeps_the_connection(exchange):
    """While anybody reads the body there is no hijack; and after a hijack there is no reading."""
    with exchange, exchange, pytest.raises(InvalidStateError, match="another thread is reading"):
        exchange.hand_over()
    assert exchange.hand_over() == b"ahead"
    with pytest.raises(InvalidStateError, match="read from its stream"):
        exchange.__enter__()


def test_continue_is_sent_once(exchange):
    """The first read tells the client to send its body; a head that is out forbids it."""
    exchange.waits_for_body = True
    with exchange:
        pass
    with exchange:
        pass
    assert exchange.sent == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    late = Exchange()
    late.waits_for_body = late.head_sent = True
    with late:
        assert not late.waits_for_body
    assert late.sent == []


def test_a_continue_that_cannot_be_sent(exchange):
    """The read fails, and counts no more as one that is going on."""

    def broken(_data):
        raise BrokenPipeError

    exchange.waits_for_body = True
    exchange._send = broken
    with pytest.raises(BrokenPipeError):
        exchange.__enter__()
    assert exchange.refusal() is None


@pytest.mark.parametrize(
    ("may_read", "sent"), [(True, b"HTTP/1.1 100 Continue\r\n\r\n"), (False, "close")]
)
def test_before_the_response(exchange, may_read, sent):
    """A stream may yet read, so the client is told; any other response closes the connection."""
    exchange.waits_for_body, exchange.may_read = True, may_read
    exchange.before_response()
    assert exchange.sent == [sent]


def test_a_view_that_fails(exchange):
    """Its error is the server's, until the connection is the view's own: then the log's."""
    with pytest.raises(LookupError):
        exchange.view_failed(LookupError())
    exchange.hand_over()
    exchange.view_failed(LookupError())
    with pytest.raises(SystemExit):
        exchange.view_failed(SystemExit())
    assert exchange.sent == [
        "A view failed that had hijacked its connection",
        LookupError,
        "let go",
    ]
