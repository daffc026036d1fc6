// The changes of state, the latest first.

import { badge, element, peer } from "./rows.js";

const MOST = 50;
const list = document.getElementById("changes");

export function changed(change) {
  list.querySelector(".none")?.remove();
  const line = element(
    "li", "", element("time", "quiet", change.at.slice(11, 23)), " ",
    element("span", "mono", change.key), " ",
  );
  if (change.old) line.append(badge(change.old), " → ");
  line.append(badge(change.new));
  if (change.reason) line.append(" ", element("span", "quiet mono", change.reason));
  if (change.peer) line.append(" ", element("span", "quiet", peer(change)));
  list.prepend(line);
  while (list.children.length > MOST) list.lastChild.remove();
}
