// The statements of a summary. A click on a time moves the player (`lens-seek`): see ui/clip/player.js.
export default function ({ data, parentElement }) {
  const [statements, parts] = parentElement.querySelectorAll("ul"), drawn = JSON.stringify(data);
  if (statements.drawn !== drawn) {
    const open = new Set([...statements.children].flatMap((item, number) => (item.querySelector("details")?.open ? [number] : [])));
    statements.drawn = drawn;
    statements.replaceChildren(...data.statements.map((each, number) => statement(each, open.has(number))));
    parts.replaceChildren(...data.parts.map((part) => make("li", "", `${part.text}: `, ...part.times.map(time))));
  }
  statements.onclick = parts.onclick = (event) => {
    const start = event.target.closest("button")?.dataset.start;
    if (start !== undefined) document.dispatchEvent(new CustomEvent("lens-seek", { detail: { seconds: Number(start) } }));
  };
}

function statement(each, open) {
  const verdict = make("span", "verdict", make("span", "", each.icon), ` ${each.words}`), line = make("div", "line", verdict);
  verdict.firstChild.ariaHidden = "true";
  if (each.times.length) line.append(make("span", "times", ...each.times.map(time)));
  else line.append(make("span", "badge", "No source"));
  if (each.edited) line.append(make("span", "badge", "From edited words"));
  const item = make("li", each.verdict, make("p", "text", each.text), line, ...each.notes.map((note) => make("p", "quiet", note)));
  if (each.evidence.length) {
    const more = make("details", "", make("summary", "", "What was asked"));
    more.append(...each.evidence.map((one) => make("p", "", `${one.text} · frames at `, ...one.times.map(time))));
    more.open = open;
    item.append(more);
  }
  return item;
}

function time({ start, label }) {
  const button = make("button", "", label);
  button.type = "button";
  button.dataset.start = start;
  button.title = "Show this moment in the player";
  return button;
}

function make(tag, name, ...parts) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...parts);
  return element;
}
