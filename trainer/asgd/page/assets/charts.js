// Curves by uPlot, against time, samples, updates or bytes, with marks for what happened.
const AGAINST = [["t", "time"], ["samples", "samples"], ["updates", "updates"], ["bytes", "bytes"]];
const MARKS = { evaluation: ["evaluation", "circle"], checkpoint: ["checkpoint", "square"], trouble: ["death, rejection, refusal or restart", "cross"] };
const TROUBLES = new Set(["lost", "hung", "rejected", "term", "lostupdates", "rollback", "diverged"]);

class Charts {
  constructor() {
    this.x = "t"; this.log = false; this.plots = {}; this.shapes = {};
    chooser("against", AGAINST, "t", (value) => { this.x = value; this.draw(this.state, true); });
    this.scale = chooser("scale", [[false, "linear"], [true, "log"]], false, (value) => { this.log = value; this.chosen = true; this.draw(this.state, true); });
    put("marks", el("span", {}, glyph("square"), "checkpoint"), el("span", {}, glyph("cross"), "death, rejection, restart, loss of updates"), el("span", {}, glyph("diamond"), "went back or was started again"));
  }
  draw(state, anew) {
    this.state = state;
    if (!state) return;
    const now = state.now || {}, lost = now.stopReason === "diverged" || (now.updates > 0 && now.loss === null);
    if (lost && !this.chosen) { this.scale(true); return; }  // a loss that went beyond all bounds would hide the rest
    const columns = state.columns, xs = columns[this.x] || [], scalars = Object.keys(columns).filter((name) => name.startsWith("scalar."));
    const order = this.monotone(xs);
    const take = (name) => order.map((at) => (columns[name] || [])[at] ?? null);
    const x = order.map((at) => xs[at]);
    this.plot("loss", [x, take("loss"), ...scalars.map(take)], ["loss", ...scalars.map((name) => name.slice(7))], anew, this.log, true);
    this.plot("rate", [x, take("rate")], ["samples/s"], anew);
    this.plot("stale", [x, take("staleness")], ["staleness"], anew, false, false, state.about.bound);
    const names = [...new Set(state.evaluations.flatMap((point) => Object.keys(point.metrics)))].slice(0, 4);
    if (anew || this.named !== names.join()) {
      this.named = names.join();
      put("metrics-name", ...(names.length > 1 ? names.map((name, at) => el("span", {}, el("i", { style: `border-top: 2px ${at ? "dashed" : "solid"} var(--s${at % 4})` }), name + " ")) : [names[0] || "metrics: no evaluation yet"]));
    }
    const points = [...state.evaluations].sort((a, b) => a[this.x] - b[this.x]);
    this.plot("metrics", [points.map((point) => point[this.x]), ...names.map((name) => points.map((point) => point.metrics[name] ?? null))], names, anew, false, true);
  }
  monotone(xs) {  // a server that came back counts anew: uPlot takes rising values only
    const order = [];
    let last = -Infinity;
    xs.forEach((x, at) => { if (x !== null && x >= last) { order.push(at); last = x; } });
    return order;
  }
  plot(id, data, names, anew, log, marked, bound) {
    const shape = JSON.stringify([names, this.x, log, bound]);
    const node = $(id), width = node.clientWidth;
    if (!data[0].length || data.length < 2) return;
    if (anew || this.shapes[id] !== shape || !this.plots[id]) {
      this.plots[id]?.destroy();
      node.replaceChildren();
      this.plots[id] = new uPlot(this.options(id, names, width, node.clientHeight, log, marked, bound), data, node);
      this.shapes[id] = shape;
    } else {
      this.plots[id].setData(data);
      if (this.plots[id].width !== width) this.plots[id].setSize({ width, height: node.clientHeight });
    }
  }
  options(id, names, width, height, log, marked, bound) {
    const ink = colour("muted"), grid = { stroke: colour("line"), width: 1 }, small = "11px system-ui, 'DejaVu Sans', sans-serif";
    const format = (value) => (this.x === "t" ? clock(value) : this.x === "bytes" ? bytes(value) : compact(value));
    return {
      width, height, cursor: { y: false, sync: { key: id === "metrics" ? null : "asgd" } },
      legend: { show: false }, padding: [8, 18, 0, 0],
      scales: { x: { time: false }, y: { distr: log ? 3 : 1, range: id === "rate" || id === "stale" ? (u, low, high) => [0, Math.max(bound ? bound * 1.25 : 0, high * 1.1, 1)] : undefined } },
      axes: [
        { stroke: ink, grid: { show: false }, ticks: grid, font: small, size: 28, values: (u, splits) => splits.map(format), incrs: this.x === "t" ? STEPS : undefined },
        { stroke: ink, grid: { ...grid, filter: (u, splits) => splits.map((value) => (!log || Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9 ? value : null)) }, ticks: { show: false }, font: small, size: 52, values: (u, splits) => splits.map((value) => (value === null ? "" : compact(value))) },
      ],
      series: [
        { label: this.x === "t" ? "time" : this.x, value: (u, value) => (value === null ? "–" : format(value)) },
        ...names.map((name, at) => ({ label: name, stroke: colour("s" + (at % 4)), width: 2, dash: at ? [[], [6, 3], [2, 3], [8, 3, 2, 3]][at % 4] : undefined,
          points: { show: id === "metrics", size: 6 }, spanGaps: id === "stale" || id === "metrics", value: (u, value) => number(value) })),
      ],
      hooks: {
        setCursor: [(u) => { const at = u.cursor.idx; text(id + "-at", at === null || at === undefined ? "" : `${u.data.slice(1).map((row) => number(row[at])).join(", ")} at ${format(u.data[0][at])}`); }],
        draw: [(u) => { if (marked) this.marks(u); if (bound) this.bound(u, bound); }],
      },
    };
  }
  at(moment) {  // where a moment stands on the axis
    if (this.x === "t") return moment.t;
    const t = this.state.columns.t, values = this.state.columns[this.x];
    let low = 0, high = t.length - 1;
    while (low < high) { const middle = (low + high) >> 1; if (t[middle] < moment.t) low = middle + 1; else high = middle; }
    return values[low];
  }
  marks(u) {
    const ratio = devicePixelRatio || 1, bottom = u.bbox.top + u.bbox.height, c = u.ctx;
    c.save();
    let saved = -Infinity;
    for (const moment of this.state.moments) {
      const kind = moment.kind === "checkpoint" ? "square" : TROUBLES.has(moment.kind) ? (moment.kind === "rollback" ? "diamond" : "cross") : "";
      if (!kind) continue;
      const x = u.valToPos(this.at(moment), "x", true);
      if (!(x >= u.bbox.left && x <= u.bbox.left + u.bbox.width)) continue;
      if (kind === "square") { if (x - saved < 10 * ratio) continue; saved = x; }
      c.globalAlpha = kind === "square" ? 0.5 : 0.8;
      c.strokeStyle = c.fillStyle = kind === "square" ? colour("muted") : colour("flag-bad");
      if (kind !== "square") { c.setLineDash([3 * ratio, 3 * ratio]); c.beginPath(); c.moveTo(x, u.bbox.top); c.lineTo(x, bottom); c.stroke(); c.setLineDash([]); }
      shape(c, kind, x, bottom - 5 * ratio, 3.2 * ratio);
    }
    c.restore();
  }
  bound(u, bound) {
    const y = u.valToPos(bound, "y", true), c = u.ctx, ratio = devicePixelRatio || 1;
    c.save(); c.strokeStyle = c.fillStyle = colour("flag-bad"); c.lineWidth = 1.5 * ratio; c.setLineDash([6 * ratio, 4 * ratio]);
    c.beginPath(); c.moveTo(u.bbox.left, y); c.lineTo(u.bbox.left + u.bbox.width, y); c.stroke();
    c.font = 11 * ratio + "px system-ui, sans-serif"; c.textAlign = "left"; c.textBaseline = "alphabetic"; c.fillText("bound " + bound, u.bbox.left + 4 * ratio, y - 4 * ratio); c.restore();
  }
}
function compact(value) {
  const size = Math.abs(value);
  for (const [unit, word] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (size >= unit) return Number((value / unit).toPrecision(3)) + word;
  return String(Number(value.toPrecision(3)));
}
function shape(c, kind, x, y, r) {
  c.beginPath();
  if (kind === "square") { c.fillRect(x - r, y - r, 2 * r, 2 * r); return; }
  if (kind === "up") { c.moveTo(x, y - r); c.lineTo(x + r, y + r); c.lineTo(x - r, y + r); c.closePath(); c.fill(); return; }
  if (kind === "down") { c.moveTo(x, y + r); c.lineTo(x + r, y - r); c.lineTo(x - r, y - r); c.closePath(); c.fill(); return; }
  if (kind === "diamond") { c.moveTo(x, y - r * 1.2); c.lineTo(x + r * 1.2, y); c.lineTo(x, y + r * 1.2); c.lineTo(x - r * 1.2, y); c.closePath(); c.fill(); return; }
  if (kind === "ring") { c.lineWidth = r / 2; c.arc(x, y, r, 0, 7); c.stroke(); return; }
  c.lineWidth = Math.max(1.5, r / 2); c.moveTo(x - r, y - r); c.lineTo(x + r, y + r); c.moveTo(x + r, y - r); c.lineTo(x - r, y + r); c.stroke();
}
function glyph(kind, tone = kind === "square" ? "muted" : "flag-bad") {
  const paths = { square: "M2 2h8v8h-8z", cross: "M2 2l8 8M10 2l-8 8", diamond: "M6 1l5 5-5 5-5-5z", up: "M6 1l5 10h-10z", down: "M6 11l5-10h-10z", ring: "M6 2a4 4 0 1 0 .01 0z" };
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("width", 12); svg.setAttribute("height", 12); svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", paths[kind]);
  const line = kind === "cross" || kind === "ring";
  path.setAttribute("style", line ? `stroke: var(--${tone}); stroke-width: 2; fill: none` : `fill: var(--${tone})`);
  svg.append(path);
  return svg;
}
