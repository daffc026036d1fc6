"""``make demo``: run the example over TCP and a UNIX socket, and over TLS beside that.

gunicorn has TLS for all of its sockets or for none, so there are two of it. This process listens
for both, hands the sockets over, and waits.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from example_app.addresses import commands, url
from example_app.certificate import make_certificate
from example_app.listening import CannotListenError, listen

ROOT = Path(__file__).parent.parent
DEFAULTS = {
    "DEMO_BIND": "127.0.0.1:8000",
    "DEMO_TLS_BIND": "127.0.0.1:8443",
    "DEMO_SOCKET": "/tmp/flask-rawsocket-demo.sock",  # noqa: S108  a demo's
}
OTHERS = {
    "DEMO_BIND": "127.0.0.1:0",
    "DEMO_TLS_BIND": "127.0.0.1:0",
    "DEMO_SOCKET": "/tmp/another-demo.sock",  # noqa: S108
}
"""What to say instead, where one of those is taken: port 0 is any free one."""


def main():
    """Run the demo until a signal ends it; return the exit code."""
    places = {name: os.environ.get(name, default) for name, default in DEFAULTS.items()}
    with tempfile.TemporaryDirectory(prefix="flask-rawsocket-demo-") as folder:
        certificate = make_certificate(Path(folder)) if places["DEMO_TLS_BIND"] else None
        if certificate is None:
            del places["DEMO_TLS_BIND"]
        sockets = listen_everywhere(places)
        environ = os.environ | environment(sockets, certificate)
        servers = [gunicorn(environ, sockets["DEMO_BIND"], sockets["DEMO_SOCKET"])]
        if certificate is not None:
            servers.append(gunicorn(environ, sockets["DEMO_TLS_BIND"], certificate=certificate))
        for each in sockets.values():
            each.close()
        tell(environ)
        return wait(servers)


def listen_everywhere(places):
    """Return the sockets; end the program with one paragraph if something is in the way."""
    sockets, wrong = {}, {}
    for name, where in places.items():
        try:
            sockets[name] = listen(where, unix=name == "DEMO_SOCKET")
        except CannotListenError as exc:
            wrong[name] = str(exc)
    if wrong:
        cure = " ".join(f"{name}={OTHERS[name]}" for name in wrong)
        sys.exit(
            "\n".join([*wrong.values(), f"Elsewhere it can run beside that: make demo {cure}"])
        )
    return sockets


def environment(sockets, certificate):
    """Return what the application is told of where it is; see `commands`."""
    host, port = sockets["DEMO_BIND"].getsockname()[:2]
    told = {
        "DEMO_URL": url("http", host, port),
        "DEMO_SOCKET": sockets["DEMO_SOCKET"].getsockname(),
    }
    hosts = [host]
    if certificate is not None:
        host, port = sockets["DEMO_TLS_BIND"].getsockname()[:2]
        told |= {"DEMO_TLS_URL": url("https", host, port)}
        told |= {"DEMO_CERTIFICATE": certificate[0], "DEMO_KEY": certificate[1]}
        hosts.append(host)
    hosts = [f"[{each}]" if ":" in each else each for each in hosts]
    return told | {"DEMO_HOSTS": " ".join([*hosts, os.environ.get("DEMO_HOSTS", "")])}


def gunicorn(environ, *sockets, certificate=None):
    """Start gunicorn on sockets that listen already."""
    command = [sys.executable, "-m", "gunicorn", "-c", "example_app/gunicorn.conf.py"]
    for each in sockets:
        command += ["--bind", f"fd://{each.fileno()}"]
    if certificate is not None:
        path, key = certificate
        command += ["--certfile", path, "--keyfile", key]
        # A client may show a certificate: this one, which has signed itself.
        command += ["--ca-certs", path, "--cert-reqs", "1"]
    return subprocess.Popen(  # noqa: S603  no shell
        [*command, "example_app.app:app"],
        cwd=ROOT,
        env=environ,
        pass_fds=[each.fileno() for each in sockets],
        process_group=0,  # Control-C is for this process, which ends them
    )


def tell(environ):
    """Print where the demo is."""
    found = commands(environ)
    lines = [f"  {name + ':':22}{what}" for name, what in found.items()]
    if "DEMO_TLS_URL" not in environ:
        lines.append("  There is no TLS: that needs the openssl program, and a DEMO_TLS_BIND.")
    print("", *lines, "  Control-C ends it.", "", sep="\n", flush=True)  # noqa: T201


def wait(servers):
    """Wait for a signal, or for one of the servers to end; end both; return the exit code."""
    asked = []

    def stop(number, _frame):
        asked.append(number)
        for each in servers:
            each.terminate()

    for each in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(each, stop)
    _, status = os.wait()
    for each in servers:
        each.terminate()
        each.wait()
    return 0 if asked else os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
