"""What is enough of a request to take a thread for it, and what gunicorn's parser makes of it."""

from __future__ import annotations

import functools
import itertools
import random

import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.http.errors import (
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_rawsocket.workers._incoming import (
    ChunkedBody,
    Incoming,
    Limits,
    is_whole,
    uwsgi_size,
)
from flask_rawsocket.workers._parser import Parser

BUFFER = 64
"""How much of a body is read ahead here."""


class DryError(Exception):
    """The parser wants to read more than has come."""


class Dry:
    """A socket on which a thread would have to wait."""

    def recv(self, _size):
        raise DryError


@functools.cache
def config(**options):
    """Make gunicorn's settings with `options`; they are not to be changed."""
    cfg = Config()
    for name, value in options.items():
        cfg.set(name, value)
    return cfg


def parser_of(data, cfg):
    """Make the parser that a worker has, which has read `data`."""
    if cfg.protocol == "http":
        parser = Parser(cfg, Dry(), ("127.0.0.1", 1))
    else:
        parser = http.get_parser(cfg, Dry(), ("127.0.0.1", 1))
    parser.unreader.buf.write(data)
    return parser


def verdict(data, cfg=None, body=BUFFER):
    """Feed `data` a byte at a time; give how much of it was enough, and what was raised."""
    incoming = Incoming(Limits(cfg or config(), body))
    for position in range(len(data)):
        try:
            if incoming.feed(data[position : position + 1]):
                return position + 1, None
        except ParseException as exc:
            return position + 1, type(exc)
    return None, None


def in_pieces(data, cuts, cfg=None, body=BUFFER):
    """Feed `data` cut in pieces; give how much had been fed when it was enough."""
    incoming = Incoming(Limits(cfg or config(), body))
    begin = 0
    for end in [*sorted(cuts), len(data)]:
        if end == begin:
            continue
        try:
            if incoming.feed(data[begin:end]):
                return end
        except ParseException:
            return end
        begin = end
    return None


def chunked(*chunks, trailers=b"", extension=b"", upper=False):
    sizes = [(b"%X" if upper else b"%x") % len(each) + extension for each in chunks]
    body = b"".join(
        size + b"\r\n" + each + b"\r\n" for size, each in zip(sizes, chunks, strict=True)
    )
    return body + b"0" + extension + b"\r\n" + trailers + b"\r\n"


HEAD = b"POST /path HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def with_length(length, body, name=b"Content-Length"):
    return HEAD + name + b": " + length + b"\r\n\r\n" + body


def head_of(data):
    return data.index(b"\r\n\r\n") + 4


PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
BARE_HEAD = b"GET / HTTP/1.0\r\n\r\n"
SHORT = with_length(b"10", b"0123456789")
AS_LONG = with_length(b"%d" % BUFFER, b"x" * BUFFER)
LONGER = with_length(b"100", b"x" * 100)
EMPTY = with_length(b"0", b"")
PADDED = with_length(b" \t10 \t", b"0123456789", name=b"CONTENT-length")
CHUNKS = CHUNKED + chunked(b"hello", b"x" * 20)
CHUNKS_UPPER = CHUNKED + chunked(b"x" * 27, upper=True)
CHUNKS_EXTENDED = CHUNKED + chunked(b"hello", extension=b' ;a=b;c="d"')
CHUNKS_TRAILED = CHUNKED + chunked(b"hello", trailers=b"X-Sum: 1\r\nX-More: 2\r\n")
CHUNKS_LONG = CHUNKED + chunked(b"x" * 50, b"y" * 50)
NO_CHUNK = CHUNKED + chunked()
EXPECTING = HEAD + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n0123456789"
UPGRADING = HEAD + b"Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 10\r\n\r\n0123456789"

WELL_FORMED = {
    "plain": (PLAIN, len(PLAIN)),
    "no header": (BARE_HEAD, len(BARE_HEAD)),
    "a short body": (SHORT, len(SHORT)),
    "a body as long as the buffer": (AS_LONG, len(AS_LONG)),
    "a body that is longer": (LONGER, head_of(LONGER) + BUFFER),
    "an empty body": (EMPTY, len(EMPTY)),
    "padding around the length": (PADDED, len(PADDED)),
    "chunks": (CHUNKS, len(CHUNKS)),
    "upper case sizes": (CHUNKS_UPPER, len(CHUNKS_UPPER)),
    "chunk extensions": (CHUNKS_EXTENDED, len(CHUNKS_EXTENDED)),
    "trailers": (CHUNKS_TRAILED, len(CHUNKS_TRAILED)),
    "chunks that are longer": (CHUNKS_LONG, head_of(CHUNKS_LONG) + BUFFER),
    "no chunk but the last": (NO_CHUNK, len(NO_CHUNK)),
    "expecting 100": (EXPECTING, head_of(EXPECTING)),
    "an upgrade": (UPGRADING, head_of(UPGRADING)),
}
"""Requests, and how many of their bytes are enough."""


def each(table):
    return pytest.mark.parametrize(("data", "enough"), table.values(), ids=table)


def reads_all(data, cfg, size):
    """Have gunicorn read the head, and `size` bytes of the body, of `data` alone."""
    request = next(parser_of(data, cfg))
    got = 0
    while got < size:
        piece = request.body.read(1)
        if not piece:
            break
        got += len(piece)
    return request, got


class TestWellFormed:
    """Requests that gunicorn takes."""

    @each(WELL_FORMED)
    def test_byte_by_byte(self, data, enough):
        assert verdict(data) == (enough, None)

    @each(WELL_FORMED)
    def test_every_split(self, data, enough):
        """Cut in two wherever it may be, it is enough with the piece that has that byte."""
        for cut in range(1, len(data)):
            assert in_pieces(data, [cut]) == (cut if cut >= enough else len(data)), cut

    @each(WELL_FORMED)
    def test_with_the_next_one_behind(self, data, enough):
        """What comes behind is of no matter."""
        assert in_pieces(data + PLAIN, []) == len(data + PLAIN)
        assert verdict(data + PLAIN) == (enough, None)

    @each(WELL_FORMED)
    def test_gunicorn_need_not_read(self, data, enough):
        """With as much gunicorn's parser has a head, and all of the body that is not too long."""
        request, _ = reads_all(data[:enough], config(), 0)
        assert request.method in {"GET", "POST"}
        if enough == len(data):
            _, got = reads_all(data, config(), 1000)
            assert got < len(data)

    @each(WELL_FORMED)
    def test_less_is_not_enough(self, data, enough):
        """With a byte less there is no head, or not all of the body that is to be read ahead."""
        with pytest.raises(DryError):
            reads_all(data[: enough - 1], config(), 1000)

    @pytest.mark.parametrize("data", [data for data, _ in WELL_FORMED.values()], ids=WELL_FORMED)
    def test_without_a_buffer(self, data):
        """Where no body is read ahead, the head is enough."""
        assert verdict(data, body=0) == (head_of(data), None)

    @pytest.mark.parametrize("data", [data for data, _ in WELL_FORMED.values()], ids=WELL_FORMED)
    def test_the_quick_answer(self, data):
        """It is right where it says yes, and says so for all that have no body."""
        is_bodiless = data in (PLAIN, BARE_HEAD)
        assert is_whole(data) == is_bodiless
        assert not any(is_whole(data[:size]) for size in range(head_of(data)))

    @each(WELL_FORMED)
    def test_empty_lines_before(self, data, enough):
        """They are not of the request."""
        assert verdict(b"\r\n" + data) == (enough + 2, None)
        assert verdict(b"\r\n\r\n\r\n" + data) == (enough + 6, None)

    def test_no_more_is_wanted_than_the_body_has(self):
        """What is read at once never goes beyond a body of known length."""
        incoming = Incoming(Limits(config(), 1 << 30))
        assert incoming.wanted == 8192
        assert not incoming.feed(with_length(b"1000000", b"x" * 10))
        assert (incoming.in_body, incoming.size) == (True, 10)
        left = 1000000 - 10
        while left:
            assert 0 < incoming.wanted <= min(left, 262144)
            data = b"x" * incoming.wanted
            left -= len(data)
            assert incoming.feed(data) == (not left)
        assert incoming.size == 1000000

    def test_no_more_than_the_buffer(self):
        incoming = Incoming(Limits(config(), BUFFER))
        incoming.feed(LONGER[: head_of(LONGER)])
        assert incoming.wanted == BUFFER


TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ-", min_size=1, max_size=12)
VALUES = st.text('abc XYZ0123;="/,\t', max_size=30)


@st.composite
def requests(draw):
    """A well-formed request, and how many bytes of it are enough."""
    fields = draw(st.lists(st.tuples(TOKENS, VALUES), max_size=4))
    fields = [("X-" + name, value) for name, value in fields]
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    body = b""
    content = draw(st.binary(max_size=2 * BUFFER))
    if kind == "length":
        name = draw(st.sampled_from(["Content-Length", "content-length", "CONTENT-LENGTH"]))
        fields.append((name, str(len(content))))
        body = content
    elif kind == "chunked":
        cuts = sorted({0, len(content), *draw(st.lists(st.integers(0, len(content)), max_size=4))})
        pieces = [content[a:b] for a, b in itertools.pairwise(cuts)]
        extension = draw(st.sampled_from([b"", b";a", b" ; a=b", b';a="b c"']))
        trailers = draw(st.sampled_from([b"", b"X-T: 1\r\n", b"X-T: 1\r\nX-U:\r\n"]))
        upper = draw(st.booleans())
        body = chunked(*pieces, extension=extension, trailers=trailers, upper=upper)
        fields.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
    fields = draw(st.permutations(fields))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = f"POST /x HTTP/1.1\r\n{lines}\r\n".encode()
    return head + body, len(head) + min(len(body), BUFFER)


class TestAnyWellFormed:
    """Likewise, whatever they are, and garbage."""

    @given(requests(), st.lists(st.integers(1, 400), max_size=6), st.binary(max_size=40))
    @settings(deadline=None)
    @example((CHUNKS_LONG, head_of(CHUNKS_LONG) + BUFFER), [1], b"")
    def test_gunicorn_need_not_read(self, made, cuts, behind):
        """However it is cut: it is enough at the same byte, and gunicorn reads it from the buffer.

        What is behind the request stays there.
        """
        data, enough = made
        assert verdict(data) == (enough, None)
        whole = data + behind
        cuts = sorted({cut for cut in cuts if cut < len(whole)})
        fed = in_pieces(whole, cuts)
        assert fed == min(cut for cut in [*cuts, len(whole)] if cut >= enough)
        parser = parser_of(whole[:fed], config())
        request = next(parser)
        if fed >= len(data):
            while request.body.read(7):
                pass
            assert parser.unreader.buf.getvalue() == whole[len(data) : fed]

    @given(st.binary(max_size=200), st.lists(st.integers(1, 200), max_size=5))
    @settings(deadline=None)
    @example(b"GET / HTTP/1.1\r\nA: b\n\r\n\r\n", [21])
    def test_garbage(self, data, cuts):
        """Whatever comes, nothing but a refusal is raised, and it is decided at the same byte."""
        enough, _ = verdict(data)
        cuts = sorted({cut for cut in cuts if cut < len(data)})
        fed = in_pieces(data, cuts)
        if enough is None:
            assert fed is None
        else:
            assert fed == min(cut for cut in [*cuts, len(data)] if cut >= enough)


def mutated(data, rng):
    """Change, drop or add a few bytes."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data))
        kind = rng.randrange(3)
        if kind == 0:
            data[at] = rng.choice(b"\r\n :;0aA\x00G")
        elif kind == 1:
            del data[at]
        else:
            data.insert(at, rng.choice(b"\r\n :;0aA\x00G"))
    return bytes(data)


def refuses(data, cfg):
    """Tell whether gunicorn refuses `data`, or has its head; not whether it wants to read on."""
    try:
        next(parser_of(data, cfg))
    except DryError:
        return False
    except (ParseException, StopIteration, OSError, ValueError):
        return True
    return True


class TestMalformed:
    """What gunicorn refuses, or would wait for in vain."""

    @pytest.mark.parametrize("name", WELL_FORMED)
    def test_no_thread_is_held_by_a_head(self, name):
        """Whatever is wrong with it: with what is called enough gunicorn need not read a head on.

        It has one, or it refuses what there is.
        """
        data, _ = WELL_FORMED[name]
        rng = random.Random(name)
        for _ in range(1000):
            wrong = mutated(data, rng)
            enough, raised = verdict(wrong)
            if enough is not None and raised is None:
                # A socket strips empty lines from the first bytes, gunicorn one of them at most.
                seen = wrong[:enough].lstrip(b"\r\n")
                assert refuses(seen, config()), wrong

    @pytest.mark.parametrize(
        "head",
        [
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\nHost: a\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n\n",
            b"\n",
            b"garbage\n",
        ],
    )
    def test_a_bare_lf(self, head):
        """It is refused at once; gunicorn before 27 would wait for a CRLF."""
        size, raised = verdict(head)
        assert size == head.replace(b"\r\n", b"  ").index(b"\n") + 1
        assert issubclass(raised, ParseException)

    @pytest.mark.parametrize(
        "line", [b"garbage\r\n", b"GET /\r\n", b"GET / FTP/1.0\r\n", b"\x16\x03\r\n"]
    )
    def test_no_request_line(self, line):
        """A first line that is none is enough for gunicorn, which refuses it."""
        assert verdict(line) == (len(line), None)
        assert refuses(line, config())

    @pytest.mark.parametrize(
        "fields",
        [
            b"Content-Length: 5\r\nContent-Length: 5\r\n",
            b"Content-Length: 5\r\nX: y\r\nContent-Length: 6\r\n",
            b"Content-Length: 5\r\nContent-Length: x\r\n",
            b"Content-Length: x\r\n",
            b"Content-Length: -5\r\n",
            b"Content-Length: 5, 5\r\n",
            b"Content-Length:\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n",
            b"Transfer-Encoding: x\r\n",
            b"Transfer-Encoding: chunked, gzip\r\n",
        ],
    )
    def test_a_body_of_unclear_length(self, fields):
        """It is not waited for: gunicorn refuses the head."""
        head = HEAD + fields + b"\r\n"
        assert verdict(head) == (len(head), None)
        with pytest.raises(ParseException):
            next(parser_of(head, config()))

    def test_chunked_of_http_1_0(self):
        head = CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0")
        assert verdict(head) == (len(head), None)
        with pytest.raises(ParseException):
            next(parser_of(head, config()))

    def test_a_length_that_no_body_has(self):
        """Nineteen digits are gunicorn's business; eighteen are a body that is longer."""
        head = with_length(b"9" * 19, b"")
        assert verdict(head) == (len(head), None)
        head = with_length(b"9" * 18, b"x" * BUFFER)
        assert verdict(head) == (len(head), None)

    @pytest.mark.parametrize(
        "body",
        [
            b"x\r\n",
            b"-1\r\n",
            b"\r\n",
            b"5\n",
            b"0x5\r\n",
            b"5 5\r\n",
            b";a\r\n",
            b"11111111111111111\r\n",
            b"5\r\nhelloworld\r\n",
            b"5\r\nhello5\r\n",
            b"5" * 8191,
            b"5;" + b"a" * 8191,
        ],
        ids=lambda body: repr(body[:20]),
    )
    def test_chunks(self, body):
        """Malformed chunks are enough: gunicorn says so to the view that reads them."""
        data = CHUNKED + body
        assert verdict(data, body=1 << 20)[0] is not None

    @pytest.mark.parametrize(
        ("body", "ended"),
        [
            (b"5\r\nhello", False),
            (b"5\r\nhello\r\n0", False),
            (b"5\r\nhello\r\n0\r\nX: y\r\n", False),
            (b"5\r\nhello\r\n0\r\nX: y\r\n\r", False),
            (b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", True),
            (b"5\r\nhello\r\n000\r\n\r\n", True),
            (b"1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", True),
        ],
    )
    def test_the_end_of_chunks(self, body, ended):
        for cut in range(len(body)):
            chunks = ChunkedBody()
            assert not chunks.feed(body[:cut])
            assert chunks.feed(body[cut:]) == ended


class TestTooLong:
    """Heads beyond gunicorn's limits."""

    def test_a_request_line(self):
        """It is refused as soon as it is too long, and not before: at gunicorn's limit."""
        cfg = config(limit_request_line=100)
        longest = b"GET /".ljust(91, b"x") + b" HTTP/1.1"
        assert len(longest) == 100
        data = longest + b"\r\nHost: a\r\n\r\n"
        assert verdict(data, cfg) == (len(data), None)
        assert next(parser_of(data, cfg)).method == "GET"
        longer = data.replace(b"/x", b"/xx")
        assert verdict(longer, cfg) == (102, LimitRequestLine)
        with pytest.raises(LimitRequestLine):
            next(parser_of(longer, cfg))
        assert in_pieces(longer, [], cfg) == len(longer)

    def test_a_request_line_without_a_limit(self):
        cfg = config(limit_request_line=0)
        data = b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        assert in_pieces(data, range(1000, len(data), 1000), cfg) == len(data)
        assert next(parser_of(data, cfg)).method == "GET"

    def test_a_head(self):
        """It is refused when it is longer than all that gunicorn takes together."""
        cfg = config(limit_request_line=100, limit_request_fields=3, limit_request_field_size=50)
        limits = Limits(cfg, BUFFER)
        data = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000
        size, raised = verdict(data, cfg)
        assert raised is LimitRequestHeaders
        assert size == limits.head + 1

    def test_the_longest_head(self):
        """As long as gunicorn takes it, it is taken."""
        cfg = config(limit_request_line=100, limit_request_fields=3, limit_request_field_size=50)
        field = b"X: ".ljust(48, b"y") + b"\r\n"
        data = b"GET /".ljust(91, b"x") + b" HTTP/1.1\r\n" + 3 * field + b"\r\n"
        assert verdict(data, cfg) == (len(data), None)
        assert len(next(parser_of(data, cfg)).headers) == 3

    @pytest.mark.parametrize(
        "option", ["limit_request_line", "limit_request_fields", "limit_request_field_size"]
    )
    def test_without_a_limit(self, option):
        """0 is none of the application's; there is one all the same."""
        cfg = config(**{option: 0})
        assert 0 < Limits(cfg, BUFFER).head < 1 << 30
        assert verdict(PLAIN, cfg) == (len(PLAIN), None)


def packed(**variables):
    data = b"".join(
        len(text).to_bytes(2, "little") + text.encode()
        for pair in variables.items()
        for text in pair
    )
    return b"\0" + len(data).to_bytes(2, "little") + b"\0" + data


class TestUwsgi:
    """Packets of the uwsgi protocol."""

    @pytest.mark.parametrize("behind", [b"", b"body"])
    def test_a_packet(self, behind):
        """It is enough with the last of its variables; gunicorn's parser reads it."""
        cfg = config(protocol="uwsgi")
        variables = {"REQUEST_METHOD": "POST", "PATH_INFO": "/" + "x" * 300, "CONTENT_LENGTH": "4"}
        packet = packed(**variables)
        data = packet + behind
        assert verdict(data, cfg) == (len(packet), None)
        for cut in range(1, len(data)):
            expected = cut if cut >= len(packet) else len(data)
            assert in_pieces(data, [cut], cfg) == expected
        assert next(parser_of(packet, cfg)).method == "POST"
        with pytest.raises(DryError):
            next(parser_of(packet[:-1], cfg))

    def test_its_size(self):
        assert uwsgi_size(bytearray(b"\0\x05\x01\0")) == 4 + 0x105
        assert all(uwsgi_size(bytearray(size)) > size for size in range(4))
