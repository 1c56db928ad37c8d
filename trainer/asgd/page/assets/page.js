// Puts it together: takes the state from the server or from this file, follows its deltas, and draws once a second.
let state = null, source = null, last = "", pending = false;
const charts = new Charts(), lanes = new Lanes(), heat = new Heat();

function draw(anew) {
  pending = false;
  if (!state) return;
  for (const show of [showHead, showSay, showWaits, showShards, showData, showLosses, showSaves, showEvents, showCommands]) show(state);
  // A table of hundreds of rows is made every third second.
  const turn = Number(document.body.dataset.drawn || 0) % 3 === 0 || state.byWorker.size <= 100;
  if (anew || (turn && document.querySelector("#workers:hover") === null)) showWorkers(state);
  charts.draw(state, anew);
  lanes.draw(state);
  heat.draw(state);
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
}
function soon(anew) {
  if (pending || document.hidden) return;
  pending = true;
  requestAnimationFrame(() => draw(anew));
}
function link(words) { text("link", words); }

async function begin() {
  try {
    const answer = await fetch(BOOT.live, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const told = await answer.json();
    state = new State(told.state);
    last = told.id;
  } catch {
    link("the server does not answer; trying again");
    setTimeout(begin, 2000);
    return;
  }
  showJob(state);
  draw(true);
  if (BOOT.events && !state.over) listen();
  else link(ended());
}
function ended() {
  if (state && !state.over && BOOT.state) return `as it was at ${clock(state.t)}`;
  return state && state.now && state.now.phase === "running" && state.over ? "this run ended without a word, or goes on elsewhere" : "over; this is what it left";
}
function listen() {
  source = new EventSource(`${BOOT.events}?after=${encodeURIComponent(last)}`);
  source.addEventListener("open", () => link("live"));
  source.addEventListener("delta", (event) => {
    last = event.lastEventId;
    const delta = JSON.parse(event.data);
    state.apply(delta);
    if (delta.moments && delta.moments.some((moment) => moment.kind === "edit")) showJob(state);
    if (state.over) { source.close(); link(ended()); }
    soon(false);
  });
  source.addEventListener("reset", () => { source.close(); begin(); });
  source.addEventListener("error", () => {
    if (state.over) return;
    link("the page's server is gone: the run may be over. `asgd open` shows what it left.");
    if (source.readyState === EventSource.CLOSED) { source.close(); setTimeout(begin, 3000); }
  });
}

document.addEventListener("visibilitychange", () => soon(false));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA/.test(event.target.tagName)) return;
  const at = Number(event.key) - 1;
  if (WINDOWS[at]) lanes.choose(WINDOWS[at][0]);
  if (event.key === "l") $("lanes-plot").focus();
});
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; soon(true); } });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => soon(true));

if (BOOT.state) {
  state = new State(BOOT.state);
  link(ended());
  showJob(state);
  if (state.over && state.t > 60) lanes.choose(0);
  draw(true);
} else begin();
