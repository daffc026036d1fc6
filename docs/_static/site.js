// What axe-core misses in the theme: names of its regions, levels of its headings, and what scrolls
// sideways within reach of the keyboard.

const NAMES = { ".sidebar-drawer": "Site", ".toc-drawer": "On this page" };
const SCROLLS = ".table-wrapper, .highlight pre, .state-diagram-container";

function name() {
  for (const [where, text] of Object.entries(NAMES))
    document.querySelector(where)?.setAttribute("aria-label", text);
  for (const each of document.querySelectorAll(".caption[role=heading]"))
    each.setAttribute("aria-level", "2");
}

function reach() {
  for (const each of document.querySelectorAll(SCROLLS)) {
    const scrolls = each.scrollWidth > each.clientWidth;
    each.toggleAttribute("tabindex", scrolls);
    if (scrolls) each.tabIndex = 0;
  }
}

addEventListener("DOMContentLoaded", () => (name(), reach()));
addEventListener("load", reach);
addEventListener("resize", reach);
