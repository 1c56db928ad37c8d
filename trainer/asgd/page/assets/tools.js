"use strict";
// Small things that all parts use. What a job says is only ever written as text.
const BOOT = JSON.parse(document.getElementById("boot").textContent);
const $ = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") node.style.cssText = value;
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

function put(id, ...children) { $(id).replaceChildren(...children.filter((child) => child !== null)); }
function text(id, words) { if ($(id).textContent !== words) $(id).textContent = words; }
function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim(); }

function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
}
function whole(value) { return value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"); }
function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (value >= 999.5 && power < 4) { value /= 1000; power++; }
  return (power && value < 99.95 ? value.toFixed(1) : Math.round(value)) + " " + units[power];
}
function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 60) return (value < 10 ? value.toFixed(1) : Math.round(value)) + " s";
  const [h, m, s] = [Math.floor(value / 3600), Math.floor(value / 60) % 60, Math.floor(value) % 60];
  return h ? `${h} h ${String(m).padStart(2, "0")} min` : `${m} min ${String(s).padStart(2, "0")} s`;
}
function clock(t) {  // on an axis
  if (t < 0) return "";
  const [h, m, s] = [Math.floor(t / 3600), Math.floor(t / 60) % 60, Math.floor(t) % 60];
  return h ? `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}` : `${m}:${String(s).padStart(2, "0")}`;
}
function percent(value) { return Math.round(100 * value) + " %"; }
function plural(count, noun) { return `${whole(count)} ${noun}${count === 1 ? "" : "s"}`; }

function chooser(id, options, chosen, pick) {
  const buttons = options.map(([value, label]) => el("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) }, label));
  function choose(value) {
    options.forEach(([each], at) => buttons[at].setAttribute("aria-pressed", String(each === value)));
    pick(value);
  }
  put(id, ...buttons);
  return choose;
}

function command(line) {
  const button = el("button", { type: "button", "aria-label": "Copy the command " + line }, "copy");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(line); button.textContent = "copied"; }
    catch { getSelection().selectAllChildren(button.previousSibling); button.textContent = "selected"; }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  return el("div", { class: "cmd" }, el("code", { tabindex: "0" }, line), button);
}

// A canvas as sharp as the screen; its size in CSS pixels.
function canvas(id, height) {
  const node = $(id), width = Math.max(50, node.parentElement.clientWidth), ratio = Math.min(3, devicePixelRatio || 1);
  if (node.width !== Math.round(width * ratio) || node.height !== Math.round(height * ratio)) {
    node.width = Math.round(width * ratio); node.height = Math.round(height * ratio);
    node.style.height = height + "px";
  }
  const context = node.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  return [context, width, height];
}

// Steps of an axis that people read easily.
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
function timeStep(span, width) { return STEPS.find((step) => (step / span) * width > 62) || 172800; }
