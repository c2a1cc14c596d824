// Shortcuts of the chat pages. All of it happens in the browser: the server hears of a key only through the button it presses.
const MAC = /Mac|iPhone|iPad/.test(navigator.platform);
const MOD = MAC ? "⌘" : "Ctrl", SHIFT = MAC ? "⇧" : "Shift";
const page = (selector) => document.querySelector(selector);

const press = (selector) => {
  const button = page(selector);
  button?.click();
  return Boolean(button);
};

const search = () => {
  if (page('[data-testid="stSidebar"]')?.getAttribute("aria-expanded") === "false") press('[data-testid="stExpandSidebarButton"] button, button[data-testid="stExpandSidebarButton"]');
  const field = page('[class*="st-key-search_"] input');
  field?.focus();
  return Boolean(field);
};

const box = () => {
  const field = page('[data-testid="stChatInputTextArea"]');
  field?.focus();
  return Boolean(field);
};

// `plain`: a single key, outside of fields. `chord`: works while typing too.
const ACTIONS = [
  { name: "New conversation", plain: "n", chord: (e) => mod(e) && e.shiftKey && e.code === "KeyO", keys: [["N"], [MOD, SHIFT, "O"]], run: () => press('[class*="st-key-new_conversation"] button') },
  { name: "Search conversations", plain: "/", chord: (e) => mod(e) && !e.shiftKey && e.code === "KeyK", keys: [["/"], [MOD, "K"]], run: search },
  { name: "Write a question", plain: "q", chord: (e) => e.shiftKey && !mod(e) && e.key === "Escape", keys: [["Q"], [SHIFT, "Esc"]], run: box },
  { name: "Stop the answer", chord: (e) => !e.shiftKey && !mod(e) && e.key === "Escape", keys: [["Esc"]], run: () => press('[class*="st-key-stop_"] button') },
];
const mod = (event) => (MAC ? event.metaKey : event.ctrlKey) && !event.altKey;

const isTyping = (event) => {
  const at = event.composedPath()[0];
  return at.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(at.tagName);
};

// What is open above the page has keys of its own: Esc closes it.
const isCovered = (event) =>
  event.composedPath().some((element) => element.tagName === "DIALOG") ||
  page('[role="dialog"], [role="listbox"], [data-testid="stPopoverBody"], dialog[open]') !== null;

export default function ({ parentElement }) {
  const dialog = parentElement.querySelector("dialog");
  const cell = (...children) => { const td = document.createElement("td"); td.append(...children); return td; };
  const chord = (names) => names.flatMap((name, i) => { const key = document.createElement("kbd"); key.textContent = name; return i ? ["+", key] : [key]; });
  const row = ({ name, keys }) => {
    const tr = document.createElement("tr");
    tr.append(cell(name), cell(...keys.flatMap((names, i) => (i ? [" or ", ...chord(names)] : chord(names)))));
    return tr;
  };
  parentElement.querySelector("tbody").replaceChildren(...[...ACTIONS, { name: "This list", keys: [["?"]] }].map(row));
  const show = () => { if (!dialog.open) dialog.showModal(); };
  parentElement.querySelector(".open").onclick = show;
  parentElement.querySelector(".close").onclick = () => dialog.close();
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };

  const listener = (event) => {
    if (event.defaultPrevented || event.isComposing || dialog.open || isCovered(event)) return;
    const isPlain = !isTyping(event) && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
    if (isPlain && event.key === "?") { event.preventDefault(); show(); return; }
    const action = ACTIONS.find((one) => one.chord(event) || (isPlain && event.key.toLowerCase() === one.plain));
    if (action?.run()) event.preventDefault();
  };
  parentElement.forget?.();
  document.addEventListener("keydown", listener);
  return (parentElement.forget = () => document.removeEventListener("keydown", listener));
}
