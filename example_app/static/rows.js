// The rows of the tables, as templates/rows.html makes them. All text is set as text: no markup.

import { age, milliseconds } from "./units.js";

export function element(tag, name, ...inside) {
  const made = document.createElement(tag);
  made.className = name;
  made.append(...inside);
  return made;
}

const cell = (text, name = "") => element("td", name, text);

export const badge = (state) => element("span", `state ${state.toLowerCase()}`, state);

export const transport = (conn) => (conn.is_unix ? "UNIX" : "TCP") + (conn.is_tls ? " + TLS" : "");

export const peer = ({ peer }) => peer ? `${peer.user} (uid ${peer.uid}, pid ${peer.pid})` : "-";

export function liveRow(conn, current) {
  return element(
    "tr", conn.id === current.id ? "current" : "",
    cell(conn.id, "number wide"), cell(conn.key, "mono"), cell(badge(conn.state)),
    cell(transport(conn), "wide"), cell(peer(conn), "wide"),
    cell(conn.local_address, "mono wide"), cell(conn.requests, "number wide"),
    cell(milliseconds(conn.tcp?.rtt), "number"), cell(age(conn.age), "number wide"),
  );
}

export function moreRow(count) {
  const all = cell(`and ${count} more`, "none");
  all.colSpan = 9;
  return element("tr", "", all);
}

export function closedRow(conn) {
  return element(
    "tr", "",
    cell(conn.id, "number wide"), cell(conn.key, "mono"), cell(conn.close_reason, "mono"),
    cell(transport(conn), "wide"), cell(peer(conn), "wide"),
    cell(conn.requests, "number wide"), cell(age(conn.age), "number"),
  );
}

export const peerRow = (conn) => element(
  "li", "", element("b", "", conn.peer.user ?? "?"), ` uid ${conn.peer.uid}, pid ${conn.peer.pid} `,
  badge(conn.state),
);
