"""Look at a page in a browser: wide and as narrow as a phone, light and dark."""

from __future__ import annotations

import importlib.resources
import json

import pytest
from servers import wait_for

WIDE, NARROW = (1280, 900), (390, 844)

OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter((each) => {
    const box = each.getBoundingClientRect();
    if (!box.width || box.right <= innerWidth + 1) return false;
    for (let outer = each; outer; outer = outer.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(outer).overflowX)
          || getComputedStyle(outer).position === "fixed") return false;
    return true;
  })
  .map((each) => each.outerHTML.slice(0, 100))
"""
"""Elements that reach out of the window, and are not in one that scrolls."""


def show(page, url, size, scheme):
    """Load `url` in a window of that size, in the colours of that scheme."""
    width, height = size
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=width < 600,
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.call("Emulation.setEmulatedMedia", features=[feature])
    page.call("Page.navigate", url=url)
    loaded = f"location.href === {url!r} && document.readyState === 'complete'"
    wait_for(lambda: page.run(loaded), url)


def complaints(page, served):
    """Return what went wrong in the page since it was asked last, and forget it."""
    events, page.events[:] = page.events[:], []
    found = []
    for each in events:
        match each["method"], each["params"]:
            case "Runtime.exceptionThrown" | "Log.entryAdded", what:
                found.append(json.dumps(what))
            case "Runtime.consoleAPICalled", {"type": "error" | "warning" | "assert"} as what:
                found.append(json.dumps(what))
            case "Network.requestWillBeSent", {"request": {"url": url}}:
                if not url.startswith((served + "/", "data:", "blob:")):
                    found.append(f"asks for {url}")
    return found


def violations(page):
    """Return what axe-core finds wrong with the page, and the rules that it could not apply."""
    axe = pytest.importorskip("axe_core_python", reason="pip install axe-core-python")
    page.run(importlib.resources.files(axe).joinpath("axe.min.js").read_text())
    result = json.loads(page.run("axe.run().then((result) => JSON.stringify(result))"))
    found = [
        f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in result["violations"]
    ]
    # A colour that it cannot read, such as color-mix(), stops the rule without a word.
    if "color-contrast" not in {each["id"] for each in result["passes"]}:
        found.append("color-contrast was not looked at")
    return found
