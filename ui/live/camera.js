// The camera of this browser. `data.url`: where its frames go; `data.edge`: their longer side in px; `data.interval`: ms from one to the next.
// A frame is taken only once the one before was accepted, so none waits: what the app gets is always what the camera shows now.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".camera");
  root.camera ??= new Camera(root);
  root.camera.use(data);
  return () => root.camera.leave();
}

const REFUSED = {
  NotAllowedError: "The camera was not allowed. Allow it for this site, beside the address, and try again.",
  NotFoundError: "No camera was found. Connect one and try again.",
  OverconstrainedError: "This camera is not there any more. Try again.",
  NotReadableError: "The camera cannot be read: another program may be using it. Close it and try again.",
};
const INSECURE = "Browsers give a camera only to pages on this machine (localhost) or over HTTPS. Open the app one of these ways.";

class Camera {
  constructor(root) {
    this.find = (name) => root.querySelector(name);
    [this.video, this.select] = [this.find("video"), this.find("select")];
    this.canvas = document.createElement("canvas");
    this.find(".again").onclick = () => this.begin();
    this.select.onchange = () => this.begin(this.select.value);
    this.turn = 0; // raised whenever what runs has to stop
  }

  use(data) {
    clearTimeout(this.leaving);
    if (data.url === this.data?.url) return;
    this.data = data;
    this.begin();
  }

  // A run of the page can draw this anew: it stops only if it is not used again at once.
  leave() { this.leaving = setTimeout(() => this.close(), 200); }

  close() {
    this.turn += 1;
    this.data = null;
    this.release();
  }

  release() {
    for (const track of this.video.srcObject?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
  }

  say(text, canTryAgain = false) {
    if (this.find(".state").textContent !== text) this.find(".state").textContent = text;
    this.find(".again").hidden = !canTryAgain;
  }

  async begin(device) {
    const turn = (this.turn += 1);
    this.release();
    if (!navigator.mediaDevices?.getUserMedia) return this.say(INSECURE);
    this.say("Waiting for the camera. The browser may ask whether this page may use it.");
    try {
      const size = { width: { ideal: 1280 }, height: { ideal: 960 } };
      const video = device ? { ...size, deviceId: { exact: device } } : { ...size, facingMode: { ideal: "environment" } };
      const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
      if (turn !== this.turn) { for (const track of stream.getTracks()) track.stop(); return; }
      this.video.srcObject = stream;
      stream.getVideoTracks()[0].onended = () => { if (turn === this.turn) this.say("The camera was turned off.", true); };
      await this.list(stream);
      this.say("");
      await this.send(turn);
    } catch (error) {
      if (turn === this.turn) this.say(REFUSED[error.name] ?? `The camera cannot be used: ${error.message}`, true);
    }
  }

  async list(stream) {
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
    this.find(".which").hidden = cameras.length < 2;
    const used = stream.getVideoTracks()[0].getSettings().deviceId;
    this.select.replaceChildren(...cameras.map((camera, index) => new Option(camera.label || `Camera ${index + 1}`, camera.deviceId, false, camera.deviceId === used)));
  }

  async send(turn) {
    while (turn === this.turn) {
      const taken = performance.now();
      const frame = this.video.readyState >= 2 && this.video.videoWidth ? await this.frame() : null;
      if (frame && turn === this.turn) await this.post(frame, taken);
      await new Promise((done) => setTimeout(done, Math.max(20, this.data ? this.data.interval - (performance.now() - taken) : 0)));
    }
  }

  frame() {
    const { videoWidth: width, videoHeight: height } = this.video, scale = Math.min(1, this.data.edge / Math.max(width, height));
    [this.canvas.width, this.canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    return new Promise((done) => this.canvas.toBlob(done, "image/jpeg", 0.9));
  }

  async post(frame, taken) {
    const turn = this.turn, headers = { "Content-Type": "image/jpeg", "X-Frame-Age": String((performance.now() - taken) / 1000) };
    try {
      const answer = await fetch(this.data.url, { method: "POST", body: frame, headers });
      if (turn !== this.turn) return;
      if (answer.status === 410) { this.turn += 1; this.release(); this.say("The camera is off: the session is over, or another tab sends its camera."); }
      else if (!answer.ok) { this.say(`The app refused a frame: ${await answer.text()}`); await new Promise((done) => setTimeout(done, 1000)); }
      else this.say("");
    } catch {
      if (turn === this.turn) this.say("The app cannot be reached. Trying again.");
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}
