// What is known of the job: a snapshot, and the deltas that follow it. Mirrors trainer/asgd/page/model.py.
const PHASES = BOOT.phases.names, MIXES = BOOT.phases.mixes, LEVELS = BOOT.phases.levels, SLOT = BOOT.phases.slot;
const KEPT = { fine: 480, second: 900, coarse: 600, rows: 3200 };
const CODES = Object.fromEntries(Object.entries(MIXES).map(([letter, mix]) => [mix.join(), letter]));

function together(letters) {
  const sums = [0, 0, 0, 0];
  let known = 0;
  for (const letter of letters) {
    const mix = MIXES[letter];
    if (mix) { known++; for (let phase = 0; phase < 4; phase++) sums[phase] += mix[phase]; }
  }
  if (!known || 2 * known < letters.length) return " ";
  const exact = sums.map((part) => part / known), parts = exact.map(Math.floor);
  const rest = [0, 1, 2, 3].sort((a, b) => exact[b] - parts[b] - exact[a] + parts[a]);
  for (let at = 0, left = LEVELS - parts.reduce((a, b) => a + b); at < left; at++) parts[rest[at]]++;
  return CODES[parts.join()];
}

class Row {  // letters from slot `start` on
  constructor(seconds, most, told) { this.seconds = seconds; this.most = most; [this.start, this.letters] = told || [0, ""]; }
  get stop() { return this.start + this.letters.length; }
  put(slot, letters) {
    if (!this.letters) this.start = slot;
    if (slot < this.start) { letters = letters.slice(this.start - slot); slot = this.start; }
    if (slot - this.stop > this.most) { this.letters = ""; this.start = slot; }
    this.letters = this.letters.padEnd(slot - this.start) ;
    this.letters = this.letters.slice(0, slot - this.start) + letters + this.letters.slice(slot - this.start + letters.length);
    if (this.letters.length > this.most) { this.start += this.letters.length - this.most; this.letters = this.letters.slice(-this.most); }
  }
  at(slot) { return slot < this.start || slot >= this.stop ? " " : this.letters[slot - this.start]; }
}

class State {
  constructor(told) {
    Object.assign(this, told);
    this.heard = performance.now();
    this.rowsOfLanes = new Map();
    for (const [worker, [fine, second, coarse]] of Object.entries(told.lanes.rows))
      this.rowsOfLanes.set(Number(worker), this.rowsOf(fine, second, coarse));
    this.byWorker = new Map(told.workers.map((row) => [row[0], row]));
    this.livesOf = new Map(Object.entries(told.lives).map(([worker, lives]) => [Number(worker), lives]));
    this.known = new Set(this.moments.map((moment) => JSON.stringify([moment.t, moment.kind, moment.worker, moment.shard, moment.reason])));
  }
  rowsOf(fine, second, coarse) {
    return { fine: new Row(SLOT, KEPT.fine, fine), second: new Row(1, KEPT.second, second), coarse: new Row(this.lanes.coarseSeconds, KEPT.coarse, coarse) };
  }
  get workersShown() { return [...new Set([...this.byWorker.keys(), ...this.livesOf.keys()])].sort((a, b) => a - b); }
  field(row, name) { return row[this.workerFields.indexOf(name)]; }

  apply(delta) {
    this.heard = performance.now();
    this.t = delta.t;
    this.say = delta.say;
    if (delta.over) this.over = true;
    if (!delta.now) return;
    this.now = delta.now; this.waits = delta.waits; this.rates = delta.rates;
    this.addRow(delta.row);
    for (const row of delta.workers) this.byWorker.set(row[0], row);
    for (const [worker, lives] of Object.entries(delta.lives)) this.livesOf.set(Number(worker), lives);
    this.evaluations.push(...delta.evaluations);
    for (const moment of delta.moments) this.addMoment(moment);
    this.addLanes(delta.lanes);
    this.addHeat(delta.heat);
  }
  addRow(row) {
    const length = this.columns.t.length;
    for (const name of Object.keys(row)) if (!this.columns[name]) this.columns[name] = new Array(length).fill(null);
    for (const [name, column] of Object.entries(this.columns)) column.push(row[name] ?? null);
    if (length + 1 > KEPT.rows) for (const name of Object.keys(this.columns)) this.columns[name] = this.columns[name].filter((_, at) => at % 2 === 0);
  }
  addMoment(moment) {
    const key = JSON.stringify([moment.t, moment.kind, moment.worker, moment.shard, moment.reason]);
    if (this.known.has(key)) {
      const same = this.moments.findLast((each) => each.t === moment.t && each.kind === moment.kind && each.reason === moment.reason);
      if (same) Object.assign(same, moment);
      return;
    }
    this.known.add(key);
    this.moments.push(moment);
    if (this.moments.length > 600) this.moments.shift();
  }
  addLanes(told) {
    if (told.coarseSeconds !== this.lanes.coarseSeconds) {
      this.lanes.coarseSeconds = told.coarseSeconds;
      for (const rows of this.rowsOfLanes.values()) {
        const first = Math.floor(rows.coarse.start / 2), wider = new Row(told.coarseSeconds, KEPT.coarse, [first, ""]);
        for (let slot = first; slot < Math.ceil(rows.coarse.stop / 2); slot++) {
          const pair = rows.coarse.at(2 * slot) + rows.coarse.at(2 * slot + 1);
          wider.put(slot, together(pair.trim() || pair));
        }
        rows.coarse = wider;
      }
    }
    let settled = this.lanes.settled;
    for (const [worker, letters] of Object.entries(told.letters)) {
      if (!this.rowsOfLanes.has(Number(worker))) this.rowsOfLanes.set(Number(worker), this.rowsOf());
      const rows = this.rowsOfLanes.get(Number(worker)), begin = told.slot / 4;
      rows.fine.put(told.slot, letters);
      for (let at = 0; at < letters.length; at += 4) rows.second.put(begin + at / 4, together(letters.slice(at, at + 4)));
      settled = Math.max(settled, begin + letters.length / 4);
      const step = told.coarseSeconds;
      for (let slot = Math.floor(begin / step); slot < Math.floor(settled / step); slot++) {
        let part = "";
        for (let second = slot * step; second < (slot + 1) * step; second++) part += rows.second.at(second);
        if (part.trim()) rows.coarse.put(slot, together(part));
      }
    }
    this.lanes.settled = settled;
  }
  addHeat(told) {
    const heat = this.heat;
    if (told.seconds !== heat.seconds) {
      for (const worker of Object.keys(heat.rows)) heat.rows[worker] = heat.rows[worker].replace(/(.)(.?)/gs, (_, a, b) => (a === " " ? b || " " : a));
      heat.seconds = told.seconds;
    }
    heat.columns = told.column + 1;
    for (const [worker, letter] of Object.entries(told.letters)) {
      const row = (heat.rows[worker] || "").padEnd(told.column, " ");
      heat.rows[worker] = row.slice(0, told.column) + letter;
    }
  }
}
