"""Where `flask rawsocket ss` reads rows, and what it says where there are none."""

from __future__ import annotations

import pytest
from listing import answering, failure, holding, serving, ss, table
from servers import held_port

from flask_rawsocket import _ss
from flask_rawsocket._ss import _endpoint


def test_url_without_a_path(site):
    """A URL that is only a host means the default path there."""
    assert table(ss(site.url).output)


def test_default_url():
    """Without a URL it is where the example application is."""
    assert str(_ss.Endpoint()) == "http://127.0.0.1:8000/api/connections"


def test_unix_socket(tmp_path):
    """`--unix-socket` reaches an application that has no port."""
    with serving(f"unix://{tmp_path}/s") as site, holding(site) as (_client, conn):
        output = ss("--unix-socket", site.address, "http://localhost/api/connections").output
        rows = {row[1]: row for row in table(output)}
        assert rows[conn.key][0] == "ACTIVE"
        assert rows[conn.key][3:7] == ["-", "-", "-", "-"]


@pytest.mark.parametrize("unix", [False, True])
def test_tls(tmp_path, certificate, unix):
    """HTTPS works on a port and on a UNIX socket; any certificate is taken when that is asked."""
    host = f"unix://{tmp_path}/s" if unix else "127.0.0.1"
    with serving(host, ssl_context=certificate) as site:
        url = "https://localhost" if unix else site.url.replace("http", "https")
        where = ["--unix-socket", site.address] if unix else []
        assert "--insecure accepts any" in failure(url, *where)
        assert table(ss(url, *where, "--insecure").output)


def test_trusted_certificate(certificate, monkeypatch):
    """A certificate that the system trusts needs no option."""
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with serving(ssl_context=certificate) as site:
        assert table(ss("https://localhost:{1}".format(*site.address)).output)


def test_password(site):
    """A user and a password in the URL are sent, and shown to nobody."""
    url = site.url.replace("//", "//me:pass%20word@")
    assert len(table(ss(f"{url}/guarded").output)) == 3
    sentence = failure(f"{url.replace('word', 'port')}/guarded")
    assert sentence == f"{site.url}/guarded answers 401 UNAUTHORIZED."


# Errors


def test_refused():
    """Where nobody listens, the sentence says so."""
    with held_port() as port:
        url = f"http://127.0.0.1:{port}/api/connections"
        assert failure(url) == f"Cannot read {url}: Connection refused."


def test_no_such_socket(tmp_path):
    """Nor behind a path."""
    sentence = failure("--unix-socket", f"{tmp_path}/s")
    assert sentence.endswith(f"by way of {tmp_path}/s: No such file or directory.")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/nowhere", "answers 404 NOT FOUND."),
        ("/broken", "answers 500 INTERNAL SERVER ERROR."),
        ("/moved", "answers 302 FOUND."),
    ],
)
def test_http_error(site, path, what):
    """Any answer but 200 is reported."""
    assert failure(site.url + path) == f"{site.url}{path} {what}"


def test_not_json(site):
    """A page is not JSON."""
    assert failure(f"{site.url}/text") == f"What {site.url}/text answers is not JSON."


@pytest.mark.parametrize("document", [{}, 5, None, "rows", [1], {"connections": {"a": {}}}])
def test_no_rows(site, document):
    """JSON may be something other than rows."""
    site.answer = document
    sentence = failure(f"{site.url}/rows")
    assert sentence == f"What {site.url}/rows answers is not a list of connections."


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000", "ftp://host/", "http://", "http://host:x/", "http://[::1", "connections"],
)
def test_no_url(url):
    """What is not an HTTP URL is refused before anything is sent."""
    assert failure(url).startswith(f"{url} is not a URL ")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@host:x/", "http://host:x/"),
        ("http://user:sec/ret@host/", "http://host/"),
        ("http://user:s@ecret@[::1", "http://[::1"),
        ("http:///user:secret@host", "http:///host"),
        ("https://user:secret@", "https://"),
        ("user:secret@host:8000/rows", "host:8000/rows"),
        ("FTP://user:secret@host/", "FTP://host/"),
        ("http://user:sec\nret@host:x/", "http://host:x/"),
    ],
)
def test_no_url_with_a_password(url, shown):
    """The password in a malformed URL is not shown."""
    assert failure(url).startswith(f"{shown} is not a URL ")


def test_a_password_at_the_wrong_place():
    """Nor is it shown if the URL is taken for the seconds of `--watch`."""
    result = ss("--watch", "http://user:secret@127.0.0.1/")
    assert "http://127.0.0.1/ is not a number of seconds: the URL comes before" in result.output
    assert "secret" not in result.output


@pytest.mark.parametrize("host", ["a..b", "a b", "x" * 70])
def test_no_host(host):
    """A host that cannot be one is told like any other that cannot be reached."""
    assert failure(f"http://{host}/").startswith(f"Cannot read http://{host}/: ")


def test_no_http():
    """A server that speaks another protocol is told as it came, but for what steers a terminal."""
    with answering(b"HTTP/\x1b[2J 200 OK\r\n\r\n") as url:
        sentence = failure(url)
    assert sentence.startswith(f"Cannot read {url}: ")
    assert "\x1b" not in sentence


def test_cut_off():
    """An answer that ends too early is an error."""
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[") as url:
        assert "IncompleteRead" in failure(url)


def test_no_unix_sockets(monkeypatch):
    """Where the system has no UNIX sockets, the option says so."""
    monkeypatch.setattr(_endpoint, "AF_UNIX", -1)
    assert failure("--unix-socket", "/s").endswith("this system has no UNIX sockets.")
