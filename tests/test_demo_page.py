"""The demo's page in a browser: wide, narrow, light, dark, by keyboard, and when data stops."""

from __future__ import annotations

import os
import shutil
import signal
import socket

import pytest
from browsing import browsing, needs_chromium
from launching import launched
from looking import NARROW, OVERFLOWING, WIDE, complaints, show, violations
from servers import Client, wait_for

pytestmark = [
    pytest.mark.slow,
    needs_chromium,
    pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl: apt install openssl"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with launched(tmp_path_factory.mktemp("demo")) as found:
        yield found


@pytest.fixture(scope="module")
def page(demo, tmp_path_factory):
    """A page of a browser, which reports what it requests and what goes wrong."""
    with browsing(tmp_path_factory.mktemp("chromium"), "about:blank") as found:
        for domain in ("Page", "Runtime", "Log", "Network", "Security"):
            found.call(f"{domain}.enable")
        found.call("Security.setIgnoreCertificateErrors", ignore=True)
        yield found


def open_page(page, url, size=WIDE, scheme="light"):
    """Load the page, and wait until it is live."""
    show(page, f"{url}/", size, scheme)
    wait_for(lambda: page.text("#live") == "live", "the page to be live")
    wait_for(lambda: page.run("document.querySelector('#say input').disabled === false"), "chat")


@pytest.mark.parametrize(
    ("transport", "size", "scheme"),
    [
        ("tcp", WIDE, "light"),
        ("tcp", WIDE, "dark"),
        ("tcp", NARROW, "light"),
        ("tcp", NARROW, "dark"),
        ("tls", WIDE, "dark"),
        ("tls", NARROW, "light"),
    ],
)
def test_how_it_looks(page, demo, transport, size, scheme):
    """Nothing is wider than the window, no script fails, no other host is asked, axe is content."""
    url = demo.tls_url if transport == "tls" else demo.url
    page.events.clear()
    open_page(page, url, size, scheme)
    assert violations(page) + complaints(page, url) + page.run(OVERFLOWING) == []
    assert page.run("document.documentElement.scrollWidth") <= size[0]
    dark = page.run("getComputedStyle(document.body).backgroundColor") == "rgb(17, 20, 24)"
    assert dark is (scheme == "dark")


def test_what_it_shows(page, demo):
    """The round trip as a number and as a line, this connection's key, and what TLS there is."""
    open_page(page, demo.url)
    wait_for(lambda: page.run("document.querySelectorAll('#chart .line').length"), "the line")
    assert page.text("[data-value=rtt]").split()[1] in {"µs", "ms"}
    assert "Round trip over the last minute: now" in page.run("chart.getAttribute('aria-label')")
    assert page.text("[data-value=key]").startswith("127.0.0.1:")
    assert page.text(".current .mono") == page.text("[data-value=key]")
    assert "This connection has none" in page.text("body")
    open_page(page, demo.tls_url)
    assert "TLSv1.3" in page.text("body")
    assert "TCP + TLS" in page.text("[data-value=transport]")


def test_what_happens_elsewhere(page, demo):
    """A UNIX peer's user is shown, and its connection's states as they change."""
    open_page(page, demo.url)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(demo.unix)
    with Client(sock) as client:
        client.send(b"GET /api/connection HTTP/1.1\r\nHost: localhost\r\n\r\n")
        key = client.response().json["key"]
    ended = f"{key} IDLE → CLOSED PEER_CLOSED"
    wait_for(lambda: ended in (page.text("#changes") or ""), "the end of the connection")
    who = f"uid {os.getuid()}, pid {os.getpid()}"
    assert who in page.text("#changes")
    wait_for(lambda: who in page.text("#peers"), "the peer")


def test_markup(page, demo):
    """What others say is text, whatever it looks like."""
    open_page(page, demo.url)
    page.run("document.querySelector('#say input').value = '<img src=x onerror=alert(1)>'")
    page.run("document.querySelector('#say').requestSubmit()")
    wait_for(lambda: "<img src=x" in page.text("#said"), "what was said")
    assert page.run("document.querySelectorAll('img').length") == 0


class TestLive:
    """It says "live" only while data comes."""

    def test_a_server_that_hangs(self, page, demo):
        """It is stale soon after the worker has stopped, and live when it goes on."""
        open_page(page, demo.url)
        worker = int(page.text("[data-value=pid]"))
        os.kill(worker, signal.SIGSTOP)
        try:
            wait_for(lambda: page.text("#live") == "stale", "stale")
            age = page.text("#age").split()
            assert (age[0], int(age[1]) >= 3) == ("data", True)
            assert violations(page) == []
        finally:
            os.kill(worker, signal.SIGCONT)
        wait_for(lambda: page.text("#live") == "live", "live")

    def test_a_page_that_is_frozen(self, page, demo):
        """It is paused when the browser freezes it, and live again afterwards."""
        open_page(page, demo.url)
        page.call("Page.setWebLifecycleState", state="frozen")
        try:
            assert page.text("#live") == "paused"
        finally:
            page.call("Page.setWebLifecycleState", state="active")
            page.call("Emulation.setFocusEmulationEnabled", enabled=True)  # it was hidden, too
        wait_for(lambda: page.text("#live") == "live", "live")


def press(page, key, text=""):
    """Press a key."""
    code = {"Tab": 9, "Enter": 13}.get(key, 0)
    page.call(
        "Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code
    )
    page.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)


def test_by_keyboard(page, demo):
    """Tab reaches whatever can be done, and shows where it is; Enter does it."""
    open_page(page, demo.url)
    reached = []
    while "begin" not in reached:
        press(page, "Tab")
        outline = page.run("getComputedStyle(document.activeElement).outlineStyle")
        name = page.run("document.activeElement.id || document.activeElement.name")
        assert outline == "solid", name
        reached.append(name)
        assert len(reached) < 50
        if name == "text":
            page.call("Input.insertText", text="by keyboard")
            press(page, "Enter", "\r")
            wait_for(lambda: "by keyboard" in page.text("#said"), "what was said")
        if name == "ask":
            press(page, "Enter", "\r")
            wait_for(lambda: page.text("#answer").startswith("No"), "the answer")
    assert {"text", "ask", "changes"} <= set(reached)
