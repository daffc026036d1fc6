"""Event streams over real connections, on every server."""

from __future__ import annotations

import pytest
from servers import wait_for

pytestmark = pytest.mark.slow


def joined(server, path, *headers):
    """Open a stream of a group, and read its head."""
    client = server.connect()
    client.get(path, *headers)
    head, client.buffered = client._until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    return client


def say(server, name, query="", body=b""):
    with server.connect() as client:
        return client.request(
            f"/live/send/{name}?{query}", f"Content-Length: {len(body)}", method="POST", body=body
        ).json


def chunks(client, count):
    """Read so many chunks."""
    found = []
    for _ in range(count):
        line, client.buffered = client._until(b"\r\n")
        found.append(client._exactly(int(line, 16)))
        client._exactly(2)
    return found


def test_events(live):
    """Events of a generator: JSON, fields and plain text; and the head that proxies want."""
    with live.connect() as client:
        response = client.request("/live/events")
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.body == (
        b'data: {"a": 1}\n\nevent: named\nid: 7\ndata: two\ndata: lines\n\ndata: last\n\n'
    )


def test_pings(live):
    """A stream with nothing to say sends comments."""
    with joined(live, "/live/ticks") as client:
        assert chunks(client, 3) == [b":\n\n"] * 3


def test_group(live):
    """What is sent to a group is what each member gets, and one that leaves is a member no more."""
    with joined(live, "/live/join/a") as one, joined(live, "/live/join/a") as two:
        assert say(live, "a", "event=news") == {"members": 2}
        first, second = chunks(one, 1), chunks(two, 1)
        assert first == second
        assert first[0].startswith(b"event: news\nid: ")
        assert first[0].endswith(b'\ndata: {"text": "hi"}\n\n')
    with live.connect() as client:
        client.request("/", "Connection: close")

    def members():
        with live.connect() as client:
            return client.request("/live/members/a").json["members"]

    wait_for(lambda: members() == 0, "the members to leave")


def test_order(live):
    """The messages of one publisher come in order, to each member."""
    with joined(live, "/live/join/o") as client:
        for number in range(20):
            say(live, "o", "text", b"%d" % number)
        data = b"".join(chunks(client, 20))
        assert [line for line in data.split(b"\n") if line.startswith(b"data")] == [
            b"data: %d" % number for number in range(20)
        ]


def test_last_event_id(live):
    """A client that comes back is sent what it has missed, and nothing twice."""
    with joined(live, "/live/join/h") as client:
        for number in range(3):
            say(live, "h", "text", b"%d" % number)
        seen = chunks(client, 2)
    ident = seen[1].split(b"\n")[0].removeprefix(b"id: ").decode()
    say(live, "h", "text", b"3")
    with joined(live, "/live/join/h", f"Last-Event-ID: {ident}") as client:
        missed = chunks(client, 2)
        assert [each.split(b"\n")[1] for each in missed] == [b"data: 2", b"data: 3"]
        say(live, "h", "text", b"4")
        assert chunks(client, 1)[0].split(b"\n")[1] == b"data: 4"


def test_group_closes(live):
    """A group that closes ends its streams properly, after what was sent before."""
    with joined(live, "/live/join/c") as client:
        say(live, "c", "text", b"last")
        with live.connect() as other:
            other.request("/live/close/c")
        body = client._chunks()
        assert body.endswith(b"data: last\n\n")
        assert client.at_eof()
    live.mark()


def test_listening_in_a_generator(live):
    """A generator hears a group, and leaves it when its client goes."""
    with joined(live, "/live/listen/g") as client:
        assert chunks(client, 1) == [b"begun;"]
        wait_for(lambda: say(live, "g")["members"] == 1, "the member")
        assert chunks(client, 1) == [b"{'text': 'hi'};"]
    wait_for(lambda: say(live, "g")["members"] == 0, "the member to leave")


def test_slow(live):
    """A client that does not read is dropped as SLOW_READER; the others get everything."""
    with joined(live, "/live/join/s") as slow, joined(live, "/live/join/s") as quick:
        live.mark()
        for _ in range(150):
            say(live, "s", "text", b"x" * 60000)
            chunks(quick, 1)
            if live.sequences() and say(live, "s")["members"] == 1:
                break
        wait_for(lambda: any(e.get("why") == "SLOW_READER" for e in live.events()), "SLOW")
        assert slow
