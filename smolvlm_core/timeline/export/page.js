// The player and the timeline of an exported page move each other. Runs from a file, without network.
const video = document.querySelector("video"), items = [...document.querySelectorAll(".segments > li")];
const offset = Number(document.body.dataset.offset), nudge = Number(document.body.dataset.nudge);
const inside = document.getElementById("clip");
if (video && inside) {
  // A Blob, since browsers seek badly in long data: addresses.
  const text = inside.textContent.trim(), parts = [], step = 1 << 20;
  for (let at = 0; at < text.length; at += step) parts.push(Uint8Array.from(atob(text.slice(at, at + step)), (c) => c.charCodeAt(0)));
  inside.remove();
  video.src = URL.createObjectURL(new Blob(parts, { type: video.dataset.type }));
}
const update = () => {
  const at = video ? video.currentTime - offset + nudge : -1;
  const current = items.findLast((item) => Number(item.dataset.start) <= at && at < Number(item.dataset.end) + nudge);
  for (const item of items) {
    if (item !== current) item.removeAttribute("aria-current");
    else if (!item.ariaCurrent) {
      item.setAttribute("aria-current", "true");
      if (video && !video.paused) item.scrollIntoView({ block: "nearest" });
    }
  }
};
if (video) {
  video.ontimeupdate = video.onseeking = video.onseeked = video.onloadedmetadata = update;
  video.onerror = () => { document.getElementById("unplayable").hidden = false; video.hidden = true; };
  for (const go of document.querySelectorAll(".go"))
    go.onclick = () => { video.currentTime = offset + nudge + Number(go.dataset.start ?? go.closest("li").dataset.start); };
}
const find = document.getElementById("find"), count = document.getElementById("count");
find.oninput = () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const item of items) {
    const text = item.textContent.toLowerCase();
    item.hidden = !words.every((word) => text.includes(word));
    shown += !item.hidden;
  }
  count.textContent = words.length ? `${shown} of ${items.length}` : "";
};
