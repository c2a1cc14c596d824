// The thumbnails. Drawn again only where they changed, so that focus and scrolling stay.
export default function ({ data, parentElement, setTriggerValue }) {
  const strip = parentElement.querySelector(".strip");
  const items = data.only === null ? data.pictures.map((_, index) => index) : [data.only];
  const state = JSON.stringify([items.map((index) => data.pictures[index]), data.edge, data.scrolls, data.captions]);
  if (strip.dataset.state !== state) {
    strip.dataset.state = state;
    strip.classList.toggle("scrolls", data.scrolls);
    if (data.reveal) requestAnimationFrame(() => strip.scrollIntoView({ block: "center" }));
    strip.replaceChildren(...items.map((index) => tile(data.pictures[index], index, data)));
  }
  strip.onclick = async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    strip.viewer ??= import(new URL(data.viewer, document.baseURI).href);
    (await strip.viewer).openPictures(data.pictures, Number(button.dataset.index), {
      font: getComputedStyle(strip).fontFamily,
      partLabel: data.part,
      onPart: data.part ? (part) => setTriggerValue("part", part) : null,
    });
  };
  return () => strip.viewer?.then((module) => module.closePictures());
}

function tile(picture, index, { edge, captions }) {
  const item = document.createElement("li"), button = document.createElement("button"), image = document.createElement("img");
  const shrink = edge / Math.max(picture.width, picture.height);
  image.width = Math.max(24, Math.round(picture.width * shrink));
  image.height = Math.max(24, Math.round(picture.height * shrink));
  image.loading = "lazy";
  image.src = picture.small;
  image.alt = picture.name;
  image.onerror = () => { image.hidden = true; button.append(text("span", "missing", "Missing or damaged")); };
  button.type = "button";
  button.dataset.index = index;
  button.title = "Open";
  button.append(image);
  // A narrow one is left to be seen: its strip says from whom it is hidden, and so does the viewer.
  if (picture.hidden) button.append(text("span", "badge", image.width < 120 ? "Hidden" : "Hidden from the model"));
  item.classList.toggle("hidden", picture.hidden);
  item.append(button);
  if (captions) item.append(text("span", "caption", picture.label));
  item.style.width = `${Math.max(image.width, 56)}px`;
  return item;
}

function text(tag, name, words) {
  const element = document.createElement(tag);
  [element.className, element.textContent] = [name, words];
  return element;
}
