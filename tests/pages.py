"""Runs the code blocks of a page of the documentation, in a folder of the page's own.

A page is read from top to bottom. A block of any language that begins with a file's name in a
comment is written to that file, for a `console` block to use. Of the others, a `python` block that
makes a Flask begins a new `app.py`, any other is added to it; either way the file is run. In a
`console` block a line after `$` is a command: one that starts a server leaves it running for those
that follow, and what stands under any other is its output. A `console` block without commands is
what the server's log has by then. `...` in an expected text stands for anything; ports, process ids
and widths of columns are what they are.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from servers import PATIENCE, held_port, wait_for

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w-]+\.\w+(?:\.py)?|Dockerfile)\n")
"""The first line of a block that is a file of its own."""
ADDRESS = re.compile(r'(127\.0\.0\.1"?(?::|, ))(\d+)')
"""An address in a command or in a file; the port is replaced by one that is free."""
HOME = "/srv/app/.venv/bin"
"""Where the pages have the programs of an application that is installed."""

UNSTABLE = (
    (re.compile(r"(\d+\.\d+\.\d+\.\d+):\d+"), r"\1:PORT"),
    (re.compile(r'\["(\d+\.\d+\.\d+\.\d+)",\d+\]'), r'["\1",PORT]'),
    (re.compile(r"@\d+\."), "@PID."),
    (re.compile(r"\buid:\d+"), "uid:UID"),
    (re.compile(r" {2,}"), "  "),
)

READY = """
from pathlib import Path

# Where there is no --config, gunicorn reads this file.
if Path("gunicorn.conf.py").exists():
    exec(Path("gunicorn.conf.py").read_text())


_page_has = globals().get("post_worker_init", lambda worker: None)


def post_worker_init(worker):
    _page_has(worker)
    worker.log.info("is ready")
"""

NGINX = """
pid {folder}/nginx.pid;
error_log stderr;
daemon off;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/app.conf;
}}
"""
"""What Debian's nginx.conf is to the files of its conf.d."""


class LacksProgramError(Exception):
    """A command of a page needs a program that is not installed."""


def blocks(page):
    """Return the language and the text of every fenced block."""
    return FENCE.findall(page.read_text())


def settled(text):
    """Return `text` without what differs from run to run."""
    for pattern, stable in UNSTABLE:
        text = pattern.sub(stable, text)
    return text.strip()


def pattern_of(expected):
    """Return the pattern of an expected text: ``...`` stands for anything."""
    return ".*".join(re.escape(part) for part in settled(expected).split("..."))


class Page:
    """Runs the blocks of a page."""

    def __init__(self, folder, certificate):
        self.folder = folder
        self.source = folder / "app.py"
        self.log = folder / "log"
        self.log.touch()
        self.server = None
        self.proxy = None
        self.ports = {}
        self.held = contextlib.ExitStack()
        for path, name in zip(certificate, ("cert.pem", "key.pem"), strict=True):
            shutil.copy(path, folder / name)
        (folder / "half-a-head").write_text("GET / HT")
        # gunicorn listens before its worker has loaded the application, whose settings may concern
        # the listener; this is said when it has.
        self.ready = folder / "ready.conf.py"
        self.ready.write_text(READY)

    @property
    def environ(self):
        return os.environ | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONUNBUFFERED": "1",
            "GUNICORN_CMD_ARGS": f"--no-control-socket -b 127.0.0.1:{self.port('8000')} "
            f"--config {self.ready}",
            "FLASK_RUN_PORT": self.port("5000"),
        }

    def port(self, written):
        """Return the port that stands for one which the page names; it is held until `close`."""
        if written not in self.ports:
            self.ports[written] = str(self.held.enter_context(held_port()))
        return self.ports[written]

    def with_ports(self, word):
        return ADDRESS.sub(lambda found: found[1] + self.port(found[2]), word)

    def file(self, name, text):
        """Write a block that is a file."""
        text = self.with_ports(text)
        if name.endswith(".service"):  # systemd looks for the program, and for the user
            text = text.replace(HOME, str(Path(sys.executable).parent))
            text = text.replace("User=www-data", f"User={getpass.getuser()}")
        (self.folder / name).write_text(text)
        if name == "Dockerfile":
            self.dockerfile(text)

    def dockerfile(self, text):
        """Check that what a Dockerfile copies is there, and that its command serves."""
        lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).splitlines()
        known = r"(FROM|WORKDIR|COPY|RUN|USER|STOPSIGNAL|EXPOSE|ENV|CMD) .+"
        assert [line for line in lines if not re.fullmatch(known, line)] == []
        (self.folder / "requirements.txt").write_text("Flask-RawSocket[gunicorn]\n")
        for line in lines:
            if line.startswith("COPY"):
                sources = line.split()[1:-1]
                assert [each for each in sources if not (self.folder / each).exists()] == []
        command = json.loads(next(line for line in lines if line.startswith("CMD"))[3:])
        self.start([each.replace("0.0.0.0", "127.0.0.1") for each in command])
        self.stop()

    def python(self, text):
        before = "" if "Flask(__name__)" in text and "def " in text else self.so_far()
        self.source.write_text(self.with_ports(before + text))
        done = self.run([sys.executable, "-W", "error", self.source])
        assert done.returncode == 0, done.stderr

    def so_far(self):
        return self.source.read_text() + "\n" if self.source.exists() else ""

    def console(self, text):
        logged, *commands = re.split(r"^\$ ", text, flags=re.MULTILINE)
        for line in logged.splitlines():
            self.logged(line)
        for each in commands:
            line, _, expected = each.partition("\n")
            self.command(shlex.split(line), expected)

    def command(self, words, expected):
        match words:
            case ["make", *targets]:
                subprocess.run(["make", "-n", *targets], cwd=ROOT, check=True, capture_output=True)
            case ["pip", "install", spec]:
                self.installs(spec)
            case ["gunicorn", *_] | ["flask", "run", *_] | ["flask", "rawsocket", "run", *_]:
                self.start(words)
            case ["python", "serve.py"] | ["python", "-m", "flask_rawsocket.waitress", *_]:
                self.start([sys.executable, *words[1:]])
            case ["nginx" | "haproxy", *_]:
                self.stand_before(words)
            case ["openssl", *_] | ["systemd-analyze", "verify", *_]:
                self.says_nothing(words, expected)
            case ["kill", "$(cat", "app.pid)"]:
                assert int((self.folder / "app.pid").read_text()) == self.server.pid
                self.stop()
            case _:
                self.shows(self.as_run(words), expected)

    def as_run(self, words):
        """Return how a command is run whose output the page shows."""
        match words:
            case ["curl", *arguments]:
                return ["curl", "--silent", "--show-error", *arguments]
            case ["flask", "rawsocket", "ss", *_] | ["pytest", *_]:
                return words
            case ["python", *script]:
                return [sys.executable, "-W", "error", *script]
        raise AssertionError(f"no test knows how to run {shlex.join(words)}")

    def installs(self, spec):
        """Check that the checkout, with the extras that `spec` names, can be asked for."""
        found = re.fullmatch(r"(?:\.|Flask-RawSocket)\[([\w,]+)\]", spec)
        assert found, spec
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert set(found[1].split(",")) <= set(project["optional-dependencies"])

    def start(self, words):
        self.stop()
        words = [self.with_ports(each) for each in words]
        if "--port" in words:
            where = words.index("--port") + 1
            words[where] = self.port(words[where])
        self.log.write_bytes(b"")
        self.server = self.begin(words, self.log)
        wait_for(self.is_up, f"{shlex.join(words)} to start")

    def begin(self, words, log):
        with log.open("wb") as output:
            return subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def is_up(self):
        """Tell whether the server listens, by its log: a connection would be counted.

        All workers are waited for: one that is still starting does not hear that it is to stop.
        """
        text = self.log.read_text()
        assert self.server.poll() is None, text
        config = self.folder / "gunicorn.conf.py"
        written = config.read_text() if config.exists() else ""
        asked = re.search(r"^workers = (\d+)", written, re.MULTILINE)
        if "CTRL+C" in text or "Serving on" in text:
            return True
        return text.count("is ready") >= int(asked[1] if asked else 1)

    def stand_before(self, words):
        """Run a proxy before the server, in place of the one that is there."""
        _needs(words[0])
        self.end_proxy()
        if words == ["nginx", "-s", "reload"]:
            config = self.folder / "nginx.conf"
            config.write_text(NGINX.format(folder=self.folder))
            words = ["nginx", "-e", "stderr", "-c", config]
        else:
            assert words[:2] == ["haproxy", "-f"]
            words = [*words, "-db"]
        log = self.folder / "proxy.log"
        self.proxy = self.begin(words, log)

        def answers():
            assert self.proxy.poll() is None, log.read_text()
            address = f"http://127.0.0.1:{self.port('8080')}/"
            command = ["curl", "--silent", "--fail", "--output", os.devnull, address]
            return subprocess.run(command, timeout=PATIENCE, check=False).returncode == 0

        wait_for(answers, f"{words[0]} to pass on a request")

    def run(self, command):
        _needs(str(command[0]))
        return subprocess.run(
            [self.with_ports(str(each)) for each in command],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def shows(self, command, expected):
        """Run `command`, and check that it prints what the page says."""
        done = self.run(command)
        assert done.returncode == 0, done.stderr + self.log.read_text()
        assert expected.strip(), "a request whose answer the page does not show"
        assert re.fullmatch(pattern_of(expected), settled(done.stdout), re.DOTALL), (
            done.stdout + self.log.read_text()
        )

    def says_nothing(self, command, expected):
        """Run a command of which the page shows no output."""
        assert expected == ""
        done = self.run(command)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr

    def logged(self, line):
        wait_for(
            lambda: re.search(pattern_of(line), settled(self.log.read_text())), f"{line!r} logged"
        )

    def stop(self):
        """End the server by its own process id; it must end well, or by that signal."""
        self.end_proxy()
        if self.server is None:
            return
        server, self.server = self.server, None
        status = _ended(server)
        assert status in {0, -15}, self.log.read_text()

    def end_proxy(self):
        if self.proxy is not None:
            proxy, self.proxy = self.proxy, None
            _ended(proxy)

    def close(self):
        with self.held:
            self.stop()


def _needs(program):
    if shutil.which(program) is None and not Path(program).exists():
        raise LacksProgramError(program)


def _ended(process):
    """End `process` by its own process id; return its status."""
    process.terminate()
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
