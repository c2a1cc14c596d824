// Frames with what was said about them. An item that is there already stays as it is, so that focus and scrolling stay.
export default function ({ data, parentElement }) {
  const list = parentElement.querySelector("ol");
  list.ariaLabel = data.label;
  const before = new Map([...list.children].map((item) => [item.dataset.state, item]));
  const items = data.items.map((each) => before.get(JSON.stringify(each)) ?? made(each));
  items.forEach((item, index) => { if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null); });
  while (list.children.length > items.length) list.lastChild.remove();
  list.onclick = async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    list.viewer ??= import(new URL(data.viewer, document.baseURI).href);
    const pictures = data.items.map((each) => each.picture).filter(Boolean);
    const index = pictures.findIndex((picture) => picture.key === button.dataset.key && picture.name === button.dataset.name);
    (await list.viewer).openPictures(pictures, Math.max(0, index), { font: getComputedStyle(list).fontFamily });
  };
  return () => list.viewer?.then((module) => module.closePictures());
}

function made(each) {
  const { picture, answer, answers, error, facts, event } = each;
  const item = document.createElement("li"), words = document.createElement("div");
  item.dataset.state = JSON.stringify(each);
  item.classList.toggle("event", event);
  if (picture) {
    const button = document.createElement("button"), image = document.createElement("img");
    button.type = "button";
    [button.dataset.key, button.dataset.name] = [picture.key, picture.name];
    button.title = "Open the frame that the model was given";
    [image.src, image.alt, image.loading] = [picture.small, picture.name, "lazy"];
    image.onerror = () => image.replaceWith(part("span", "gone", "Missing"));
    button.append(image);
    item.append(button);
  } else item.append(part("span", "gone", "Not stored"));
  if (answer) words.append(part("p", "answer", answer));
  for (const { question, text } of answers) {
    const line = part("p", "question", question);
    line.append(part("b", "", text));
    words.append(line);
  }
  if (error) words.append(part("p", "failed", error));
  words.append(part("p", "facts", facts));
  item.append(words);
  return item;
}

function part(tag, name, text) {
  const element = document.createElement(tag);
  [element.className, element.textContent] = [name, text];
  return element;
}
