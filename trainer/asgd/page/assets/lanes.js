// The lanes: a row a worker, coloured by what it does; flags for what happened to it; a line for what happened to all.
const WINDOWS = [[60, "1 min"], [300, "5 min"], [900, "15 min"], [0, "all"]];
const FLAGS = {
  joined: ["up", "flag-good", "joined"], left: ["ring", "flag-good", "left"], lost: ["cross", "flag-bad", "died or lost"],
  hung: ["diamond", "flag-bad", "hung"], rejected: ["down", "flag-bad", "rejected"], term: ["square", "mark", "new term of a server"],
};
const ILL = new Set(["stalled", "hung", "lost"]);
const ORDER = [0, 2, 1, 3];  // in a row from the bottom: compute, push, data, wait

class Lanes {
  constructor() {
    this.span = 60; this.cursor = null;
    this.choose = chooser("window", WINDOWS, 60, (value) => { this.span = value; this.draw(this.state); });
    const names = { compute: "compute", data: "read data", push: "push (and pull at once)", wait: "pull or wait" };
    put("phases", ...PHASES.map((phase) => el("span", {}, el("i", { style: `background: var(--${phase})` }), names[phase])),
      el("span", {}, el("i", { style: "border-color: var(--line)" }), "away"), el("span", {}, el("i", { style: "background: var(--bad); height: 4px" }), "no progress"),
      ...Object.values(FLAGS).map(([kind, tone, name]) => el("span", {}, glyph(kind, tone), name)));
    const plot = $("lanes-plot");
    plot.addEventListener("pointermove", (event) => this.point(event));
    plot.addEventListener("pointerdown", (event) => this.point(event));
    plot.addEventListener("pointerleave", () => { this.cursor = null; this.draw(this.state); });
    plot.addEventListener("keydown", (event) => this.key(event));
  }
  height(count) { return count <= 24 ? 24 : count <= 60 ? 14 : count <= 150 ? 7 : count <= 320 ? 2 : 1; }
  range() {
    const state = this.state, newest = state.over ? state.t : Math.max(state.lanes.settled, state.t - 3);
    if (!this.span) return this.whole(newest);
    const span = this.span;
    return [Math.max(0, newest - span), newest < span ? Math.max(20, newest) : newest];
  }
  whole(newest) {  // from the first worker on: what was before is the start of the processes
    const first = [...this.state.livesOf.values()].reduce((least, lives) => Math.min(least, ...lives.map(([, joined]) => joined)), newest);
    return [Math.min(Math.max(0, first - 1), Math.max(0, newest - 10)), Math.max(10, newest)];
  }
  draw(state) {
    this.state = state;
    if (!state) return;
    const workers = (this.workers = state.workersShown), each = (this.each = this.height(workers.length)), gap = each >= 7 ? 3 : each > 2 ? 1 : 0;
    const top = (this.top = 20), height = top + Math.max(1, workers.length) * (each + gap) + 22;
    const [c, width] = canvas("lanes", height), left = (this.left = workers.length > 150 ? 34 : 62);
    const [from, to] = this.range(), scale = (width - left - 6) / Math.max(1e-9, to - from);
    Object.assign(this, { from, to, scale, gap, width });
    const tones = PHASES.map(colour), x = (t) => left + (t - from) * scale;
    const ill = workers.map((worker) => ILL.has((state.byWorker.get(worker) || [])[1])), apart = Math.ceil(14 / (each + gap));
    this.axis(c, x, from, to, top, height, width);
    workers.forEach((worker, at) => this.lives(c, state.livesOf.get(worker) || [], x, from, to, top + at * (each + gap), each));
    if (each < 5) this.thin(c, x, from, to, tones);
    workers.forEach((worker, at) => {
      const y = top + at * (each + gap);
      const rows = state.rowsOfLanes.get(worker);
      if (rows && each >= 5) this.letters(c, rows, x, from, to, y, each, tones);
      if (ill[at]) this.idle(c, state, worker, x, from, to, y + each);
      // Who is in trouble has a name among however many; others beside it have none.
      const named = each >= 7 || (at % apart === 0 && !ill.slice(Math.max(0, at - apart + 1), at + apart).some(Boolean));
      if (ill[at] && each < 7) { c.fillStyle = colour("bad"); c.fillRect(left - 5, y - 1, 4, each + 2); }
      if (named || ill[at]) {
        c.fillStyle = colour(ill[at] ? "bad" : "muted"); c.textAlign = "right"; c.textBaseline = "middle";
        c.fillText(each >= 14 ? "worker " + worker : worker, left - 7, y + each / 2);
      }
    });
    this.flags(c, state, x, from, to, top, height);
    if (this.cursor) this.showCursor(c, x, y0(this), height);
  }
  idle(c, state, worker, x, from, to, bottom) {  // a worker that hangs is busy by its own account
    const row = state.byWorker.get(worker), idle = state.field(row, "state") === "stalled" ? state.field(row, "idle") : 0, begin = Math.max(from, Math.min(to, state.t - idle));
    c.fillStyle = colour("bad");
    const tall = this.each >= 5 ? 4 : this.each + 2;
    if (idle) c.fillRect(x(begin), bottom - tall + (this.each < 5), x(to) - x(begin), tall);
  }
  axis(c, x, from, to, top, height, width) {
    const step = timeStep(to - from, width);
    c.textAlign = "center"; c.textBaseline = "alphabetic";
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      c.fillStyle = colour("line"); c.fillRect(Math.round(x(t)), top - 4, 1, height - top - 14);
      c.fillStyle = colour("muted"); if (x(t) < width - 14) c.fillText(clock(t), x(t), height - 4);
    }
  }
  lives(c, lives, x, from, to, y, each) {
    c.fillStyle = colour("alive");
    for (const [, joined, ended] of lives) {
      const begin = Math.max(from, joined), end = Math.min(to, ended ?? to);
      if (end > begin) c.fillRect(x(begin), y + each * 0.42, (end - begin) * this.scale, Math.max(1, each * 0.16));
    }
  }
  letters(c, rows, x, from, to, y, each, tones) {
    const row = to - from <= 121 && rows.fine.letters ? rows.fine : to - from <= 901 && rows.second.letters ? rows.second : rows.coarse;
    const step = row.seconds, wide = Math.max(1, step * this.scale), merge = Math.max(1, Math.round(1 / (step * this.scale)));
    for (let slot = Math.max(row.start, Math.floor(from / step)); slot < Math.min(row.stop, to / step); slot += merge) {
      const letter = merge > 1 ? together(row.letters.slice(slot - row.start, slot - row.start + merge)) : row.at(slot), mix = MIXES[letter];
      if (!mix) continue;
      const begin = Math.max(x(from), x(slot * step)), width = Math.max(1, wide * merge - (begin - x(slot * step))) + 0.4;
      let bottom = y + each;
      for (const phase of ORDER) {
        if (!mix[phase]) continue;
        const part = (each * mix[phase]) / LEVELS;
        bottom -= part; c.fillStyle = tones[phase]; c.fillRect(begin, bottom, width, part + 0.3);
      }
    }
  }
  thin(c, x, from, to, tones) {  // hundreds of rows, too thin for parts: the mean colour of each slot, painted as one picture
    const kind = to - from <= 121 ? "fine" : to - from <= 901 ? "second" : "coarse", rows = this.workers.map((worker) => (this.state.rowsOfLanes.get(worker) || {})[kind]);
    const step = (rows.find(Boolean) || { seconds: 1 }).seconds, merge = Math.max(1, Math.round(1 / (step * this.scale))), tall = this.each + this.gap;
    const first = Math.floor(from / step / merge) * merge, count = Math.max(1, Math.ceil((to / step - first) / merge));
    const image = new ImageData(count, Math.max(1, rows.length * tall)), pixels = new Uint32Array(image.data.buffer);
    rows.forEach((row, at) => {
      for (let column = 0; row && column < count; column++) {
        const slot = first + column * merge - row.start;
        if (slot + merge <= 0 || slot >= row.letters.length) continue;
        const letter = merge > 1 ? together(row.letters.slice(Math.max(0, slot), slot + merge)) : row.letters[slot];
        const pixel = MIXES[letter] ? this.blend(letter, tones) : 0;
        for (let line = 0; pixel && line < this.each; line++) pixels[(at * tall + line) * count + column] = pixel;
      }
    });
    const picture = (this.picture ||= document.createElement("canvas"));
    picture.width = count; picture.height = image.height;
    picture.getContext("2d").putImageData(image, 0, 0);
    c.save(); c.beginPath(); c.rect(this.left, this.top, this.width - this.left - 6, image.height); c.clip();
    c.imageSmoothingEnabled = false; c.drawImage(picture, x(first * step), this.top, count * merge * step * this.scale, image.height); c.restore();
  }
  blend(letter, tones) {  // as a pixel
    if (this.blended !== tones.join()) { this.blended = tones.join(); this.blends = {}; this.rgb = tones.map(rgb); }
    return (this.blends[letter] ??= ((mix) => {
      const [r, g, b] = [0, 1, 2].map((channel) => Math.round(mix.reduce((sum, part, phase) => sum + part * this.rgb[phase][channel], 0) / mix.reduce((sum, part) => sum + part, 0)));
      return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    })(MIXES[letter]));
  }
  flags(c, state, x, from, to, top, height) {
    for (const moment of state.moments) {
      const flag = FLAGS[moment.kind];
      if (!flag || moment.t < from || moment.t > to) continue;
      c.fillStyle = c.strokeStyle = colour(flag[1]);
      if (moment.worker === undefined) {
        c.fillRect(Math.round(x(moment.t)), top - 8, 1.5, height - top - 12);
        shape(c, flag[0], x(moment.t), top - 10, 4); c.textAlign = "left"; c.fillText(moment.kind === "term" ? "shard " + moment.shard : "", x(moment.t) + 7, top - 7);
        continue;
      }
      const at = this.workers.indexOf(moment.worker), y = top + at * (this.each + this.gap) + this.each / 2, r = Math.min(5, Math.max(2.5, this.each / 3.4));
      if (this.each < 5 && flag[1] !== "flag-bad") { c.fillRect(x(moment.t), y - this.each / 2, 2, this.each); continue; }
      c.save(); c.strokeStyle = c.fillStyle = colour("card"); c.beginPath(); c.arc(x(moment.t), y, r + 2.5, 0, 7); c.fill(); c.restore();
      shape(c, flag[0], x(moment.t), y, r);
    }
  }
  point(event) {
    if (!this.state) return;
    const box = $("lanes").getBoundingClientRect(), t = this.from + (event.clientX - box.left - this.left) / this.scale;
    const at = Math.floor((event.clientY - box.top - this.top) / (this.each + this.gap));
    this.cursor = at >= 0 && at < this.workers.length && t >= this.from ? { at, back: this.to - t } : null;
    this.draw(this.state);
  }
  key(event) {
    const step = { ArrowLeft: [0, 1], ArrowRight: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || !this.state) return;
    event.preventDefault();
    const cursor = this.cursor || { at: 0, back: 0 }, jump = (this.to - this.from) / 60;
    this.cursor = { at: Math.min(this.workers.length - 1, Math.max(0, cursor.at + step[0])), back: Math.min(this.to - this.from, Math.max(0, cursor.back + step[1] * jump)) };
    this.draw(this.state);
  }
  showCursor(c, x, y, height) {
    const t = this.to - this.cursor.back, worker = this.workers[this.cursor.at];
    c.strokeStyle = colour("ink"); c.lineWidth = 1; c.strokeRect(x(t), y - 1, 0.5, this.each + 2);
    c.globalAlpha = 0.35; c.fillStyle = colour("ink"); c.fillRect(x(t), this.top, 1, height - this.top - 18); c.globalAlpha = 1;
    text("lanes-said", `${clock(t)}, worker ${worker}: ${this.words(worker, t)}`);
  }
  words(worker, t) {
    const rows = this.state.rowsOfLanes.get(worker), moments = this.state.moments.filter((each) => each.worker === worker && Math.abs(each.t - t) < 8 / this.scale).map((each) => each.text);
    let mix;
    for (const row of rows ? [rows.fine, rows.second, rows.coarse] : []) { mix = MIXES[row.at(Math.floor(t / row.seconds))]; if (mix) break; }
    const parts = mix ? PHASES.map((phase, at) => [mix[at], phase]).filter(([part]) => part).sort((a, b) => b[0] - a[0]).map(([part, phase]) => `${phase} ${Math.round((100 * part) / LEVELS)} %`) : [];
    const alive = (this.state.livesOf.get(worker) || []).some(([, joined, ended]) => joined <= t && (ended === null || ended >= t));
    return [...(parts.length ? parts : [alive ? "a member, its phases are not known" : "away"]), ...moments].join(", ");
  }
}
function y0(lanes) { return lanes.top + lanes.cursor.at * (lanes.each + lanes.gap); }
