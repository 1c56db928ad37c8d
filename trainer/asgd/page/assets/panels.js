// The words and tables: what is said first, who waits, workers, shards, data, losses, checkpoints, events, the job.
function fill(line, at) { return line ? line.replace("{}", at) : ""; }

function showHead(state) {
  const now = state.now || {};
  text("job", state.about.job);
  const where = { here: "asgd run", cluster: "AsgdJob", simulated: "simulated" }[state.about.where];
  text("sub", [now.algorithm, `${where}${state.about.folder ? " · " + state.about.folder : ""}`].filter(Boolean).join(" · "));
  const bad = state.say.findings.some((finding) => finding.tone === "bad");
  $("dot").className = "dot " + (bad ? "bad" : state.say.findings.length ? "warn" : now.phase === "running" ? "running" : "");
}

function showSay(state) {
  const now = state.now;
  text("line", state.say.line);
  const commands = state.about.commands;
  const shown = JSON.stringify(state.say.findings);
  if ($("findings").dataset.shown !== shown) {
    $("findings").dataset.shown = shown;
    put("findings", ...state.say.findings.map((finding) => el("li", { class: finding.tone },
      el("span", { class: "tone" }, finding.tone === "bad" ? "wrong" : "look"), el("b", {}, finding.text + ". "), finding.do,
      commands[finding.command] ? command(fill(commands[finding.command], finding.number ?? 0)) : null)));
  }
  if (!now) return;
  const bar = $("progress");
  bar.hidden = now.progress === null || now.progress === undefined;
  if (!bar.hidden) { bar.setAttribute("aria-valuenow", Math.round(100 * now.progress)); bar.firstChild.style.width = 100 * now.progress + "%"; }
  const alive = [...state.byWorker.values()].filter((row) => ["running", "stalled"].includes(state.field(row, "state"))).length;
  const over = now.phase === "finished" && now.seconds > 0, mean = over ? ", mean" : "";
  const speed = over ? now.samples / now.seconds : now.samplesPerSecond, pace = over ? now.updates / now.seconds : now.updatesPerSecond;
  const loads = (now.bytesSent + now.bytesReceived) || 0;
  put("figures", ...[
    ["loss", number(now.loss), ""],
    ...Object.entries(now.metrics || {}).slice(0, 3).map(([name, value]) => [name, number(value), now.best && now.best.metric === name ? "best " + number(now.best.value) : "at update " + whole(now.metricsAtUpdates)]),
    ["updates", whole(now.updates), pace ? number(pace, 3) + " a second" : ""],
    ["samples", whole(now.samples), now.epochs ? now.epochs.toFixed(1) + " epochs" : ""],
    ["speed", number(speed, 3), "samples/s" + mean],
    ["trained for", seconds(now.seconds), now.etaSeconds ? seconds(now.etaSeconds) + " left" : ""],
    ["workers", alive || (now.phase === "finished" ? "ended" : "0"), now.workersSeen ? now.workersSeen + " joined" : ""],
    ["staleness", number(now.staleness.mean, 3), "99 % within " + now.staleness.p99],
    ["traffic", bytes(loads), now.bytesSaved > 0 ? bytes(now.bytesSaved) + " saved by codecs" : "both ways"],
  ].map(([name, value, small]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, small ? el("small", {}, small) : null))));
}

function shareBar(shares) {
  return el("div", { class: "split", "aria-hidden": "true" }, ...[0, 2, 1, 3].map((phase) => el("i", { style: `width: ${100 * shares[phase]}%; background: var(--${PHASES[phase]})` })));
}

function showWaits(state) {
  const waits = Object.entries(state.waits || {}), shares = state.say.shares || [0, 0, 0, 0], parts = [];
  for (const [worker, others] of waits)
    parts.push(el("p", {}, el("b", {}, `worker ${worker}`), ` holds it open: ${plural(others.length, "worker")} wait${others.length === 1 ? "s" : ""} for it (${others.slice(0, 12).join(", ")}${others.length > 12 ? ", …" : ""})`));
  if (!waits.length) parts.push(el("p", { class: "muted" }, state.now && state.now.phase === "finished" ? "The job is over: nobody waits." : "In the last seconds nobody has waited for another worker."));
  const data = [...state.byWorker.values()].filter((row) => state.field(row, "waits") === "data").map((row) => row[0]);
  if (data.length) parts.push(el("p", {}, `Without data now: ${data.slice(0, 12).join(", ")}`));
  if (state.now && state.now.waitingFor) parts.push(el("p", {}, "The job waits for " + state.now.waitingFor));
  if (shares.some((share) => share)) {
    parts.push(el("p", { class: "muted", style: "margin-top: 8px" }, "Of all workers' time lately: " + PHASES.map((phase, at) => `${phase} ${percent(shares[at])}`).join(", ")));
    parts.push(shareBar(shares));
  }
  put("waits", ...parts);
}

function table(id, heads, rows, none) {
  put(id, el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...(rows.length ? rows : [[none]]).map((cells) => el("tr", {}, ...cells.map((cell, at) => el(at ? "td" : "th", at ? {} : { scope: "row", colspan: cells.length === 1 ? heads.length : null }, cell))))));
}

function showWorkers(state) {
  const ill = (row) => ILL.has(state.field(row, "state")), many = state.byWorker.size > 24;
  const rows = [...state.byWorker.values()].sort((a, b) => (many && ill(b) - ill(a)) || a[0] - b[0]);
  const fast = Math.max(1, ...rows.map((row) => state.field(row, "rate") || 0));
  table("workers", ["worker", "state", "samples/s", "samples", "loss", "staleness", "samples held", "idle", "waits for", "starts", "not finite", "lane", "node"],
    rows.slice(0, 600).map((row) => {
      const get = (name) => state.field(row, name);
      return [`${get("index")}`, el("span", { class: "state " + get("state") }, get("state")),
        el("span", {}, el("span", { class: "meter", "aria-hidden": "true" }, el("i", { style: `width: ${(100 * (get("rate") || 0)) / fast}%` })), get("rate") < 0.05 ? "0" : number(get("rate"), 3)),
        whole(get("samples")), number(get("loss"), 3), number(get("staleness"), 3), whole(get("held")), get("idle") >= 1 ? seconds(get("idle")) : "–",
        get("waits") || "–", whole(get("starts")), whole(get("refused")), get("lane") || "–", get("node") || "–"];
    }), "no worker has joined");
}

function showShards(state) {
  const shards = (state.now || {}).shards || [], versions = shards.map((shard) => shard.version), newest = Math.max(0, ...versions);
  table("shards", ["shard", "version", "behind", "term", "busy", "requests/s", "in", "out", "held back", "lost updates"],
    shards.map((shard, at) => {
      const [busy, requests, into, out] = state.rates[at] || [null, null, null, null];
      return [`${at}`, whole(shard.version), whole(newest - shard.version), whole(shard.term),
        busy === null ? "–" : el("span", {}, el("span", { class: "meter", "aria-hidden": "true" }, el("i", { class: busy > 0.9 ? "hot" : "", style: `width: ${100 * busy}%` })), percent(busy)),
        number(requests, 3), into === null ? "–" : bytes(into) + "/s", out === null ? "–" : bytes(out) + "/s", whole(shard.heldBack), whole(shard.lost)];
    }), "what shards did is not known");
}

function rowsOf(pairs) {
  return el("dl", { class: "rows" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function showData(state) {
  const data = (state.now || {}).data;
  if (!data) { put("data", el("p", { class: "muted" }, (state.now && state.now.guarantee) || "Not known, or a stream: nothing is dealt out.")); return; }
  const of = data.visited % data.size, part = (value) => `${(100 * value) / data.size}%`;
  put("data", el("div", { class: "split", role: "img", "aria-label": `This epoch: ${whole(of)} of ${whole(data.size)} samples visited, ${whole(data.leased)} leased` },
    el("i", { style: `width: ${part(of)}; background: var(--compute)` }), el("i", { style: `width: ${part(Math.min(data.leased, data.size - of))}; background: var(--data)` })),
  rowsOf([["samples in an epoch", whole(data.size)], ["visited, this epoch", whole(of)], ["leased to workers now", whole(data.leased)], ["returned, to be leased again", whole(data.returned)],
    ["visited twice", whole(data.revisited)], ["given up, not finite", whole(data.skipped)]]), el("p", { class: "muted", style: "margin-top: 6px" }, state.now.guarantee || ""));
}

function showLosses(state) {
  const now = state.now || {}, pairs = [["updates lost with servers", whole(now.lostUpdates)]];
  for (const [reason, count] of Object.entries(now.refused || {})) pairs.push([`pushes refused: ${reason}`, whole(count)]);
  for (const [reason, count] of Object.entries(now.refusedMessages || {})) if (count) pairs.push([`messages refused: ${reason}`, whole(count)]);
  for (const [role, count] of Object.entries(now.restarts || {})) pairs.push([`restarts: ${role}`, whole(count)]);
  if (now.rollbacks) pairs.push(["went back to a checkpoint", whole(now.rollbacks)]);
  if (now.evaluationsFailed) pairs.push(["evaluations failed", whole(now.evaluationsFailed)]);
  const rejected = now.everRejected || [];
  pairs.push(["workers not listened to, ever", rejected.length ? rejected.slice(0, 12).join(", ") : "none"]);
  if ((now.suspects || []).length) pairs.push(["workers with bad pushes", now.suspects.slice(0, 12).join(", ")]);
  put("losses", rowsOf(pairs));
}

function showSaves(state) {
  const saves = state.moments.filter((moment) => moment.kind === "checkpoint").slice(-6).reverse(), newest = (state.now || {}).checkpoint, now = state.now || {};
  const parts = [];
  if (newest) parts.push(el("p", {}, `Newest: update ${whole(newest.updates)}, ${bytes(newest.bytes)}, ${state.over ? "" : seconds(newest.secondsAgo) + " ago, "}in `, el("code", {}, newest.uri)));
  if (now.checkpointError) parts.push(el("p", { style: "color: var(--bad)" }, now.checkpointError));
  if (now.best) parts.push(el("p", {}, `Best: ${now.best.metric} ${number(now.best.value)} of update ${whole(now.best.updates)}`));
  if (saves.length) parts.push(rowsOf(saves.map((save) => [clock(save.t), save.text.replace("checkpoint of ", "")])));
  put("saves", ...(parts.length ? parts : [el("p", { class: "muted" }, "none yet")]));
}

function showEvents(state) {
  const shown = state.moments.filter((moment) => moment.kind !== "checkpoint").slice(-120).reverse(), key = JSON.stringify(shown.slice(0, 3)) + shown.length;
  if ($("events").dataset.shown === key) return;
  $("events").dataset.shown = key;
  const kinds = { refused: ["down", "data"], phase: ["ring", "flag-good"], notice: ["diamond", "mark"], edit: ["square", "mark"], readmitted: ["up", "flag-good"], lostupdates: ["cross", "flag-bad"], rollback: ["diamond", "flag-bad"], diverged: ["cross", "flag-bad"] };
  put("events", ...(shown.length ? shown : [{ t: 0, kind: "phase", text: "nothing yet" }]).map((moment) => {
    const [kind, tone] = FLAGS[moment.kind] || kinds[moment.kind] || ["ring", "muted"];
    const wall = state.about.wall ? new Date(1000 * (state.about.wall + moment.t)) : null;
    return el("li", {}, el("time", { title: wall ? wall.toLocaleString() : null }, clock(moment.t)), glyph(kind, tone), el("span", {}, moment.text));
  }));
}

function showJob(state) {
  text("spec", state.about.spec || "not known");
  const edits = state.moments.filter((moment) => moment.kind === "edit");
  put("edits", el("p", { class: "muted", style: "margin-top: 8px" }, edits.length ? "Live edits:" : "No live edit was seen."), edits.length ? rowsOf(edits.map((edit) => [clock(edit.t), edit.text])) : null);
}

function showCommands(state) {
  for (const node of document.querySelectorAll("[data-command]")) {
    const line = state.about.commands[node.dataset.command];
    if (!line) { node.replaceChildren(); continue; }
    const bad = state.say.findings.find((finding) => finding.command === node.dataset.command);
    const shown = fill(line, bad && bad.number !== null ? bad.number : 0);
    if (node.dataset.shown === shown) continue;
    node.dataset.shown = shown;
    node.replaceChildren(command(shown));
  }
}
