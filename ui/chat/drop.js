// Pictures and clips from anywhere on the page: dropped, pasted or chosen. All go into the input of the page's own uploader,
// `data.input`, so its limits and errors hold. What it would refuse is reported by name first: `data.kinds` has what is allowed.
const PLUS = `<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" aria-hidden="true"><path d="M12 5v14M5 12h14"/></svg>`;
const waiting = [];
let last = null, since = 0, fromPage = false, pasted = 0;

export default function ({ data, parentElement, setTriggerValue }) {
  const add = parentElement.querySelector(".add"), overlay = parentElement.querySelector(".overlay");
  const input = () => document.querySelector(data.input);
  add.onclick = () => input()?.click();
  add.classList.toggle("zone", Boolean(data.zone));
  if (data.zone) {
    add.removeAttribute("aria-label"); // its text is its name
    add.replaceChildren(...["strong", "span"].map((name, i) => {
      const line = document.createElement(name);
      line.textContent = data.zone[i];
      return line;
    }));
    return;
  }
  if (!add.firstChild) add.innerHTML = PLUS;
  add.title = add.ariaLabel = data.label;
  overlay.textContent = data.overlay;

  const reason = (file) => {
    const kind = data.kinds.find((kind) => kind.extensions.includes(file.name.split(".").pop().toLowerCase()));
    return kind ? (file.size > kind.bytes ? "size" : "") : "type";
  };
  // A batch waits until the page took the one before: the page then replaces its uploader, with all that is still in it.
  const next = () => {
    const target = input(), failed = target === last && performance.now() - since > 3000 && !uploading(target);
    if (!waiting.length || !target) return;
    if (target === last && !failed) return void setTimeout(next, 100);
    const batch = new DataTransfer();
    for (const file of waiting.splice(0)) batch.items.add(file);
    target.files = batch.files;
    target.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const uploading = (target) => target.closest("[data-testid=stFileUploader]")?.querySelector("[role=progressbar]");
  const give = (files) => { waiting.push(...files); next(); };

  const listening = new AbortController();
  const on = (name, act) => document.addEventListener(name, act, { capture: true, signal: listening.signal });
  const hasFiles = (event) => !fromPage && event.dataTransfer?.types.includes("Files");
  on("change", (event) => {
    if (event.target !== input() || !event.target.files.length) return;
    const files = [...event.target.files], refused = files.filter(reason);
    last = event.target;
    since = performance.now();
    if (!refused.length) return;
    const good = new DataTransfer();
    for (const file of files) if (!reason(file)) good.items.add(file);
    event.target.files = good.files;
    if (!good.files.length) { last = null; event.stopImmediatePropagation(); }
    setTriggerValue("refused", refused.map((file) => ({ name: file.name, bytes: file.size, reason: reason(file) })));
  });
  on("dragstart", () => { fromPage = true; });
  on("dragend", () => { fromPage = false; });
  on("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    if (!overlay.matches(":popover-open")) overlay.showPopover();
  });
  on("dragleave", (event) => { if (!event.relatedTarget) overlay.hidePopover(); });
  on("drop", (event) => {
    overlay.hidePopover();
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    give(event.dataTransfer.files);
  });
  on("paste", (event) => {
    const { files, types } = event.clipboardData, typing = event.target.closest?.("input, textarea");
    if (!files.length || (typing && types.includes("text/plain"))) return; // tables come as text and as a picture
    event.preventDefault();
    give([...files].map((file) => file.name === "image.png" ? new File([file], `pasted-${++pasted}.png`, { type: file.type }) : file));
  });
  return () => listening.abort();
}
