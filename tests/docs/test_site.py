"""The documentation as a site: built without a warning, and looked at in a browser.

Wide and as narrow as a phone, light and dark: nothing is wider than the window, no script fails,
nothing is asked of another host, and axe-core finds nothing that a reader with a screen reader, a
keyboard or weak eyes would stumble over.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urljoin

import pytest
from browsing import browsing, needs_chromium
from looking import NARROW, OVERFLOWING, WIDE, complaints, show, violations
from servers import wait_for

pytest.importorskip("sphinx", reason="the group docs is not installed")

DOCS = Path(__file__).parent.parent.parent / "docs"
WORDS = (
    "pytest",
    "prometheus",
    "sse",
    "systemd",
    "docker",
    "uvicorn",
    "gevent",
    "nginx",
    "haproxy",
)
"""What a reader searches for first."""
SEEN = {
    (WIDE, "light"): ("index", "tutorial", "what-works-where", "api/errors"),
    (NARROW, "dark"): ("index", "deploying", "how-it-works", "search"),
}
"""How all pages are looked at, and the pages that axe-core looks at: each kind of page there is."""
LOOKED_AT = ("index", "tutorial", "troubleshooting", "what-works-where", "api/connection", "search")
"""The pages that are looked at in the other ways as well."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-n", "-q", "-b", "html"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, DOCS, folder],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and logs nothing."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def served(site):
    """The address of the site, on a server of its own."""
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def page(served, tmp_path_factory):
    """A page of a browser, which reports what it requests and what goes wrong."""
    with browsing(tmp_path_factory.mktemp("chromium"), f"{served}/index.html") as found:
        for domain in ("Page", "Runtime", "Log", "Network"):
            found.call(f"{domain}.enable")
        yield found


def names(site):
    """Return the names of all pages of the site that have a text of their own."""
    paths = (each.relative_to(site).with_suffix("") for each in site.rglob("*.html"))
    return sorted(str(each) for each in paths if not str(each).startswith("_"))


@needs_chromium
class TestInABrowser:
    """What a reader sees."""

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
    def test_every_page(self, page, site, served, size, scheme):
        """Nothing is wider than the window, no script fails, and no other host is asked."""
        wrong = []
        for name in names(site) if (size, scheme) in SEEN else LOOKED_AT:
            show(page, f"{served}/{name}.html", size, scheme)
            width = page.run("document.documentElement.scrollWidth")
            found = complaints(page, served) + page.run(OVERFLOWING)
            if found or width > size[0]:
                wrong.append(f"{name}: {width} pixels wide, {found}")
        assert "\n".join(wrong) == ""

    @pytest.mark.parametrize(("size", "scheme"), SEEN, ids=["wide", "narrow"])
    def test_axe(self, page, served, size, scheme):
        """axe-core finds nothing."""
        wrong = []
        for name in SEEN[size, scheme]:
            show(page, f"{served}/{name}.html", size, scheme)
            wrong += [f"{name}: {each}" for each in violations(page)]
        assert "\n".join(wrong) == ""

    @pytest.mark.parametrize("word", WORDS)
    def test_search(self, page, served, word):
        """The site's own search finds what readers look for."""
        show(page, f"{served}/search.html?q={word}", WIDE, "light")
        hits = "document.querySelectorAll('#search-results li a').length"
        wait_for(lambda: page.run(hits), f"a hit for {word}")
        assert complaints(page, served) == []

    def test_dark_mode(self, page, served):
        """The page is dark where its reader's system is, and the switch makes it light."""
        background = "getComputedStyle(document.body).backgroundColor"
        show(page, f"{served}/index.html", WIDE, "light")
        light = page.run(background)
        show(page, f"{served}/index.html", WIDE, "dark")
        dark = page.run(background)
        assert dark != light
        page.run("document.querySelector('.theme-toggle').click()")
        assert page.run("document.body.dataset.theme") == "light"
        assert page.run(background) == light
        page.run("localStorage.clear()")


@pytest.mark.parametrize("word", WORDS)
def test_index(site, word):
    """The index of the search has the word."""
    from sphinx.search.en import SearchEnglish  # noqa: PLC0415  where Sphinx is

    index = (site / "searchindex.js").read_text()
    terms = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)", index, re.DOTALL)[1])["terms"]
    assert SearchEnglish({}).stem(word) in terms


def test_navigation(site):
    """The navigation of every page has all that a person wrote, in groups."""
    sources = {
        each.relative_to(DOCS).with_suffix(".html").as_posix()
        for each in [*DOCS.glob("*.md"), *DOCS.glob("api/*.md")]
    }
    assert "api/errors.html" in sources
    for name in ("index.html", "servers.html", "api/errors.html"):
        html = (site / name).read_text()
        sidebar = html[html.index('class="sidebar-tree"') : html.index('<div class="main">')]
        listed = {urljoin(name, each) for each in re.findall(r'href="([^"#]*)', sidebar)}
        assert sources - listed - {"index.html"} == set(), name
        captions = re.findall(r'caption-text">([^<]*)<', sidebar)
        assert captions == ["First steps", "Guides", "Running it", "Reference", "Background"]


def test_links_into_the_api(site):
    """Plain code that is a name of the API is a link, and the dashboard can be downloaded."""
    api = "api/connection.html#flask_rawsocket.Connection.hijack"
    assert f'href="{api}"' in (site / "tutorial.html").read_text()
    (path,) = re.findall(
        r'href="([^"]*grafana-dashboard.json)"', (site / "monitoring.html").read_text()
    )
    assert json.loads((site / path).read_text())["panels"]


def test_nothing_is_loaded_from_elsewhere(site):
    """No page names a script, a style, an image or a font of another host."""
    loads = re.compile(
        r'<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)="((?:https?:)?//[^"]*)"'
    )
    for each in site.rglob("*.html"):
        assert loads.findall(each.read_text()) == [], each
    for each in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(?:https?:)?//|@import", each.read_text()) == [], each
