// Staleness: mean by worker and time on a logarithmic ramp, and the histogram of all accepted pushes with its bound.
const HEAT_LOWEST = 35, HEAT_STEP = 8;
function stalenessOf(letter) { return letter === " " ? null : 2 ** ((letter.charCodeAt(0) - HEAT_LOWEST) / HEAT_STEP) - 1; }
function rgb(hex) { return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)); }

class Heat {
  ramp() {
    const stops = ["heat0", "heat1", "heat2", "heat3"].map(colour).map(rgb);
    return (part) => {
      const at = Math.min(2.999, Math.max(0, part * 3)), low = Math.floor(at), rest = at - low;
      return `rgb(${stops[low].map((value, channel) => Math.round(value + (stops[low + 1][channel] - value) * rest)).join()})`;
    };
  }
  draw(state) {
    this.map(state);
    this.histogram(state);
  }
  map(state) {
    const heat = state.heat, workers = state.workersShown.filter((worker) => heat.rows[worker] !== undefined);
    const each = workers.length <= 16 ? 16 : workers.length <= 60 ? 7 : workers.length <= 200 ? 3 : 1, height = Math.max(60, workers.length * each) + 20;
    const [c, width] = canvas("heat", height), left = 30, pace = this.ramp();
    const values = workers.flatMap((worker) => [...heat.rows[worker]].map(stalenessOf)).filter((value) => value !== null);
    const most = (this.most = Math.max(state.about.bound || 0, values.reduce((a, b) => Math.max(a, b), 1)));
    const begin = Math.min(heat.columns - 1, ...workers.map((worker) => Math.max(0, heat.rows[worker].search(/[^ ]/)))), columns = Math.max(1, heat.columns - begin);
    const wide = (width - left) / columns, part = (value) => Math.log2(1 + value) / Math.log2(1 + most);
    workers.forEach((worker, at) => {
      [...heat.rows[worker]].forEach((letter, column) => {
        const value = stalenessOf(letter);
        if (value === null) return;
        c.fillStyle = pace(part(value)); c.fillRect(left + (column - begin) * wide, at * each, wide + 0.4, each > 3 ? each - 1 : each);
      });
      if (at % Math.ceil(14 / each) === 0) { c.fillStyle = colour("muted"); c.textAlign = "right"; c.textBaseline = "middle"; c.fillText(worker, left - 6, at * each + each / 2); }
    });
    const from = begin * heat.seconds, span = columns * heat.seconds, step = timeStep(span, width), x = (t) => left + ((t - from) / span) * (width - left);
    c.textBaseline = "alphabetic"; c.textAlign = "center"; c.fillStyle = colour("muted");
    for (let t = Math.ceil(from / step) * step; t <= from + span; t += step) if (x(t) < width - 12) c.fillText(clock(t), x(t), height - 4);
    put("heat-key", el("span", {}, "0"), el("i", { class: "ramp" }), el("span", {}, `${number(most, 2)} update${most === 1 ? "" : "s"}`));
    const latest = workers.map((worker) => [worker, stalenessOf(heat.rows[worker].trimEnd().slice(-1) || " ")]).filter(([, value]) => value !== null).sort((a, b) => b[1] - a[1])[0];
    $("heat").setAttribute("aria-label", latest ? `Staleness by worker and time; the stalest lately is worker ${latest[0]} with ${number(latest[1], 2)} updates` : "No push yet");
  }
  histogram(state) {
    const told = Object.entries((state.now || {}).stalenessHistogram || {}).map(([at, count]) => [Number(at), count]).sort((a, b) => a[0] - b[0]);
    const [c, width, height] = canvas("hist", 150), bound = state.about.bound, total = told.reduce((sum, [, count]) => sum + count, 0);
    if (!total) { text("hist-said", "no push was accepted yet"); return; }
    const last = Math.max(told[told.length - 1][0], bound || 0, 4), group = Math.ceil((last + 1) / 48), bars = new Array(Math.ceil((last + 1) / group)).fill(0);
    for (const [at, count] of told) bars[Math.floor(at / group)] += count;
    const most = Math.max(...bars), wide = (width - 8) / bars.length, base = height - 18;
    bars.forEach((count, at) => {
      const tall = count ? Math.max(1.5, (count / most) * (base - 14)) : 0;
      c.fillStyle = colour(bound !== null && at * group > bound ? "s1" : "compute"); c.fillRect(4 + at * wide + 0.5, base - tall, Math.max(1, wide - 1.5), tall);
      if (at % Math.ceil(26 / wide) === 0) { c.fillStyle = colour("muted"); c.textAlign = "center"; c.fillText(at * group, 4 + (at + 0.5) * wide, height - 4); }
    });
    if (bound !== null) {
      const x = 4 + ((bound + 1) / group) * wide;
      c.strokeStyle = c.fillStyle = colour("flag-bad"); c.setLineDash([5, 3]); c.lineWidth = 1.5; c.beginPath(); c.moveTo(x, 2); c.lineTo(x, base); c.stroke(); c.setLineDash([]);
      c.textAlign = x > width - 60 ? "right" : "left"; c.fillText("bound " + bound, x + (x > width - 60 ? -5 : 5), 12);
    }
    const s = state.now.staleness;
    text("hist-said", `mean ${number(s.mean, 3)}, median ${s.p50}, 99 % within ${s.p99}, most ${s.max}${bound === null ? "; no bound" : "; bound " + bound}`);
    $("hist").setAttribute("aria-label", "Histogram of staleness: " + $("hist-said").textContent);
  }
}
