// The newest frame of a clip or stream. The next one is asked for only once this one was drawn.
export default function ({ data, parentElement }) {
  const image = parentElement.querySelector("img"), note = parentElement.querySelector("p");
  let failures = 0, number = 0, ended = false;
  const next = (wait) => setTimeout(() => { if (!ended && image.isConnected) image.src = `${data.url}?${number++}`; }, wait);
  image.onload = () => { failures = 0; image.hidden = false; note.hidden = true; next(data.interval); };
  image.onerror = () => { if (failures++ < 20) next(1000); };
  if (!image.hasAttribute("src")) next(0);
  return () => { ended = true; };
}
