// Ask for the list once a second. The browser keeps its connection, so the request number grows.
"use strict";

const url = document.currentScript.dataset.url;
const live = document.getElementById("live");

function cell(text, name) {
  const td = document.createElement("td");
  td.className = name || "";
  td.append(text);
  return td;
}

function badge(state) {
  const span = document.createElement("span");
  span.className = `state ${state.toLowerCase()}`;
  span.textContent = state;
  return span;
}

const transport = (conn) => (conn.is_unix ? "UNIX" : "TCP") + (conn.is_tls ? " + TLS" : "");

function rtt(conn) {
  const seconds = conn.tcp?.rtt ?? null;
  return seconds === null ? "-" : `${(1000 * seconds).toFixed(3)} ms`;
}

const seconds = (age) => `${age.toFixed(1)} s`;

function row(...cells) {
  const tr = document.createElement("tr");
  tr.append(...cells);
  return tr;
}

function liveRow(conn, current) {
  const tr = row(
    cell(conn.id, "number"), cell(conn.key, "mono"), cell(badge(conn.state)),
    cell(transport(conn)), cell(conn.local_address, "mono"),
    cell(conn.requests, "number"), cell(rtt(conn), "number"), cell(seconds(conn.age), "number"),
  );
  if (conn.id === current.id) tr.className = "current";
  return tr;
}

function closedRow(conn) {
  return row(
    cell(conn.id, "number"), cell(conn.key, "mono"), cell(conn.close_reason, "mono"),
    cell(transport(conn)), cell(conn.requests, "number"), cell(seconds(conn.age), "number"),
  );
}

function show({ current, connections, closed, pid, members, busy, work }) {
  const values = {
    ...current,
    ...work,
    pid,
    members,
    busy,
    age: seconds(current.age),
    count: connections.length,
    opened: `${current.opened_at.slice(0, 19).replace("T", " ")} UTC`,
    state: badge(current.state),
    transport: transport(current),
  };
  for (const element of document.querySelectorAll("[data-value]")) {
    element.replaceChildren(values[element.dataset.value]);
  }
  document.getElementById("connections").replaceChildren(
    ...connections.map((conn) => liveRow(conn, current)));
  if (closed.length) {
    document.getElementById("closed").replaceChildren(...closed.map(closedRow));
  }
}

async function refresh() {
  try {
    const response = await fetch(url, { cache: "no-store" });
    show(await response.json());
    live.textContent = "live";
    live.className = "on";
  } catch {
    live.textContent = "the server does not answer";
    live.className = "off";
  }
  setTimeout(refresh, 1000);
}

refresh();
