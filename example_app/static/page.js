// Show what the feed tells: once a second the facts, and each change of state when it happens.

import { changed } from "./changes.js";
import { Chart } from "./chart.js";
import { follow } from "./follow.js";
import { dataCame } from "./fresh.js";
import { badge, closedRow, liveRow, moreRow, peerRow, transport } from "./rows.js";
import { age, bytes, segments, time } from "./units.js";

const MOST_PEERS = 4;
const chart = new Chart(document.getElementById("chart"));

function replace(id, rows) {
  if (rows.length) document.getElementById(id).replaceChildren(...rows);
}

function ofTCP(tcp) {
  return {
    rtt: time(tcp.rtt),
    min_rtt: time(tcp.min_rtt),
    rttvar: time(tcp.rttvar),
    rto: time(tcp.rto),
    cwnd: segments(tcp.snd_cwnd),
    total_retrans: segments(tcp.total_retrans),
    unacked: segments(tcp.unacked),
    congestion: tcp.congestion ?? "-",
    delivery_rate: tcp.delivery_rate ? `${bytes(tcp.delivery_rate)}/s` : "-",
    bytes_acked: bytes(tcp.bytes_acked),
    bytes_received: bytes(tcp.bytes_received),
  };
}

function show({ current, connections, closed, work, ...more }) {
  const values = {
    ...current,
    ...work,
    ...more,
    ...ofTCP(current.tcp ?? {}),
    age: age(current.age),
    state: badge(current.state),
    transport: transport(current),
  };
  for (const place of document.querySelectorAll("[data-value]")) {
    place.replaceChildren(values[place.dataset.value]);
  }
  chart.add(current);
  const rows = connections.map((conn) => liveRow(conn, current));
  if (more.count > rows.length) rows.push(moreRow(more.count - rows.length));
  replace("connections", rows);
  replace("closed", closed.map(closedRow));
  const peers = [...connections, ...closed].filter((conn) => conn.peer);
  replace("peers", peers.slice(0, MOST_PEERS).map(peerRow));
  dataCame();
}

const { facts, changes } = document.body.dataset;
follow({ [facts]: show, [changes]: changed });
