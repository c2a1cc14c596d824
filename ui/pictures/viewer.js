// Import it with `import(new URL(data.viewer, document.baseURI).href)`; data.viewer is `ui.pictures.script.url()`.
// `openPictures(pictures, index, { onPart, partLabel, font })` opens one whole, and goes to the others.
// `pictures`: what Shown.data() makes. `onPart({ key, left, top, width, height })`: someone chose a part, in pixels of the picture.
// It stands on the body of the page: a rerun that draws its strip again leaves it open.
const MOST_ENLARGED = 4; // of a small picture that is fitted to the window
let viewer = null;

export function openPictures(pictures, index, options) {
  viewer ??= new PictureViewer();
  viewer.open(pictures, index, options);
}

// For the function that a component returns: another page has been opened.
export function closePictures() {
  if (viewer && viewer.path !== location.pathname) viewer.dialog.close();
}

class PictureViewer {
  constructor() {
    const host = document.body.appendChild(document.createElement("div"));
    const root = host.attachShadow({ mode: "open" });
    const style = root.appendChild(document.createElement("style"));
    style.textContent = VIEWER_CSS;
    this.dialog = root.appendChild(document.createElement("dialog"));
    this.dialog.innerHTML = VIEWER_HTML;
    this.find = (name) => this.dialog.querySelector(name);
    [this.stage, this.image, this.frame, this.form] = [".stage", "img", ".part", ".region"].map(this.find);
    this.pointers = new Map();
    this.listen();
  }

  listen() {
    const does = {
      smaller: () => this.zoom(1 / 1.5), larger: () => this.zoom(1.5), fit: () => this.fit(), close: () => this.dialog.close(),
      previous: () => this.go(-1), next: () => this.go(1), part: () => this.cut(true), whole: () => this.cut(false),
    };
    this.dialog.onclick = (event) => does[event.target.closest("[data-do]")?.dataset.do]?.();
    this.dialog.onkeydown = (event) => this.key(event);
    this.dialog.oncancel = (event) => { if (this.part) { event.preventDefault(); this.cut(false); } };
    this.dialog.onclose = () => { this.pointers.clear(); this.image.removeAttribute("src"); };
    this.image.onload = () => { this.say(""); this.image.style.backgroundImage = ""; };
    this.image.onerror = () => { if (this.image.getAttribute("src")) this.say("This picture is missing or damaged."); };
    this.stage.onwheel = (event) => { event.preventDefault(); this.zoom(Math.exp(-event.deltaY / 400), this.at(event)); };
    this.stage.ondblclick = (event) => this.toggle(event);
    this.stage.onpointerdown = (event) => this.press(event);
    this.stage.onpointermove = (event) => this.move(event);
    this.stage.onpointerup = this.stage.onpointercancel = (event) => this.release(event);
    this.form.onchange = () => this.setPart(Object.fromEntries([...new FormData(this.form)].map(([name, value]) => [name, Number(value)])));
    this.form.onsubmit = (event) => { event.preventDefault(); this.form.onchange(); this.use(); };
    new ResizeObserver(() => { if (this.dialog.open) this.fit(); }).observe(this.stage);
  }

  open(pictures, index, options) {
    Object.assign(this, { pictures, index, options, path: location.pathname });
    this.dialog.style.fontFamily = options.font ?? "sans-serif";
    this.dialog.showModal();
    this.show();
  }

  show() {
    const { pictures, index } = this, picture = (this.picture = pictures[index]);
    const place = pictures.length > 1 ? ` · ${index + 1} of ${pictures.length}` : "";
    this.find(".name").textContent = this.dialog.ariaLabel = this.image.alt = picture.name;
    this.find(".facts").textContent = `${picture.width} × ${picture.height} px${place}`;
    this.find(".hidden-badge").hidden = !picture.hidden;
    this.find("[data-do=previous]").hidden = index === 0;
    this.find("[data-do=next]").hidden = index === pictures.length - 1;
    this.find("[data-do=part]").hidden = !this.options.onPart;
    this.find(".use").textContent = this.options.partLabel ?? "";
    const link = this.find(".download");
    [link.href, link.download] = [picture.whole, fileName(picture.name)];
    if (this.image.getAttribute("src") !== picture.whole) {
      this.image.style.backgroundImage = `url(${picture.small})`;
      this.image.style.backgroundSize = "100% 100%";
      this.say("Loading…");
      this.image.src = picture.whole;
    }
    this.cut(false);
    this.fit();
  }

  say(text) { this.find(".message").textContent = text; }

  go(by) {
    const to = this.index + by;
    if (this.part || to < 0 || to >= this.pictures.length) return;
    const focused = this.dialog.getRootNode().activeElement;
    this.index = to;
    this.show();
    if (focused?.hidden) this.find(by > 0 ? "[data-do=previous]" : "[data-do=next]").focus(); // the last one has no next
  }

  // Geometry: `scale` is CSS pixels for each pixel of the picture; x and y are where its corner is on the stage.
  fitScale() {
    const { width, height } = this.picture, room = 24;
    return Math.min(Math.max(1, this.stage.clientWidth - room) / width, Math.max(1, this.stage.clientHeight - room) / height, MOST_ENLARGED);
  }

  fit() {
    this.scale = this.fitScale();
    this.place(0, 0);
  }

  // Around a point of the stage, its middle without one.
  zoom(factor, point = { x: this.stage.clientWidth / 2, y: this.stage.clientHeight / 2 }) {
    const least = this.fitScale(), scale = Math.max(least, Math.min(this.scale * factor, Math.max(8, least * 4)));
    const by = scale / this.scale;
    this.scale = scale;
    this.place(point.x - (point.x - this.x) * by, point.y - (point.y - this.y) * by);
  }

  toggle(event) {
    if (this.part || event.target.closest("button")) return;
    const fitted = this.fitScale();
    this.zoom(this.scale > fitted * 1.01 ? 0 : Math.max(1, fitted * 2.5) / this.scale, this.at(event));
  }

  // A picture smaller than the stage stays in its middle; a larger one covers it.
  place(x, y) {
    const within = (value, size, room) => (size <= room ? (room - size) / 2 : Math.max(room - size, Math.min(0, value)));
    const [width, height] = [this.picture.width * this.scale, this.picture.height * this.scale];
    this.x = within(x, width, this.stage.clientWidth);
    this.y = within(y, height, this.stage.clientHeight);
    Object.assign(this.image.style, { left: `${this.x}px`, top: `${this.y}px`, width: `${width}px`, height: `${height}px` });
    this.image.classList.toggle("pixels", this.scale > 3);
    this.find(".scale").textContent = `${Math.round(this.scale * 100)}%`;
    this.drawPart();
  }

  at(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  onPicture(point) { return { x: (point.x - this.x) / this.scale, y: (point.y - this.y) / this.scale }; }

  // Pointers: one drags the picture or a part of it, two zoom.
  press(event) {
    if (event.target.closest("button") || (event.pointerType === "mouse" && event.button)) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    this.image.classList.add("held");
    const grip = event.target.dataset.corner ?? (event.target === this.frame ? "inside" : "");
    if (this.pointers.size === 1) this.drag = { start: this.at(event), grip, before: this.part, moved: false, target: event.target };
    else if (this.part && this.drag) this.setPart(this.drag.before); // two fingers zoom: nothing was drawn
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) return;
    const before = [...this.pointers.values()];
    const now = this.at(event), old = this.pointers.get(event.pointerId);
    this.pointers.set(event.pointerId, now);
    if (before.length === 2) { this.pinch(before, [...this.pointers.values()]); return; }
    const { start, grip } = this.drag;
    this.drag.moved ||= Math.hypot(now.x - start.x, now.y - start.y) > 4;
    if (!this.drag.moved) return;
    if (this.part) this.setPart(draggedPart(this.drag.before, grip, this.onPicture(start), this.onPicture(now), this.picture));
    else this.place(this.x + now.x - old.x, this.y + now.y - old.y);
  }

  pinch(before, now) {
    const distance = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y), middle = ([a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
    const [from, to] = [middle(before), middle(now)];
    this.drag.moved = this.drag.pinched = true;
    this.place(this.x + to.x - from.x, this.y + to.y - from.y);
    this.zoom(distance(now) / Math.max(1, distance(before)), to);
  }

  release(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) {
      for (const point of this.pointers.values()) Object.assign(this.drag, { start: point, before: this.part }); // the other finger goes on
      return;
    }
    this.image.classList.remove("held");
    const { start, moved, pinched, target } = this.drag, across = this.at(event).x - start.x;
    if (this.part || pinched) return;
    if (!moved && target === this.stage && event.type === "pointerup") this.dialog.close(); // beside the picture
    if (event.pointerType === "touch" && Math.abs(across) > 60 && this.scale <= this.fitScale() * 1.01) this.go(across < 0 ? 1 : -1);
  }

  key(event) {
    event.stopPropagation(); // the page's own shortcuts rest
    if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5), 0: () => this.fit(),
      ArrowLeft: () => this.go(-1), ArrowRight: () => this.go(1),
    };
    if (this.part && event.key.startsWith("Arrow")) {
      this.setPart(keyedPart(this.part, event, Math.max(1, Math.round(4 / this.scale)), this.picture));
    } else if (does[event.key]) does[event.key]();
    else return;
    event.preventDefault();
  }

  // Choosing a part
  cut(on) {
    const was = this.part;
    this.part = on ? middlePart(this.picture) : null;
    this.stage.classList.toggle("cutting", on);
    this.form.hidden = this.frame.hidden = !on;
    for (const name of ["previous", "next"]) this.find(`[data-do=${name}]`).style.visibility = on ? "hidden" : "";
    if (on) { this.setPart(this.part); this.frame.focus(); } else if (was) this.find("[data-do=part]").focus();
  }

  setPart(part) {
    this.part = clampPart(part, this.picture);
    for (const [name, value] of Object.entries(this.part)) this.form.elements[name].value = value;
    this.drawPart();
  }

  drawPart() {
    if (!this.part) return;
    const { left, top, width, height } = this.part, px = (value) => `${value * this.scale}px`;
    const [x, y] = [this.x + left * this.scale, this.y + top * this.scale];
    Object.assign(this.frame.style, { left: `${x}px`, top: `${y}px`, width: px(width), height: px(height) });
  }

  use() {
    this.options.onPart({ key: this.picture.key, ...this.part });
    this.dialog.close();
    document.querySelector("[data-testid=stChatInputTextArea]")?.focus({ preventScroll: true });
  }
}

// The route converts formats that browsers do not show.
function fileName(name) {
  const kept = /\.(jpe?g|png|webp)$/i;
  return kept.test(name) ? name : /\.(heic|heif|avif)$/i.test(name) ? `${name}.jpg` : `${name}.png`;
}
