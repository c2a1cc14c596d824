// The curve of a question over a clip, and the moments at which its answer changes. A click moves the player (`lens-seek`); the
// player's time is a line in the curve (`lens-time`). See ui/clip/player.js. The table does all of it without a mouse.
const WIDTH = 1000, HEIGHT = 100, SVG = "http://www.w3.org/2000/svg";

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".moments"), drawn = JSON.stringify(data);
  if (root.drawn !== drawn) { root.drawn = drawn; draw(root, data); }
  root.listening?.abort(); // this function runs again for new data, and only its last return value is called
  const listening = (root.listening = new AbortController());
  document.addEventListener("lens-time", (event) => follow(root, data, event.detail.seconds), { signal: listening.signal });
  document.dispatchEvent(new CustomEvent("lens-where")); // the player answers with its time
  return () => listening.abort();
}

const seek = (seconds) => document.dispatchEvent(new CustomEvent("lens-seek", { detail: { seconds } }));
const across = (data, seconds) => (WIDTH * seconds) / Math.max(data.duration, 1e-6);
const percent = (share) => `${Math.round(100 * share)}%`;

// 75.5 → "1:15.5", as smolvlm_core/times.py writes it.
function clock(seconds, decimals = 1) {
  const second = 10 ** decimals, units = Math.round(Math.max(0, seconds) * second), minutes = Math.floor(units / second / 60);
  const rest = units / second - 60 * minutes;
  return minutes + ":" + rest.toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0");
}

function make(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function draw(root, data) {
  const focused = root.getRootNode().activeElement?.dataset?.id;
  root.querySelector(".asked").textContent = data.summary;
  root.querySelector(".quiet").textContent = data.notes.join(" ");
  root.querySelector(".plot").replaceChildren(curve(data), scale(data));
  root.querySelector(".table").replaceChildren(...(data.moments.length ? [table(root, data)] : []));
  if (focused) root.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
}

function curve(data) {
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  svg.setAttribute("aria-label", `${data.summary} ${data.moments.length} ${data.moments.length === 1 ? "moment" : "moments"}, listed below.`);
  svg.append(shape("line", { class: "half", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 }));
  for (const run of runs(data)) {
    const points = run.map(([time, share]) => `${across(data, time).toFixed(1)},${(HEIGHT - 2 - (HEIGHT - 4) * share).toFixed(1)}`);
    const [first, last] = [across(data, run[0][0]), across(data, run.at(-1)[0])];
    svg.append(shape("polygon", { class: "area", points: [`${first},${HEIGHT}`, ...points, `${last},${HEIGHT}`].join(" ") }));
    svg.append(shape("polyline", { class: "line", points: points.join(" ") }));
  }
  for (const moment of data.moments) {
    const x = across(data, moment.seconds), mark = shape("line", { class: "mark", x1: x, x2: x, y1: 0, y2: HEIGHT });
    const title = shape("title", {});
    title.textContent = `${clock(moment.seconds)} ${moment.text}`;
    mark.append(title);
    svg.append(mark);
  }
  svg.append(shape("line", { class: "now", x1: -9, x2: -9, y1: 0, y2: HEIGHT }));
  svg.onclick = (event) => {
    const box = svg.getBoundingClientRect(), seconds = (data.duration * (event.clientX - box.left)) / box.width;
    // Near a moment, the moment is meant: within 8 px.
    const reach = (8 / box.width) * data.duration;
    const near = data.moments.filter((m) => Math.abs(m.seconds - seconds) <= reach);
    near.sort((a, b) => Math.abs(a.seconds - seconds) - Math.abs(b.seconds - seconds));
    seek(near.length ? near[0].seconds : Math.max(0, seconds));
  };
  return svg;
}

// Parts of the curve without a gap: an unclear answer leaves one.
function runs(data) {
  const found = [];
  let open = null;
  data.times.forEach((time, i) => {
    const share = data.probabilities[i];
    if (share === null || share === undefined) { open = null; return; }
    if (!open) found.push((open = []));
    open.push([time, share]);
  });
  return found;
}

function scale(data) {
  const line = make("div", "scale");
  line.append(make("span", "", "0:00"), make("span", "", data.axis), make("span", "", clock(data.duration)));
  return line;
}

function table(root, data) {
  const made = make("table", ""), head = make("tr", ""), body = make("tbody", "");
  made.append(make("caption", "", data.found));
  for (const text of ["Time", "What", "Probability", "Range"]) {
    const cell = make("th", "", text);
    cell.scope = "col";
    head.append(cell);
  }
  const top = make("thead", "");
  top.append(head);
  data.moments.forEach((moment, number) => body.append(row(root, moment, number)));
  made.append(top, body);
  return made;
}

function row(root, moment, number) {
  const made = make("tr", ""), when = make("td", "number"), range = make("td", "number");
  const span = `${clock(moment.seconds)}-${clock(moment.until)}`;
  const go = make("button", "go", clock(moment.seconds)), copy = make("button", "copy", "Copy");
  go.type = copy.type = "button";
  go.dataset.id = `go-${number}`;
  copy.dataset.id = `copy-${number}`;
  go.title = go.ariaLabel = `Show ${clock(moment.seconds)} in the player: ${moment.text}`;
  copy.title = copy.ariaLabel = `Copy the range ${span}`;
  go.onclick = () => seek(moment.seconds);
  copy.onclick = async () => {
    const done = await written(span);
    root.querySelector(".live").textContent = done ? `Copied ${span}` : `The browser did not allow copying. The range is ${span}`;
    copy.textContent = done ? "Copied" : span;
    setTimeout(() => { copy.textContent = "Copy"; }, done ? 1500 : 8000);
  };
  when.append(go);
  range.append(copy);
  made.dataset.seconds = moment.seconds;
  made.dataset.until = moment.until;
  made.append(when, make("td", "", moment.text), make("td", "number", percent(moment.probability)), range);
  return made;
}

async function written(text) {
  try { await navigator.clipboard.writeText(text); return true; }
  catch { return false; }
}

function follow(root, data, seconds) {
  const now = root.querySelector(".now"), x = across(data, seconds);
  now?.setAttribute("x1", x);
  now?.setAttribute("x2", x);
  for (const each of root.querySelectorAll("tbody tr")) {
    const inside = Number(each.dataset.seconds) - 0.02 <= seconds && seconds < Number(each.dataset.until) - 0.02;
    if (inside) each.setAttribute("aria-current", "true");
    else each.removeAttribute("aria-current");
  }
}
