// A chart of the last minute: the round trip as a line, and a mark where segments were sent again.

import { time } from "./units.js";

const SPAN = 60_000; // milliseconds
const GAP = 2500; // without data for so long, the line is broken
const LEFT = 56, RIGHT = 8, TOP = 8, BOTTOM = 22, HEIGHT = 170;

function shape(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

// The next of 1, 2, 5, 10, 20, ... that is not below.
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((each) => each * power >= value * 0.9999);
}

export class Chart {
  constructor(svg) {
    this.svg = svg;
    this.points = [];
    this.id = null;
    new ResizeObserver(() => this.draw()).observe(svg);
  }

  add({ id, tcp }) {
    if (id !== this.id) this.points = []; // another connection
    this.id = id;
    const at = Date.now();
    const retrans = tcp?.total_retrans ?? 0;
    const again = this.points.length > 0 && retrans > this.points.at(-1).retrans;
    this.points.push({ at, rtt: tcp?.rtt ?? null, retrans, again });
    this.points = this.points.filter((each) => at - each.at <= SPAN);
    this.draw();
  }

  draw() {
    const measured = this.points.filter((each) => each.rtt !== null);
    if (!measured.length) return;
    const width = this.svg.clientWidth;
    const most = ceiling(Math.max(...measured.map((each) => each.rtt)) || 1e-6);
    const now = this.points.at(-1).at;
    const x = (at) => LEFT + (1 - (now - at) / SPAN) * (width - LEFT - RIGHT);
    const y = (rtt) => TOP + (1 - rtt / most) * (HEIGHT - TOP - BOTTOM);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(
      ...grid(x, y, most, now, width), ...lines(measured, x, y), ...marks(this.points, x));
    this.svg.setAttribute("aria-label", inWords(measured));
  }
}

function* grid(x, y, most, now, width) {
  for (const rtt of [0, most / 2, most]) {
    yield shape("line", { x1: LEFT, x2: width - RIGHT, y1: y(rtt), y2: y(rtt), class: "grid" });
    yield shape("text", { x: LEFT - 8, y: y(rtt) + 4, "text-anchor": "end" }, rtt ? time(rtt) : "0");
  }
  const anchors = { 60: "start", 30: "middle", 0: "end" };
  for (const [seconds, anchor] of Object.entries(anchors)) {
    const text = seconds === "0" ? "now" : `${seconds} s ago`;
    yield shape("text", { x: x(now - 1000 * seconds), y: HEIGHT - 4, "text-anchor": anchor }, text);
  }
}

function* lines(points, x, y) {
  let run = [];
  const runs = [run];
  for (const each of points) {
    if (run.length && each.at - run.at(-1).at > GAP) runs.push(run = []);
    run.push(each);
  }
  for (const each of runs) {
    const path = each.map(({ at, rtt }) => `${x(at).toFixed(1)},${y(rtt).toFixed(1)}`).join(" L");
    const ends = [each[0], each.at(-1)].map(({ at }) => x(at).toFixed(1));
    yield shape("path", { d: `M${ends[0]},${y(0)} L${path} L${ends[1]},${y(0)} Z`, class: "area" });
    yield shape("path", { d: `M${path}`, class: "line" });
  }
  const { at, rtt } = points.at(-1);
  yield shape("circle", { cx: x(at), cy: y(rtt), r: 3.5, class: "last" });
}

function* marks(points, x) {
  for (const { at } of points.filter((each) => each.again)) {
    yield shape("line", { x1: x(at), x2: x(at), y1: TOP, y2: HEIGHT - BOTTOM, class: "again" });
  }
}

function inWords(points) {
  const all = points.map((each) => each.rtt);
  const between = `between ${time(Math.min(...all))} and ${time(Math.max(...all))}`;
  return `Round trip over the last minute: now ${time(all.at(-1))}, ${between}`;
}
