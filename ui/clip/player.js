// The player and its strip of frames. `data.start`: where the first frame is on the player's own clock, in seconds.
// A player that is set exactly to a frame's time may show the frame before it: `data.nudge` prevents that.
export default function ({ data, parentElement, setTriggerValue }) {
  const find = (name) => parentElement.querySelector(name);
  const video = find("video"), now = find(".now"), strip = find(".strip");
  if (video.getAttribute("src") !== data.url) video.src = data.url;
  video.onerror = () => { find(".unplayable").hidden = false; find(".add").hidden = true; };
  video.onloadedmetadata = () => { find(".unplayable").hidden = true; find(".add").hidden = false; };
  // 75.5 → "1:15.50", as smolvlm_core/times.py writes it.
  const clock = (seconds, decimals = 2) => {
    const second = 10 ** decimals, units = Math.round(seconds * second), minutes = Math.floor(units / second / 60);
    return minutes + ":" + (units / second - 60 * minutes).toFixed(decimals).padStart(decimals + 3, "0");
  };
  const at = () => Math.max(0, video.currentTime - data.start);
  const goTo = (seconds) => { video.pause(); video.currentTime = data.start + seconds + data.nudge; update(); };
  // One frame is the current one: the last that has begun, or the first where none has.
  const update = () => {
    now.textContent = clock(at());
    document.dispatchEvent(new CustomEvent("lens-time", { detail: { seconds: at() } }));
    const buttons = [...strip.querySelectorAll(".go")];
    const current = buttons.findLast((go) => Number(go.dataset.time) <= at() + data.nudge) ?? buttons[0];
    for (const go of buttons) {
      if (go !== current) go.removeAttribute("aria-current");
      else if (!go.ariaCurrent) { go.setAttribute("aria-current", "true"); reveal(go.parentElement); }
    }
  };
  // Scrolls the strip only: scrollIntoView would move the page.
  const reveal = (item) => {
    const top = item.offsetTop, bottom = top + item.offsetHeight;
    if (top < strip.scrollTop) strip.scrollTop = top;
    else if (bottom > strip.scrollTop + strip.clientHeight) strip.scrollTop = bottom - strip.clientHeight;
  };
  video.ontimeupdate = video.onseeking = video.onseeked = update;
  find(".add").onclick = () => setTriggerValue("add", at());
  // A run of the page makes the strip anew: the keyboard's focus stays on the same frame.
  const focused = parentElement.getRootNode().activeElement?.dataset.id;
  strip.replaceChildren(...data.frames.map((frame, number) => {
    const item = document.createElement("li"), go = document.createElement("button"), out = document.createElement("button");
    const image = document.createElement("img"), label = document.createElement("span"), open = document.createElement("button");
    go.dataset.time = frame.time;
    go.dataset.id = `go-${frame.index}`; out.dataset.id = `out-${frame.index}`;
    go.className = "go"; go.type = out.type = "button"; out.className = "out"; out.textContent = "✕";
    go.title = `Frame ${frame.index} at ${clock(frame.time, 3)}, read with ${frame.decoder}. Show it in the player`;
    out.title = out.ariaLabel = `Remove frame ${frame.index}`;
    image.src = frame.picture; image.alt = `Frame ${frame.index}`;
    label.textContent = `${clock(frame.time)} · #${frame.index}`;
    go.append(image, label);
    go.onclick = () => goTo(frame.time);
    open.className = "open"; open.type = "button"; open.textContent = "⤢"; open.dataset.id = `open-${frame.index}`;
    open.title = open.ariaLabel = `Open frame ${frame.index}`;
    open.onclick = async () => {
      video.pause();
      strip.viewer ??= import(new URL(data.viewer, document.baseURI).href);
      (await strip.viewer).openPictures(data.frames.map((each) => each.whole), number, { font: getComputedStyle(strip).fontFamily });
    };
    out.onclick = () => setTriggerValue("remove", frame.index);
    item.append(go, open);
    if (data.frames.length > 1) item.append(out);
    return item;
  }));
  if (focused) strip.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
  for (const part of [find(".row"), strip]) part.hidden = !data.frames.length;
  // Other parts of the page move the player: `document.dispatchEvent(new CustomEvent("lens-seek", { detail: { seconds } }))`.
  video.listening?.abort(); // this function runs again for new data, and only its last return value is called
  const listening = (video.listening = new AbortController());
  document.addEventListener("lens-seek", (event) => goTo(event.detail.seconds), { signal: listening.signal });
  document.addEventListener("lens-where", update, { signal: listening.signal });
  update();
  if (data.seek.number && video.dataset.seek !== String(data.seek.number)) {
    video.dataset.seek = data.seek.number;
    goTo(data.seek.seconds);
  }
  return () => { listening.abort(); strip.viewer?.then((module) => module.closePictures()); };
}
