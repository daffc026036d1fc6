"""The contract's application with views that take their connection over, or watch it."""

import contextlib
import socket
import threading
import time

from contract import app, describe, rawsocket, record
from flask import Response, has_request_context, request, stream_with_context
from werkzeug.exceptions import ClientDisconnected

from flask_rawsocket import RawSocketError, current_conn
from flask_rawsocket._connection.connection import life_of


class Lazily:
    """A middleware that is a generator, as Werkzeug's debugger: the view runs amid the body."""

    def __init__(self, wsgi_app):
        self.wsgi_app = wsgi_app

    def __call__(self, environ, start_response):
        if "lazily" not in environ.get("QUERY_STRING", ""):
            return self.wsgi_app(environ, start_response)
        return self.generate(environ, start_response)

    def generate(self, environ, start_response):
        try:
            body = self.wsgi_app(environ, start_response)
            yield from body
            body.close()
        finally:
            record(middleware=environ["PATH_INFO"])


app.wsgi_app = Lazily(app.wsgi_app)


def error(exc):
    return {"error": type(exc).__name__, "text": str(exc)}


@app.route("/echo", methods=["GET", "POST"])
def echo():
    """Take over and echo, in this thread, until the peer closes; say BYE."""
    with current_conn.hijack() as stream:
        stream.sendall(b"HELLO\n")
        while data := stream.recv(65536):
            stream.sendall(data)
        stream.sendall(b"BYE\n")
    return "this is dropped"


@app.get("/echo-thread")
def echo_thread():
    """Take over, and leave the connection to another thread."""
    stream = current_conn.hijack()

    def serve():
        with stream:
            stream.sendall(b"HELLO\n")
            while data := stream.recv(65536):
                stream.sendall(data)

    threading.Thread(target=serve).start()
    return "this is dropped"


@app.route("/leading", methods=["GET", "POST"])
def leading():
    """Take over before, amid or after reading the body; send back the rest of what comes."""
    read = request.args.get("read", "0")
    body = b""
    if read != "0":
        body = request.get_data() if read == "all" else request.stream.read(int(read))
    count = int(request.args["count"])
    with current_conn.hijack() as stream:
        rest = b"".join(iter_exactly(stream, count, request.args.get("by", "recv")))
        stream.sendall(b"%d %d\n" % (len(body), len(rest)) + body + rest)
    return ""


def iter_exactly(stream, count, by):
    if by == "file":
        with stream.makefile("rb") as file:
            yield file.read(count)
    elif by == "exactly":
        yield stream.recv_exactly(count)
    else:
        while count:
            data = stream.recv(min(count, 1000))
            if not data:
                return
            count -= len(data)
            yield data


@app.get("/raise-after")
def raise_after():
    stream = current_conn.hijack()
    threading.Thread(target=lambda: say_and_close(stream)).start()
    raise ValueError("a view that fails after it has taken its connection over")


@app.get("/duplicate")
def duplicate():
    """Take over, and have a duplicate of the socket say what can be said of it."""
    with current_conn.hijack() as stream:
        try:
            with stream.sock.dup() as twin:
                twin.sendall(b"HELLO from a twin\n")
        except NotImplementedError as exc:
            stream.sendall(f"HELLO from {type(exc).__name__}\n".encode())
        stream.recv(1)
    return ""


def say_and_close(stream):
    with stream:
        stream.sendall(b"foobar")
        stream.recv(1)


@app.get("/last-words")
def last_words():
    """Take over, and speak once more when the dropped response is closed."""
    stream = current_conn.hijack()
    stream.sendall(b"one\n")
    response = Response("this is dropped")

    @response.call_on_close
    def speak():
        with stream:
            stream.sendall(b"two\n")

    return response


@app.get("/twice")
def twice():
    """Take over twice; the owner tells what the second time raised."""
    with current_conn.hijack() as stream:
        try:
            current_conn.hijack()
        except RawSocketError as exc:
            stream.sendall(f"{type(exc).__name__}: {exc}".encode())
    return ""


@app.get("/too-late")
def too_late():
    """Try to take over when the response has begun."""
    conn = current_conn._get_current_object()

    def chunks():
        yield b"begun "
        try:
            conn.hijack()
        except RawSocketError as exc:
            yield f"{type(exc).__name__}: {exc}".encode()

    return Response(chunks())


kept = {}


@app.get("/keep")
def keep():
    kept["conn"] = current_conn._get_current_object()
    return "kept"


@app.get("/after-the-end")
def after_the_end():
    """Try to take over another connection, whose request has ended."""
    try:
        kept["conn"].hijack()
    except RawSocketError as exc:
        return error(exc)
    return {"error": None}


@app.post("/stream-after")
def stream_after():
    """Read the request's stream after the hijack."""
    stream = current_conn.hijack()
    with stream:
        try:
            got = request.stream.read(1)
        except Exception as exc:  # noqa: BLE001
            stream.sendall(type(exc).__name__.encode())
        else:
            stream.sendall(b"read %r" % got)
    return ""


@app.get("/closing-body")
def closing_body():
    """Take over, and return a response whose close() and teardown are recorded."""
    stream = current_conn.hijack()

    class Body:
        def __iter__(self):
            record(iterated=True)
            return iter([b"dropped"])

        def close(self):
            record(body_closed=True)

    threading.Thread(target=lambda: say_and_close(stream)).start()
    return Response(Body())


@app.teardown_request
def teardown(exc):
    if request.path == "/closing-body":
        record(torn_down=True)


@app.get("/upgrade")
def upgrade():
    stream = current_conn.upgrade("echo", {"X-Extra": "yes"})

    def serve():
        with stream:
            while data := stream.recv(65536):
                stream.sendall(data)

    threading.Thread(target=serve).start()
    return ""


@app.get("/async")
def hijack_async():
    async def handler(reader, writer):
        writer.write(b"HELLO\n")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    current_conn.hijack_async(handler)
    return ""


@app.get("/async-fails")
def hijack_async_fails():
    async def handler(reader, writer):
        writer.write(b"HELLO\n")
        await writer.drain()
        raise ValueError("a handler that fails")

    current_conn.hijack_async(handler)
    return ""


@app.get("/hold")
def hold():
    """Take over and hold until shutdown; then say goodbye."""
    stream = current_conn.hijack()
    held.append(stream)
    stream.sendall(b"HELLO\n")
    return ""


held = []


@rawsocket.on_shutdown
def goodbye():
    for stream in held:
        with stream:
            stream.sendall(b"GOODBYE\n")


@app.route("/watch", methods=["GET", "POST"])
def watch():
    """Wait for the peer to go, and record how it was noticed and when."""
    conn = current_conn._get_current_object()
    called = threading.Event()
    if "read" in request.args:
        request.get_data()

    def tell():
        record(callback=time.time(), in_request=has_request_context())
        called.set()

    conn.on_disconnect(tell)
    record(watching=conn.id)
    gone = conn.wait_disconnected(float(request.args.get("timeout", 15)))
    status = conn.peer_status().name
    if gone:
        called.wait(5)
    record(gone=gone, status=status, called=called.is_set(), at=time.time())
    return "nobody hears this"


@app.get("/status")
def status():
    return {"status": current_conn.peer_status().name, "gone": current_conn.is_disconnected()}


@app.get("/until-gone")
def until_gone():
    def chunks():
        try:
            record(streaming=current_conn.id)
            while True:
                yield b"tick\n"
                threading.Event().wait(0.01)
        finally:
            record(stream_ended=True)

    return Response(rawsocket.until_disconnected(stream_with_context(chunks())))


@app.get("/checkpoints")
def checkpoints():
    with rawsocket.stop_when_disconnected() as checkpoint:
        record(working=True)
        try:
            while True:
                checkpoint()
                threading.Event().wait(0.01)
        except Exception as exc:
            record(stopped=type(exc).__name__)
            raise


def work_until_stopped():
    record(working=True)
    try:
        while True:
            rawsocket.checkpoint()
            threading.Event().wait(0.01)
    except Exception as exc:
        record(stopped=type(exc).__name__)
        raise


@app.get("/decorated")
@rawsocket.stop_when_disconnected()
def decorated():
    work_until_stopped()


@app.get("/undecorated")
def undecorated():
    work_until_stopped()


@app.post("/read-deadline")
def read_deadline():
    current_conn.set_deadlines(read=float(request.args.get("seconds", 0.2)))
    try:
        return {"length": len(request.get_data())}
    except TimeoutError as exc:
        current_conn.close_after_response()
        return error(exc)


@app.get("/write-deadline")
def write_deadline():
    current_conn.set_deadlines(write=0.3)
    return Response(b"x" * 65536 for _ in range(1000))


@app.get("/abort")
def abort():
    current_conn.abort()
    return "never sent"


@app.get("/set-deadlines")
def set_deadlines():
    current_conn.set_deadlines(read=0.0, write=60)
    return describe(current_conn)


@app.get("/former-deadlines")
def former_deadlines():
    """Set deadlines and take over; when they have passed, write and read."""
    current_conn.set_deadlines(read=0.05, write=0.05)
    passed = time.monotonic() + 0.05
    with current_conn.hijack() as stream:
        while time.monotonic() < passed:
            threading.Event().wait(0.01)
        stream.sendall(b"HELLO\n")
        data = stream.recv(1)
        stream.sendall(b"%r %b" % (stream.sock.gettimeout(), data))
    return ""


@app.post("/credentials")
def credentials():
    found = current_conn.peer_credentials()
    return {"pid": found.pid, "uid": found.uid, "gid": found.gid}


@app.get("/rtt")
def rtt():
    return {"rtt": current_conn.tcp_info().rtt, "family": current_conn.family == socket.AF_INET}


@app.get("/wait-beyond")
def wait_beyond():
    """Leave a thread behind that waits, for as long as it takes, for the client to go."""
    threading.Thread(target=wait_and_tell, args=[current_conn._get_current_object()]).start()
    return "done"


def wait_and_tell(conn):
    record(waiting=conn.id)
    try:
        record(waited=conn.wait_disconnected())
    except RawSocketError as exc:
        record(waited=type(exc).__name__)


@app.get("/wait-and-close")
def wait_and_close():
    """Take over, and close when the client says so, while another thread waits for it to go."""
    conn = current_conn._get_current_object()
    stream = conn.hijack()
    threading.Thread(target=wait_and_tell, args=[conn]).start()
    with stream:
        stream.recv(1)
    return ""


@app.get("/called-back")
def called_back():
    """Watch, and respond at once."""
    current_conn.on_disconnect(lambda: record(called_back=True))
    return "done"


@app.get("/told")
def told():
    """Watch, and return as soon as the client is seen to be gone."""
    number = current_conn.id
    current_conn.on_disconnect(lambda: record(called_back=number))
    record(watching=number)
    while not current_conn.is_disconnected():
        time.sleep(0.001)
    return ""


def work_with(checkpoint):
    """Work until `checkpoint` stops it, or for long enough to be sure that it does not."""
    record(working=True)
    try:
        for _ in range(1000):
            checkpoint()
            threading.Event().wait(0.01)
        record(stopped=None)
    except Exception as exc:
        record(stopped=type(exc).__name__)
        raise


@app.get("/aborted-elsewhere")
def aborted_elsewhere():
    """Work with a checkpoint, while another thread aborts the connection."""
    conn = current_conn._get_current_object()
    with rawsocket.stop_when_disconnected() as checkpoint:
        threading.Thread(target=conn.abort).start()
        work_with(checkpoint)


@app.get("/async-decorated")
@rawsocket.stop_when_disconnected()
async def async_decorated():
    """Work in an ``async def``; its decorator stops it."""
    work_with(rawsocket.checkpoint)
    return "never sent"


@app.get("/helper")
def helper():
    """Leave the work to a thread, which has no request of its own."""
    with rawsocket.stop_when_disconnected() as checkpoint:
        thread = threading.Thread(target=stopped_quietly, args=[checkpoint])
        thread.start()
        thread.join()
    return "never read"


def stopped_quietly(checkpoint):
    with contextlib.suppress(ClientDisconnected):
        work_with(checkpoint)


@app.get("/until-gone-first")
def until_gone_first():
    """Begin a response whose client has gone."""

    def chunks():
        record(made=True)
        yield b"x"

    record(watching=current_conn.id)
    gone = current_conn.wait_disconnected(15)
    record(gone=gone)
    return Response(rawsocket.until_disconnected(chunks()))


@app.post("/hijack-while-reading")
def hijack_while_reading():
    """Try to hijack while another thread is reading the body; say what came of it."""
    conn, body, got = current_conn._get_current_object(), request.stream, []
    reader = threading.Thread(target=lambda: got.append(body.read()))
    reader.start()
    while not life_of(conn).exchange._readers:
        time.sleep(0.001)
    try:
        conn.hijack().close()
        refused = None
    except RawSocketError as exc:
        refused = error(exc)
    record(refused=refused)
    reader.join()
    return {"refused": refused, "body": got[0].decode()}


@app.get("/hijack-twice-at-once")
def hijack_twice_at_once():
    """Have two threads hijack; the one that is told off says so through the other's stream."""
    conn, streams, errors = current_conn._get_current_object(), [], []
    ready = threading.Barrier(2)

    def take():
        ready.wait()
        try:
            streams.append(conn.hijack())
        except RawSocketError as exc:
            errors.append(type(exc).__name__)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with streams[0] as stream:
        stream.sendall(f"{len(streams)} {errors} ".encode() + stream.recv_exactly(5))
    return ""


@app.post("/no-content")
def no_content():
    return "", 204
