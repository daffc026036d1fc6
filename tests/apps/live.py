"""The contract's application with views that return streams."""

import asyncio
import resource
import sys
import threading
import time

from contract import app, rawsocket, record
from flask import current_app, has_app_context, has_request_context, request, session
from held import is_held

from flask_rawsocket import InvalidStateError, RawSocketError, current_conn
from flask_rawsocket.streams import Event, current_stream

app.secret_key = "for a session"


class Adding:
    """A middleware that adds a header field, as one for CORS does."""

    def __init__(self, wsgi_app):
        self.wsgi_app = wsgi_app

    def __call__(self, environ, start_response):
        def starting(status, headers, *exc_info):
            return start_response(status, [*headers, ("X-Middleware", "was here")], *exc_info)

        return self.wsgi_app(environ, starting)


app.wsgi_app = Adding(app.wsgi_app)


@app.after_request
def after(response):
    response.headers["X-After"] = "was here"
    if "cookie" in request.args:
        response.set_cookie("taste", "sweet")
    return response


@app.errorhandler(403)
def forbidden(exc):
    return f"handled: {exc.description}", 403


@app.teardown_request
def torn_down(_exc):
    if request.path.startswith("/live/"):
        record(teardown=request.path)


@app.get("/live/body")
def body():
    """Yield so many parts, of `size` bytes each; say what is seen from inside."""
    count, size = int(request.args.get("count", 3)), int(request.args.get("size", 10))
    session["seen"] = True
    conn = current_conn._get_current_object()

    async def generate():
        try:
            for number in range(count):
                yield b"%d" % (number % 10) * size
            yield f"contexts {has_app_context()} {has_request_context()}"
            yield f" same {current_stream.connection is conn}"
        finally:
            record(finished=conn.id)

    headers = {"Content-Length": request.args["length"]} if "length" in request.args else {}
    return rawsocket.stream(
        generate(), status=request.args.get("status", 200), mimetype="text/csv", headers=headers
    )


@app.get("/live/fails")
def fails():
    """Fail amid the body, or before its first byte."""
    is_late = "early" not in request.args
    kind = {"exit": SystemExit, "cancelled": asyncio.CancelledError}.get(
        request.args.get("how"), LookupError
    )

    async def generate():
        if is_late:
            yield b"begun"
        raise kind("a generator that fails amid its body")

    return rawsocket.stream(generate())


@app.get("/live/waits")
def waits():
    """Yield once; wait for ever."""
    conn = current_conn._get_current_object()

    async def generate():
        try:
            yield b"begun"
            await asyncio.Event().wait()
        finally:
            record(finished=conn.id)

    return rawsocket.stream(generate())


@app.get("/live/events")
def events():
    async def generate():
        yield {"a": 1}
        yield Event("two\nlines", event="named", id="7")
        yield "last"

    return rawsocket.events(generate())


@app.get("/live/ticks")
def ticks():
    """Pings, ten times in a second, and nothing else."""

    async def generate():
        await asyncio.Event().wait()
        yield ""

    return rawsocket.events(generate(), ping=0.1)


@app.get("/live/where")
def where():
    """Say whether a thread is held for this stream."""

    async def generate():
        for _ in range(30):  # the thread may be sending the head
            if is_held():
                yield "one thread each"
                return
            await asyncio.sleep(0.01)
        yield "no thread"

    make = rawsocket.events if "events" in request.args else rawsocket.stream
    return make(generate())


@app.get("/live/where/websocket")
def where_websocket():
    """Say whether a WebSocket could be here, although this is no handshake."""
    request.environ |= {
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    try:
        rawsocket.websocket(echo)
    except RawSocketError as exc:
        return f"raises `{type(exc).__name__}`"
    return "no thread"


@app.get("/live/join/<name>")
def join(name):
    return rawsocket.events(rawsocket.group(name).join())


@app.get("/live/listen/<name>")
def listen(name):
    """Join in a generator of its own."""

    async def generate():
        yield b"begun;"
        async for data in rawsocket.group(name).join():
            yield f"{data!r};"

    return rawsocket.stream(generate())


@app.route("/live/send/<name>", methods=["GET", "POST"])
def send(name):
    group = rawsocket.group(name)
    data = request.get_data()
    data = data.decode() if "text" in request.args else data
    for _ in range(int(request.args.get("times", 1))):
        group.send(data or {"text": "hi"}, request.args.get("event"))
    return {"members": len(group)}


@app.get("/live/members/<name>")
def members(name):
    return {"members": len(rawsocket.group(name)), "rooms": len(rawsocket._rooms)}


@app.get("/live/close/<name>")
def close_group(name):
    rawsocket.group(name).close(4000, "over")
    return ""


@app.get("/live/thread")
def thread():
    """Call in a thread, in the application's context."""

    def call(a, b):
        return f"{current_app.name} {has_request_context()} {a + b}"

    async def generate():
        yield await rawsocket.in_thread(call, 1, b=2)
        try:
            await rawsocket.in_thread(int, "x")
        except ValueError:
            yield " ValueError"

    return rawsocket.stream(generate())


def sleeps_on_the_loop():
    time.sleep(1.6)


@app.get("/live/blocks")
def blocks():
    async def generate():
        sleeps_on_the_loop()
        yield "done"

    return rawsocket.stream(generate())


@app.get("/live/idle/<kind>")
def idle(kind):
    """Say one thing and nothing more, for which there is a limit."""

    async def generate():
        yield "begun"
        await asyncio.Event().wait()

    limit = {"idle_timeout": 0.3}
    if kind == "group":
        return rawsocket.events(rawsocket.group("nobody").join(), **limit)
    make = rawsocket.events if kind == "events" else rawsocket.stream
    return make(generate(), **limit)


stopping = threading.Event()
rawsocket.on_shutdown(stopping.set)


@app.get("/live/late/<int:seconds>")
def late(seconds):
    """Return a stream so many seconds after the server has begun to stop."""
    record(waiting=True)
    stopping.wait(30)
    time.sleep(seconds)
    return rawsocket.events(rawsocket.group("late").join())


@app.get("/live/rss")
def rss():
    """Return the resident memory of this process, in KiB."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return {"rss": int(statm.read().split()[1]) * resource.getpagesize() // 1024}


# WebSockets


async def echo(ws):
    async for message in ws:
        await ws.send(message)
    record(closed=ws.close_code, reason=ws.close_reason)


@app.route("/live/ws/echo", websocket=True)
def ws_echo():
    return rawsocket.websocket(echo, subprotocols=["v2", "v1"], max_message_size=2**25)


@app.route("/live/ws/small", websocket=True)
def ws_small():
    return rawsocket.websocket(echo, max_message_size=100)


@app.route("/live/ws/view/<word>", websocket=True)
@rawsocket.websocket_view(compression=False)
async def ws_view(ws, word):
    await ws.send({"word": word, "same": current_stream._get_current_object() is ws})
    await ws.close(4001, "bye")
    record(closed=ws.close_code, reason=ws.close_reason)


@app.route("/live/ws/chat/<name>", websocket=True)
@rawsocket.websocket_view
async def ws_chat(ws, name):
    group = rawsocket.group(name)
    with group.join(ws):
        await ws.send("joined")
        async for message in ws:
            group.send(message)


@app.route("/live/ws/fails", websocket=True)
@rawsocket.websocket_view
async def ws_fails(ws):
    raise LookupError("a handler that fails")


@app.route("/live/ws/ends/<how>", websocket=True)
@rawsocket.websocket_view
async def ws_ends(ws, how):
    """End as a handler should not."""
    if how == "exit":
        sys.exit("a handler that exits")
    if how == "interrupt":
        raise KeyboardInterrupt
    task = asyncio.ensure_future(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


@app.route("/live/ws/elsewhere", websocket=True)
@rawsocket.websocket_view
async def ws_elsewhere(ws):
    """Talk on another event loop, which is refused."""
    for call in (ws.send("x"), ws.receive(), ws.close()):
        try:
            await rawsocket.in_thread(asyncio.run, call)
        except InvalidStateError as exc:
            await ws.send(str(exc))


@app.route("/live/ws/deaf/<name>", websocket=True)
@rawsocket.websocket_view
async def ws_deaf(ws, name):
    """Wait for a group instead of the WebSocket."""
    await ws.send("begun")
    try:
        async for data in rawsocket.group(name).join():
            await ws.send(data)
    finally:
        record(finished=ws.connection.id)


@app.route("/live/ws/idle", websocket=True)
@rawsocket.websocket_view(idle_timeout=0.3)
async def ws_idle(ws):
    async for message in ws:
        await ws.send(message)


@app.route("/live/ws/busy", websocket=True)
@rawsocket.websocket_view(max_message_size=2**20)
async def ws_busy(ws):
    """Take no message; wait for one of the group instead."""
    async for _ in rawsocket.group("busy").join():
        break


@app.route("/live/ws/two", websocket=True)
@rawsocket.websocket_view
async def ws_two(ws):
    """Receive in two tasks; leave one behind that waits."""
    first = [asyncio.ensure_future(ws.receive()) for _ in range(2)]
    await ws.send("ready")
    await ws.send(sorted(await asyncio.gather(*first)))

    async def left_behind():
        async for _ in ws:
            pass
        record(left_behind="ended")

    current_stream.task = asyncio.ensure_future(left_behind())
