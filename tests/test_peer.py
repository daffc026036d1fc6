"""`require_peer`: which UNIX peers a view lets in."""

from __future__ import annotations

import contextlib
import functools
import grp
import inspect
import os
import pwd
import re
import socket
import threading

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView, View
from servers import Client
from users import NOBODY, ask_as, reachable, root_only
from werkzeug.serving import make_server as plain_make_server

from flask_rawsocket import NoConnectionError, RawSocket, _conditions
from flask_rawsocket.serving._server import make_server
from flask_rawsocket.sockinfo import PeerCredentials

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
OTHER = next(each.pw_uid for each in pwd.getpwall() if each.pw_uid != os.geteuid())


@contextlib.contextmanager
def serving(app, host="127.0.0.1", make=make_server):
    server = make(host, 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address
    finally:
        server.shutdown()
        thread.join()


def connected(address, name=None):
    """Connect a client, which binds its end to `name` first."""
    if not isinstance(address, str):
        return Client(socket.create_connection(address, 10))
    sock = socket.socket(socket.AF_UNIX)
    if name is not None:
        sock.bind(name)
    sock.settimeout(10)
    sock.connect(address)
    return Client(sock)


def status(address, path="/", method="GET"):
    with connected(address) as client:
        return client.request(path, method=method).status


def guarded(**conditions):
    app = Flask(__name__)
    rawsocket = RawSocket(app)

    @app.get("/")
    @rawsocket.require_peer(**conditions)
    def view():
        """Say hello."""
        return "hello"

    assert view.__doc__ == "Say hello."
    return app


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"uid": os.geteuid()}, 200),
        ({"uid": OTHER}, 403),
        ({"uid": {OTHER, os.geteuid()}}, 200),
        ({"user": ME}, 200),
        ({"user": [ME, "nobody-has-this-name"]}, 200),
        ({"user": "nobody-has-this-name"}, 403),
        ({"gid": os.getegid()}, 200),
        ({"gid": 4_000_000}, 403),
        ({"group": MY_GROUP}, 200),
        ({"group": "no-group-has-this-name"}, 403),
        ({"uid": os.geteuid(), "gid": 4_000_000}, 403),
        ({"uid": os.geteuid(), "user": ME, "group": MY_GROUP}, 200),
    ],
)
def test_unix_peers(tmp_path, conditions, expected):
    """A UNIX peer is let in if everything that was asked for holds."""
    with serving(guarded(**conditions), f"unix://{tmp_path}/s") as address:
        assert status(address) == expected


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"any_of": {"user": ME, "group": "no-group-has-this-name"}}, True),
        ({"any_of": {"uid": OTHER, "gid": os.getegid()}}, True),
        ({"any_of": {"uid": OTHER, "gid": 4_000_000}}, False),
        ({"any_of": {"uid": [OTHER, os.geteuid()]}}, True),
        ({"any_of": {"uid": []}}, False),
        ({"any_of": {"uid": os.geteuid(), "user": None}}, True),
        ({"any_of": {"uid": OTHER, "user": None}}, False),
        ({"uid": os.geteuid(), "any_of": {"uid": OTHER, "gid": 4_000_000}}, False),
        ({"uid": OTHER, "any_of": {"uid": os.geteuid()}}, False),
        ({"uid": os.geteuid(), "any_of": {"uid": OTHER, "group": MY_GROUP}}, True),
    ],
)
def test_one_of_several(conditions, expected):
    """Of what is in `any_of` one is enough; whatever else is asked for has to hold as well."""
    check = RawSocket().require_peer(**conditions)
    me = PeerCredentials(1, os.geteuid(), os.getegid(), ())
    assert check._admits(me) is expected


@pytest.mark.parametrize(
    ("any_of", "error", "text"),
    [
        ({}, ValueError, "any_of needs a uid"),
        ({"user": None}, ValueError, "any_of needs a uid"),
        ({"users": "root"}, TypeError, "'users' is not one of uid, user, gid, group"),
        ({"uid": "root"}, TypeError, "uid: 'root' is not an int"),
        (["root"], TypeError, r"any_of: \['root'\] is not a mapping such as"),
    ],
)
def test_one_of_what_cannot_be(any_of, error, text):
    """What is asked for by mistake is refused at once: it might let everybody in, or nobody."""
    with pytest.raises(error, match=text):
        RawSocket().require_peer(uid=0, any_of=any_of)


def test_a_tcp_peer_never(caplog):
    """A TCP peer is nobody, whatever its process is, and the log says so."""
    with serving(guarded(uid=os.geteuid())) as address:
        assert status(address) == 403
    (line,) = refusals(caplog)
    assert re.fullmatch(
        r"require_peer: 'view' has refused 127\.0\.0\.1:\d+, which is not a UNIX peer", line
    )


def refusals(caplog):
    """Give what the log says of peers that were refused."""
    return [each.getMessage() for each in caplog.records if "has refused" in each.getMessage()]


@pytest.mark.parametrize("make", [make_server, plain_make_server], ids=["ours", "foreign"])
def test_refusals_are_logged(tmp_path, caplog, make):
    """Who was refused, and where; a peer that is let in is not logged."""
    app = Flask(__name__)
    rawsocket = RawSocket(app)
    admin = Blueprint("admin", __name__)
    admin.before_request(rawsocket.require_peer(uid=OTHER))
    admin.add_url_rule("/admin", endpoint="index", view_func=lambda: "hello")
    app.register_blueprint(admin)
    app.add_url_rule("/", "mine", rawsocket.require_peer(uid=os.geteuid())(lambda: "hello"))
    with serving(app, f"unix://{tmp_path}/s", make) as address:
        assert status(address) == 200
        assert refusals(caplog) == []
        assert status(address, "/admin") == 403
    (line,) = refusals(caplog)
    who = f"uid {os.geteuid()} ({ME}), gid {os.getegid()} ({MY_GROUP}), pid {os.getpid()}"
    assert line.startswith(f"require_peer: 'admin.index' has refused {who}, on @")


def test_a_refusal_where_there_is_no_view(tmp_path, caplog):
    """A check before every request also refuses where no view is, and the log has the path."""
    app = Flask(__name__)
    app.before_request(RawSocket(app).require_peer(uid=OTHER))
    with serving(app, f"unix://{tmp_path}/s") as address:
        assert status(address, "/no%0Asuch") == 403
    (line,) = refusals(caplog)
    assert line.startswith("require_peer: '/no\\nsuch' has refused uid")


def identified():
    """An application that says who its peer is."""
    app = Flask(__name__)
    rawsocket = RawSocket(app)
    app.add_url_rule("/", view_func=rawsocket.peer_identity)
    return app


@pytest.mark.parametrize("make", [make_server, plain_make_server], ids=["ours", "foreign"])
@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_identity(tmp_path, monkeypatch, make, over):
    """Every connection of a peer has the same, whatever it has bound or says of itself."""
    monkeypatch.chdir(tmp_path)
    host, expected = "127.0.0.1", "127.0.0.1"
    if over == "unix":
        host, expected = f"unix://{tmp_path}/s", f"uid:{os.geteuid()}"
    with serving(identified(), host, make) as address:
        for name in None, "uid:0", "192.0.2.1":
            with connected(address, name if over == "unix" else None) as client:
                found = client.request("/", "X-Forwarded-For: 192.0.2.1").body
            assert found == expected.encode()


def test_identity_of_an_ipv6_peer():
    """It is the host, without brackets."""
    with serving(identified(), "::1") as address, connected(address[:2]) as client:
        assert client.request().body == b"::1"


def test_identity_without_a_socket():
    """Nothing is guessed where nobody can be asked."""
    app = identified()
    app.testing = True
    with pytest.raises(NoConnectionError, match="does not expose its socket"):
        app.test_client().get("/")
    with pytest.raises(NoConnectionError, match="outside of a request"):
        RawSocket().peer_identity()


def test_before_request(tmp_path):
    """As a blueprint's `before_request` it guards all of the blueprint's views, and no other."""
    app = Flask(__name__)
    rawsocket = RawSocket(app)
    mine, theirs = Blueprint("mine", __name__), Blueprint("theirs", __name__)
    mine.before_request(rawsocket.require_peer(user=ME))
    theirs.before_request(rawsocket.require_peer(uid=OTHER))
    mine.add_url_rule("/mine", view_func=lambda: "hello")
    theirs.add_url_rule("/theirs", view_func=lambda: "hello")
    app.register_blueprint(mine)
    app.register_blueprint(theirs)
    with serving(app, f"unix://{tmp_path}/s") as address:
        assert status(address, "/mine") == 200
        assert status(address, "/theirs") == 403


@root_only
def test_another_user(tmp_path):
    """A client that runs as another user is that user."""
    reachable(tmp_path)
    with serving(guarded(uid=OTHER), f"unix://{tmp_path}/s") as address:
        os.chmod(address, 0o666)
        assert status(address) == 403
        assert ask_as(address, OTHER) == "200"


@root_only
def test_root_or_a_group(tmp_path, caplog):
    """``any_of={"user": "root", "group": ...}`` is a daemon's usual rule."""
    reachable(tmp_path)
    group = next(each for each in grp.getgrall() if each.gr_gid not in (0, NOBODY))
    app = guarded(any_of={"user": "root", "group": group.gr_name})
    with serving(app, f"unix://{tmp_path}/s") as address:
        os.chmod(address, 0o666)
        assert status(address) == 200
        assert ask_as(address, NOBODY, groups=[group.gr_gid]) == "200"
        assert ask_as(address, NOBODY, gid=group.gr_gid) == "200"
        assert refusals(caplog) == []
        assert ask_as(address, NOBODY) == "403"
    (line,) = refusals(caplog)
    assert f"refused uid {NOBODY} (" in line


def test_an_async_view(tmp_path):
    """A coroutine is guarded, and run, like any view."""
    app = Flask(__name__)
    rawsocket = RawSocket(app)

    async def view():
        return "hello"

    app.add_url_rule("/mine", "mine", rawsocket.require_peer(uid=os.geteuid())(view))
    app.add_url_rule("/theirs", "theirs", rawsocket.require_peer(uid=OTHER)(view))
    with serving(app, f"unix://{tmp_path}/s") as address:
        assert status(address, "/mine") == 200
        assert status(address, "/theirs") == 403


def test_an_async_view_below_a_decorator(tmp_path):
    """A coroutine stays one, so that a decorator above the check may await it."""
    app = Flask(__name__)
    rawsocket = RawSocket(app)

    def timed(view):
        assert inspect.iscoroutinefunction(view)

        @functools.wraps(view)
        async def wrapper(**kwargs):
            return await view(**kwargs)

        return wrapper

    @app.get("/mine/<name>")
    @timed
    @rawsocket.require_peer(uid=os.geteuid())
    async def mine(name):
        return name

    @app.get("/theirs")
    @timed
    @rawsocket.require_peer(uid=OTHER)
    async def theirs():
        return "hello"

    with serving(app, f"unix://{tmp_path}/s") as address:
        assert status(address, "/mine/me") == 200
        assert status(address, "/theirs") == 403


@pytest.fixture
def classes():
    """An application whose views are classes."""
    app = Flask(__name__)
    mine = RawSocket(app).require_peer(uid=os.geteuid())
    theirs = RawSocket().require_peer(uid=OTHER)

    class Mine(View):
        decorators = (mine,)

        def dispatch_request(self):
            return "hello"

    class Theirs(Mine):
        decorators = (theirs,)

    class AsyncOnes(Mine):
        init_every_request = False

        async def dispatch_request(self):
            return "hello"

    class Methods(MethodView):
        @mine
        def get(self):
            return "hello"

        @theirs
        def post(self):
            return "hello"

        @mine
        async def put(self):
            return "hello"

        @theirs
        async def delete(self):
            return "hello"

    for view in (Mine, Theirs, AsyncOnes, Methods):
        app.add_url_rule(f"/{view.__name__}", view_func=view.as_view(view.__name__))
    return app


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        ("GET /Mine", 200),
        ("GET /Theirs", 403),
        ("GET /AsyncOnes", 200),
        ("GET /Methods", 200),
        ("POST /Methods", 403),
        ("PUT /Methods", 200),
        ("DELETE /Methods", 403),
    ],
)
def test_class_based_views(tmp_path, classes, request_line, expected):
    """A class is guarded by its `decorators`, or a method of it by itself."""
    with serving(classes, f"unix://{tmp_path}/s") as address:
        method, path = request_line.split()
        assert status(address, path, method) == expected
    with serving(classes) as address:
        assert status(address, path, method) == 403


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("uids", "expected"),
    [
        ((os.geteuid(), os.geteuid()), 200),
        ((os.geteuid(), OTHER), 403),
        ((OTHER, os.geteuid()), 403),
    ],
)
def test_one_above_the_other(tmp_path, kind, uids, expected):
    """Of several checks each has to let the peer in."""
    app = Flask(__name__)
    rawsocket = RawSocket(app)

    def view():
        return "hello"

    async def coroutine():
        return "hello"

    guarded = view if kind == "sync" else coroutine
    for uid in uids:
        guarded = rawsocket.require_peer(uid=uid)(guarded)
    app.add_url_rule("/", "view", guarded)
    with serving(app, f"unix://{tmp_path}/s") as address:
        assert status(address) == expected


@pytest.mark.parametrize("view", [Blueprint("admin", __name__), "view", 5])
def test_what_is_not_a_view(view):
    """What cannot be called is refused, and the text tells how a blueprint is guarded."""
    with pytest.raises(TypeError, match=r"is not a view; for a blueprint .+ before_request\(\)"):
        RawSocket().require_peer(uid=0)(view)


@pytest.mark.parametrize("conditions", [{"user": "root"}, {"group": "root"}])
def test_a_system_without_a_user_database(monkeypatch, conditions):
    """Where there are no names, as on Windows, a name admits nobody."""
    monkeypatch.setattr(_conditions, "pwd", None)
    monkeypatch.setattr(_conditions, "grp", None)
    check = RawSocket().require_peer(**conditions)
    assert not check._admits(PeerCredentials(4, None, None, None))
    assert not check._admits(PeerCredentials(4, 0, 0, (0,)))


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """A /proc in which 65534 stands for whoever is not mapped; a function writes the maps."""
    (tmp_path / "self").mkdir()
    (tmp_path / "sys/kernel").mkdir(parents=True)
    for kind in ("uid", "gid"):
        (tmp_path / f"sys/kernel/overflow{kind}").write_text("65534\n")
    monkeypatch.setattr(_conditions, "_PROC", tmp_path)

    def write(text):
        _conditions._unmapped.cache_clear()
        for kind in ("uid", "gid"):
            (tmp_path / f"self/{kind}_map").write_text(text)

    yield write
    _conditions._unmapped.cache_clear()


@pytest.mark.parametrize(
    ("conditions", "credentials"),
    [
        ({"uid": 65534}, PeerCredentials(1, 65534, 1000, ())),
        ({"gid": 65534}, PeerCredentials(1, 1000, 65534, ())),
        ({"gid": 65534}, PeerCredentials(1, 1000, 1000, (65534,))),
    ],
)
def test_unmapped_ids(proc, conditions, credentials):
    """In a user namespace 65534 is whoever has no id there, and nobody is let in as that."""
    check = RawSocket().require_peer(**conditions)
    proc("         0          0 4294967295\n")
    assert check._admits(credentials)
    proc("         0     100000      65536\n")
    assert not check._admits(credentials)


def test_a_system_without_a_proc(monkeypatch, tmp_path):
    """Where there is nothing to ask there are no user namespaces."""
    monkeypatch.setattr(_conditions, "_PROC", tmp_path)
    _conditions._unmapped.cache_clear()
    assert RawSocket().require_peer(uid=65534)._admits(PeerCredentials(1, 65534, 0, ()))
    _conditions._unmapped.cache_clear()


@pytest.mark.parametrize(
    ("conditions", "wrong"),
    [
        ({"uid": "1000"}, "uid: '1000' is not an int"),
        ({"uid": True}, "uid: True is not an int"),
        ({"uid": b"\0"}, r"uid: b'.x00' is not an int"),
        ({"gid": bytearray(1)}, "gid: bytearray"),
        ({"uid": memoryview(b"\0")}, "uid: <memory"),
        ({"uid": 1.0}, "uid: 1.0 is not an int"),
        ({"uid": [[0]]}, r"uid: \[0\] is not an int"),
        ({"uid": [None]}, "uid: None is not an int"),
        ({"gid": [0, "wheel"]}, "gid: 'wheel' is not an int"),
        ({"user": 0}, "user: 0 is not a str"),
        ({"user": b"root"}, "user: b'root' is not a str"),
        ({"group": {b"wheel"}}, "group: b'wheel' is not a str"),
    ],
)
def test_ids_of_the_wrong_type(conditions, wrong):
    """A wrong type, such as an id as text from the environment, is refused at once."""
    with pytest.raises(TypeError, match=wrong):
        RawSocket().require_peer(**conditions)


def test_a_name_that_can_be_none(tmp_path):
    """What can be no name admits nobody."""
    with serving(guarded(user="a\0b"), f"unix://{tmp_path}/s") as address:
        assert status(address) == 403


def test_nothing_asked_for():
    """A check that asks for nothing would let everybody in by mistake."""
    with pytest.raises(ValueError, match="needs a uid, a user, a gid, a group, or any_of"):
        RawSocket().require_peer()


def test_names_that_the_system_does_not_know(caplog):
    """They are named when the check is made, before any request; known ones are not."""
    RawSocket().require_peer(user=[ME, "depoly"], group=["no-such-group", MY_GROUP])
    assert [each.getMessage() for each in caplog.records] == [
        "require_peer: there is no user 'depoly' on this system; it admits nobody",
        "require_peer: there is no group 'no-such-group' on this system; it admits nobody",
    ]
    caplog.clear()
    RawSocket().require_peer(any_of={"user": "rooot", "group": MY_GROUP})
    (line,) = caplog.records
    assert "there is no user 'rooot'" in line.getMessage()
    caplog.clear()
    RawSocket().require_peer(uid=4711, gid=4711, user=ME)
    assert caplog.records == []
