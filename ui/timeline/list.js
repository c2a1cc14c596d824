// The segments of a timeline. Rows are drawn again only where they changed: focus, scrolling and what is being typed stay.
// A click on a row moves the player (`lens-seek`); the row of the player's time is marked (`lens-time`). See ui/clip/player.js.
const HANDS_OFF_MS = 4000; // after someone scrolled, the list does not follow the player
const THUMBNAIL = 54, SMALL = 32; // px: heights, of the frames of a segment and of a chapter

export default function ({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".list"), state = (list.lens ??= begin(list));
  Object.assign(state, { data, list, tell: (value) => setTriggerValue("act", value) });
  draw(state);
  list.onclick = (event) => click(state, event);
  list.onkeydown = (event) => keydown(state, event);
  list.listening?.abort(); // this function runs again for new data, and only its last return value is called
  const listening = (list.listening = new AbortController());
  document.addEventListener("lens-time", (event) => mark(state, event.detail.seconds), { signal: listening.signal });
  document.dispatchEvent(new CustomEvent("lens-where")); // the player answers with its time
  if (data.reveal.number && state.revealed !== data.reveal.number) {
    state.revealed = data.reveal.number;
    const item = state.rows.get(data.reveal.segment);
    if (item) { setCurrent(state, item); reveal(list, item); list.scrollIntoView({ block: "nearest" }); }
  }
  return () => { listening.abort(); state.viewer?.then((module) => module.closePictures()); };
}

function begin(list) {
  const state = { rows: new Map(), scrolled: 0, current: null }, scrolled = () => { state.scrolled = Date.now(); };
  for (const name of ["wheel", "touchmove", "keydown", "pointerdown"]) list.addEventListener(name, scrolled, { passive: true });
  return state;
}

function draw(state) {
  const { list, data, rows } = state, shown = new Map();
  let place = list.firstElementChild;
  for (const row of data.rows) {
    let item = rows.get(row.id);
    if (!item) {
      item = document.createElement("li");
      rows.set(row.id, item);
    }
    item.row = row;
    const drawn = JSON.stringify([row, data.columns, data.running]);
    if (item.drawn !== drawn && !item.querySelector("textarea")) fill(state, item, drawn);
    if (item !== place) list.insertBefore(item, place);
    else place = place.nextElementSibling;
    shown.set(row.id, item);
  }
  for (const [id, item] of rows) if (!shown.has(id)) { item.remove(); rows.delete(id); }
}

function fill(state, item, drawn) {
  const { row } = item, focused = item.getRootNode().activeElement, act = item.contains(focused) ? focused.dataset.act : null;
  item.drawn = drawn;
  item.className = row.chapter ? "chapter" : "";
  const { columns } = state.data, asked = row.answers.length ? columns : columns.slice(0, 1); // one line says that all wait
  const said = asked.flatMap(({ number, question }) => answer(state, row, number, question));
  const strip = row.frames.length ? [frames(state, row)] : [];
  const parts = row.chapter ? [top(state, row), ...said, ...strip] : [top(state, row), ...strip, ...said];
  for (const note of row.notes) parts.push(make("p", "quiet", note));
  if (row.note) parts.push(make("p", "words note", `${row.note} `, button("note", "Edit note", `Edit note: ${row.label}`)));
  item.replaceChildren(...parts);
  if (act) item.querySelector(`[data-act="${act}"]`)?.focus({ preventScroll: true });
}

function top({ data }, row) {
  const line = make("div", "top"), time = button("seek", row.label);
  time.className = "time";
  if (data.player) time.title = "Show this moment in the player";
  line.append(time, make("span", "spring"));
  if (row.answers.length) line.append(button("given", "What the model was given", `What the model was given: ${row.label}`));
  if (!row.note) line.append(button("note", "Add a note", `Add a note: ${row.label}`));
  return line;
}

function frames({ data }, row) {
  const strip = make("div", "frames");
  row.frames.forEach(([seconds, name], position) => {
    const open = button("open", ""), image = document.createElement("img");
    open.dataset.position = position;
    open.title = `Open the frame at ${name}`;
    image.loading = "lazy";
    image.height = row.chapter ? SMALL : THUMBNAIL;
    image.width = Math.round((image.height * data.width) / data.height);
    image.alt = `Frame at ${name}`;
    image.src = address(data, row, position, "small");
    open.append(image);
    strip.append(open);
  });
  return strip;
}

const address = ({ frames }, row, position, size) => `${frames}/${row.id}/${position}/${size}?${row.frames[position][2]}`;

function answer({ data }, row, number, question) {
  const found = row.answers.find((each) => each.column === number), name = number ? `${question}, ${row.label}` : row.label;
  const line = (kind, ...parts) => make("p", kind, "", ...(number ? [make("span", "question", question), " "] : []), ...parts);
  if (!found) return row.chapter && number ? [] : [line("quiet", data.running ? "Waiting…" : "Not asked yet")];
  const act = (does, label) => {
    const made = button(does, label, `${label}: ${name}`);
    made.dataset.column = number;
    return made;
  };
  const parts = [], edited = found.model !== null;
  if (found.error) parts.push(line("error", found.error, " ", ...(data.running ? [] : [act("again", "Resume (all missing answers)")])));
  if (!found.error || edited) {
    const badge = edited ? [make("span", "badge", "Edited")] : [];
    parts.push(line("words", found.text || "(no words)", " ", ...badge, act("edit", "Edit")));
  }
  if (found.cut) parts.push(make("p", "quiet", found.cut));
  if (edited) parts.push(make("p", "quiet model", `The model: ${found.model || "(no words)"} `, act("restore", "Undo edit")));
  return parts;
}

function click(state, event) {
  const item = event.target.closest("li"), pressed = event.target.closest("button");
  if (!item || event.target.closest("textarea")) return;
  const { row } = item, column = Number(pressed?.dataset.column ?? 0);
  if (!pressed) return void (String(getSelection()) || seek(state, item));
  const does = {
    seek: () => seek(state, item),
    open: () => openFrames(state, row, Number(pressed.dataset.position)),
    edit: () => edit(state, item, pressed.parentElement, row.answers.find((each) => each.column === column)?.text ?? "",
      (text) => ({ do: "edit", segment: row.id, column, text })),
    note: () => edit(state, item, pressed.closest("p"), row.note, (text) => ({ do: "note", segment: row.id, text })),
    restore: () => state.tell({ do: "restore", segment: row.id, column }),
    again: () => state.tell({ do: "again", segment: row.id }),
    given: () => state.tell({ do: "given", segment: row.id, time: Date.now() }),
  };
  does[pressed.dataset.act]?.();
}

function seek(state, item) {
  setCurrent(state, item);
  document.dispatchEvent(new CustomEvent("lens-seek", { detail: { seconds: item.row.start } }));
}

// Where `place` is, or at the end of the row. `message` makes what the page is told.
function edit(state, item, place, text, message) {
  if (item.querySelector("textarea")) return;
  const box = make("div", "editor"), area = document.createElement("textarea");
  const save = button("", "Save"), cancel = button("", "Cancel");
  area.value = text;
  area.ariaLabel = `Your words: ${item.row.label}`;
  save.className = "save";
  const close = () => { box.remove(); fill(state, item, ""); draw(state); item.querySelector("button").focus({ preventScroll: true }); };
  save.onclick = (event) => { event.stopPropagation(); const words = area.value.trim(); close(); if (words !== text.trim()) state.tell(message(words)); };
  cancel.onclick = (event) => { event.stopPropagation(); close(); };
  area.onkeydown = (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save.click();
    event.stopPropagation();
  };
  box.append(area, save, cancel);
  if (place) place.replaceWith(box);
  else item.append(box);
  area.focus();
}

async function openFrames(state, row, position) {
  const { data } = state;
  state.viewer ??= import(new URL(data.viewer, document.baseURI).href);
  const pictures = row.frames.map(([, name, sha256], index) => ({
    key: sha256, label: name, name: `${data.name} at ${name}`, hidden: false, width: data.width, height: data.height,
    small: address(data, row, index, "small"), whole: address(data, row, index, "whole"),
  }));
  (await state.viewer).openPictures(pictures, position, { font: getComputedStyle(state.list).fontFamily });
}

// Arrow keys go from row to row.
function keydown({ list }, event) {
  if (!["ArrowDown", "ArrowUp"].includes(event.key) || event.target.closest("textarea")) return;
  const times = [...list.querySelectorAll(".time")], item = event.target.closest("li");
  const next = times[times.indexOf(item?.querySelector(".time")) + (event.key === "ArrowDown" ? 1 : -1)];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

function mark(state, seconds) {
  state.seconds = seconds;
  const row = state.data.rows.findLast((each) => !each.chapter && each.start <= seconds + 0.02);
  const item = row && state.rows.get(row.id);
  if (item === state.current) return;
  setCurrent(state, item ?? null);
  if (item && Date.now() - state.scrolled > HANDS_OFF_MS && !state.list.querySelector("textarea")) reveal(state.list, item);
}

function setCurrent(state, item) {
  state.current?.removeAttribute("aria-current");
  state.current = item;
  item?.setAttribute("aria-current", "true");
}

// Scrolls the list only: scrollIntoView would move the page. Again in the next frames: rows get their real height as they come
// into view.
function reveal(list, item, tries = 4) {
  const { offsetTop, offsetHeight } = item;
  const isSeen = offsetTop >= list.scrollTop && offsetTop + Math.min(offsetHeight, list.clientHeight) <= list.scrollTop + list.clientHeight;
  if (isSeen && tries === 4) return;
  if (!isSeen) list.scrollTop = offsetTop - 8;
  if (tries) requestAnimationFrame(() => reveal(list, item, tries - 1));
}

function make(tag, name, words = "", ...more) {
  const element = document.createElement(tag);
  element.className = name;
  if (words) element.append(words);
  element.append(...more);
  return element;
}

function button(act, label, name = "") {
  const element = document.createElement("button");
  element.type = "button";
  element.dataset.act = act;
  element.textContent = label;
  if (name) element.ariaLabel = name;
  return element;
}
