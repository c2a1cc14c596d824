// The player and its strip of frames. `data.start`: where the first frame is on the player's own clock, in seconds.
// A player that is set exactly to a frame's time may show the frame before it: `data.nudge` prevents that.
export default function ({ data, parentElement, setTriggerValue }) {
  const find = (name) => parentElement.querySelector(name);
  const video = find("video"), now = find(".now"), strip = find(".strip");
  if (video.getAttribute("src") !== data.url) video.src = data.url;
  video.onerror = () => { find(".unplayable").hidden = false; find(".add").hidden = true; };
  video.onloadedmetadata = () => { find(".unplayable").hidden = true; find(".add").hidden = false; };
  // 75.5 → "1:15.50", as the player's own clock counts.
  const clock = (seconds) => {
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    const rest = (seconds % 60).toFixed(2);
    if (seconds < 60) return rest + " s";
    return (hours ? hours + ":" + String(minutes).padStart(2, "0") : minutes) + ":" + rest.padStart(5, "0");
  };
  const at = () => Math.max(0, video.currentTime - data.start);
  const update = () => {
    now.textContent = clock(at());
    let shown = null;
    for (const item of strip.children) {
      item.classList.remove("shown");
      if (Number(item.dataset.time) <= at() + data.nudge) shown = item;
    }
    if (shown) shown.classList.add("shown");
  };
  video.ontimeupdate = video.onseeked = update;
  find(".add").onclick = () => setTriggerValue("add", at());
  strip.replaceChildren(...data.frames.map((frame) => {
    const item = document.createElement("li"), go = document.createElement("button"), out = document.createElement("button");
    const image = document.createElement("img"), label = document.createElement("span");
    item.dataset.time = frame.time;
    go.className = "go"; go.type = out.type = "button"; out.className = "out"; out.textContent = "✕";
    go.title = `Frame ${frame.index} at ${frame.time.toFixed(3)} s, read with ${frame.decoder}. Show it in the player`;
    out.title = out.ariaLabel = `Remove frame ${frame.index}`;
    image.src = frame.picture; image.alt = `Frame ${frame.index}`;
    label.textContent = `${clock(frame.time)} · #${frame.index}`;
    go.append(image, label);
    go.onclick = () => { video.pause(); video.currentTime = data.start + frame.time + data.nudge; };
    out.onclick = () => setTriggerValue("remove", frame.index);
    item.append(go);
    if (data.frames.length > 1) item.append(out);
    return item;
  }));
  update();
}
