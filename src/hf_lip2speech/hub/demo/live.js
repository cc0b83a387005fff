// The live tab: each picture of the camera is sent as a JPEG with its time, as many at once as wait; the answer
// holds the speech that is ready, which is played without a gap.
() => {
  const RATE = 16000, QUALITY = 0.85, WIDTH = 480, SOONEST = 0.05, LATEST = 1.0;  // seconds until it is heard
  const one = (id) => document.getElementById(`live-${id}`);
  const say = (text) => { one("status").textContent = text; };
  const address = (what) => new URL(`gradio_api/live/${what}`, location.href);
  const send = (what, body) => fetch(address(what), {method: "POST", body});
  let visit = null, ended = null;  // the visit before, which the server must have ended

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#live-button")) visit ? end(visit) : start();
  });

  async function start() {
    const mine = visit = {pictures: [], at: 0, heard: 0};
    one("button").textContent = "Stop";
    try {
      await ended;
      mine.sound = new AudioContext({sampleRate: RATE});
      const wanted = {facingMode: "user", width: {ideal: 640}, frameRate: {ideal: 25}};
      mine.media = await navigator.mediaDevices.getUserMedia({video: wanted, audio: false});
      const answer = await send(`start?voice=${encodeURIComponent(one("voice").value)}`);
      if (!answer.ok) throw new Error(await answer.text());
      mine.name = await answer.text();
      one("video").srcObject = mine.media;
      await one("video").play();
    } catch (error) {
      return end(mine, error.name === "NotAllowedError" ? "The camera is not allowed." : error.message);
    }
    if (visit !== mine) return end(mine);  // stopped meanwhile
    one("video").requestVideoFrameCallback(() => take(mine));
    post(mine);
  }

  function take(mine) {
    if (visit !== mine) return;
    const video = one("video"), canvas = mine.canvas ??= document.createElement("canvas");
    const now = performance.now() / 1000;
    canvas.width = Math.min(WIDTH, video.videoWidth);
    canvas.height = Math.round(canvas.width * video.videoHeight / video.videoWidth);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((jpeg) => {
      if (jpeg) mine.pictures.push([now, jpeg]);
      if (mine.pictures.length > 50) mine.pictures.splice(0, 25);  // the network is too slow
    }, "image/jpeg", QUALITY);
    video.requestVideoFrameCallback(() => take(mine));
  }

  async function post(mine) {
    while (visit === mine) {
      const pictures = mine.pictures.splice(0).sort((a, b) => a[0] - b[0]);
      if (!pictures.length) {
        await new Promise((done) => setTimeout(done, 10));
        continue;
      }
      const parts = pictures.flatMap(([time, jpeg]) => {
        const header = new DataView(new ArrayBuffer(12));
        header.setFloat64(0, time, true);
        header.setUint32(8, jpeg.size, true);
        return [header, jpeg];
      });
      let answer;
      try {
        answer = await send(`frames?name=${mine.name}`, new Blob(parts));
      } catch {
        return end(mine, "The connection is lost.");
      }
      if (answer.status === 410) return end(mine, "The time is over.");
      if (!answer.ok) return end(mine, await answer.text());
      play(mine, await answer.arrayBuffer());
      const told = (name) => answer.headers.get(`X-${name}`);
      const face = told("Face") === "1" ? "" : " No face is seen.";
      const dropped = told("Dropped").replace("/", " of ");
      say(`${mine.heard.toFixed(1)} s heard, ${Math.round(1000 * told("Latency"))} ms after the lips; ` +
        `${dropped} pictures dropped.${face}`);
    }
  }

  function play(mine, bytes) {
    const samples = new Int16Array(bytes);
    if (!samples.length) return;
    const buffer = mine.sound.createBuffer(1, samples.length, RATE);
    buffer.getChannelData(0).set(Float32Array.from(samples, (sample) => sample / 32767));
    const source = mine.sound.createBufferSource(), now = mine.sound.currentTime;
    source.buffer = buffer;
    source.connect(mine.sound.destination);
    if (mine.at < now || mine.at > now + LATEST) mine.at = now + SOONEST;
    source.start(mine.at);
    mine.at += samples.length / RATE;
    mine.heard += samples.length / RATE;
  }

  function end(mine, message = null) {
    if (visit === mine) visit = null;
    ended = stop(mine, message);
  }

  async function stop(mine, message) {
    one("button").textContent = "Start the camera";
    mine.media?.getTracks().forEach((track) => track.stop());
    one("video").srcObject = null;
    if (message) say(message);
    try {
      if (mine.name) play(mine, await (await send(`stop?name=${mine.name}`)).arrayBuffer());
    } catch { /* the server is gone, and was told of above */ }
    setTimeout(() => mine.sound?.close(), 1500);
  }
}
