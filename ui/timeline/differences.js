// Two timelines side by side. A click on a time moves the player (`lens-seek`): see ui/clip/player.js.
export default function ({ data, parentElement }) {
  const list = parentElement.querySelector("ol"), drawn = JSON.stringify(data);
  if (list.drawn !== drawn) {
    list.drawn = drawn;
    list.replaceChildren(...data.rows.map((row) => draw(data, row)));
  }
  list.onclick = (event) => {
    const start = event.target.closest("button")?.dataset.start;
    if (start !== undefined) document.dispatchEvent(new CustomEvent("lens-seek", { detail: { seconds: Number(start) } }));
  };
}

function draw(data, row) {
  const time = make("button", "time", row.label), item = make("li", row.differs ? "differs" : "");
  time.type = "button";
  time.dataset.start = row.start;
  time.title = "Show this moment in the player";
  item.append(make("div", "top", time, make("span", "degree", row.degree)));
  if (row.frames.length) item.append(strip(data, row));
  for (const answer of row.answers) item.append(...pair(answer));
  return item;
}

function strip(data, row) {
  const made = make("div", "frames", ...row.frames.map((frame, position) => image(data, row, frame, position)));
  made.tabIndex = 0; // it scrolls
  made.role = "group";
  made.ariaLabel = `Frames: ${row.label}`;
  return made;
}

function image({ frames }, row, [name, sha256], position) {
  const found = document.createElement("img");
  found.loading = "lazy";
  found.alt = `Frame at ${name}`;
  found.title = name;
  found.src = `${frames}/${row.segment}/${position}/small?${sha256}`;
  return found;
}

function pair({ question, texts, edited, same }) {
  const parts = question ? [make("p", "question", question)] : [];
  if (same) return [...parts, make("p", "", make("span", "who", "A, B"), texts[0], ...badge(edited[0] || edited[1]))];
  const sides = ["A", "B"].map((who, side) => {
    const words = texts[side] ? marked(texts[side], texts[1 - side]) : [make("span", "quiet", "(no answer)")];
    return make("p", "", make("span", "who", who), ...words, ...badge(edited[side]));
  });
  return [...parts, make("div", "pair", ...sides)];
}

const badge = (edited) => (edited ? [make("span", "badge", "Edited")] : []);

// The words that the other one does not have.
function marked(text, other) {
  if (!other) return [text];
  const plain = (word) => word.toLowerCase().replace(/[^\p{L}\p{N}]/gu, ""), has = new Set(other.split(/\s+/).map(plain));
  return text.split(/(\s+)/).map((word) => (plain(word) && !has.has(plain(word)) ? make("mark", "", word) : word));
}

function make(tag, name, ...parts) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...parts);
  return element;
}
