// Lets the keyboard reach what scrolls sideways: wide tables and long lines of code.
function mark() {
  for (const each of document.querySelectorAll(".table-wrapper, .highlight pre, .scrolls")) {
    if (each.scrollWidth > each.clientWidth) {
      each.tabIndex = 0;
      each.setAttribute("role", "group");
      each.setAttribute("aria-label", each.matches("pre") ? "Code" : "Table");
    } else {
      each.removeAttribute("tabindex");
      each.removeAttribute("role");
      each.removeAttribute("aria-label");
    }
  }
}

addEventListener("DOMContentLoaded", mark);
addEventListener("resize", mark);
