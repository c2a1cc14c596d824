// Versions of a question or an answer, and a button that copies `data.text`. The buttons stay the same elements, so that the
// focus stays on them while versions are looked through.
export default function ({ data, parentElement, setTriggerValue }) {
  const find = (name) => parentElement.querySelector(name);
  const versions = find(".versions"), copy = find(".copy"), label = find(".label");
  versions.hidden = data.count < 2;
  versions.ariaLabel = `Versions of this ${data.what}`;
  find(".place").textContent = `${data.number} / ${data.count}`;
  for (const [name, word, step, is_last] of [
    [".previous", "Previous", -1, data.number === 1],
    [".next", "Next", 1, data.number === data.count],
  ]) {
    const button = find(name), off = is_last || data.locked;
    button.ariaLabel = button.title = `${word} ${data.what}`;
    button.ariaDisabled = String(off);
    button.onclick = () => { if (!off) setTriggerValue("step", step); };
  }
  copy.hidden = data.text === null;
  copy.onclick = async () => {
    label.textContent = (await copied(data.text)) ? "Copied" : "Not copied: select the text";
    clearTimeout(copy.timer);
    copy.timer = setTimeout(() => { label.textContent = "Copy"; }, 2000);
  };
}

// Browsers have no clipboard on pages that come over plain HTTP from another machine: there, a selection is copied.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.setAttribute("aria-hidden", "true");
    field.style.position = "fixed";
    field.style.opacity = "0";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
