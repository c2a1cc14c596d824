// A rectangle on a picture, in its whole pixels. `picture`: width and height. Knows numbers only.
const SMALLEST = 16;

function clampPart(part, picture) {
  const within = (value, low, high) => Math.round(Math.max(low, Math.min(high, Number.isFinite(value) ? value : low)));
  const width = within(part.width, Math.min(SMALLEST, picture.width), picture.width);
  const height = within(part.height, Math.min(SMALLEST, picture.height), picture.height);
  return { left: within(part.left, 0, picture.width - width), top: within(part.top, 0, picture.height - height), width, height };
}

function middlePart(picture) {
  const part = { width: picture.width / 2, height: picture.height / 2, left: picture.width / 4, top: picture.height / 4 };
  return clampPart(part, picture);
}

// Between two points that are dragged apart.
function partBetween(a, b, picture) {
  const inside = (point) => ({ x: Math.max(0, Math.min(picture.width, point.x)), y: Math.max(0, Math.min(picture.height, point.y)) });
  const [p, q] = [inside(a), inside(b)];
  const part = { left: Math.min(p.x, q.x), top: Math.min(p.y, q.y), width: Math.abs(p.x - q.x), height: Math.abs(p.y - q.y) };
  return clampPart(part, picture);
}

// What a drag from `start` does: a corner resizes, the inside moves, anywhere else begins a new one.
function draggedPart(before, grip, start, now, picture) {
  if (grip === "inside") return clampPart({ ...before, left: before.left + now.x - start.x, top: before.top + now.y - start.y }, picture);
  if (!grip) return partBetween(start, now, picture);
  const opposite = {
    x: grip.startsWith("left") ? before.left + before.width : before.left,
    y: grip.endsWith("top") ? before.top + before.height : before.top,
  };
  return partBetween(opposite, now, picture);
}

// Arrow keys move it by a pixel of the screen, at least one of the picture; with Shift they resize it.
function keyedPart(part, event, step, picture) {
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  const by = event.shiftKey ? { width: part.width + x * step, height: part.height + y * step } : { left: part.left + x * step, top: part.top + y * step };
  return clampPart({ ...part, ...by }, picture);
}
