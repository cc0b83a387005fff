// The page: a file or the camera in, speech out.

import { Face } from "./face.js";
import { Speech, wav } from "./speech.js";

const RATE = 25, LONGEST = 20, LARGEST = 640; // frames per second, seconds, pixels of a frame's longer side
const one = (id) => document.getElementById(id);
const [video, button, camera] = [one("video"), one("speak"), one("camera")];
const paint = () => new Promise((resolve) => setTimeout(resolve)); // lets the browser show what was said
const event = (target, name) => new Promise((resolve, reject) => {
  target.addEventListener(name, resolve, { once: true });
  target.addEventListener("error", () => reject(new Error("This file cannot be read as a video here.")), { once: true });
});
let filmed = null; // [[seconds, ImageData], ...] of the camera

function say(text, error = false) {
  one("status").textContent = text;
  one("status").classList.toggle("error", error);
}

/** The picture that the video shows now. */
function picture() {
  const scale = Math.min(1, LARGEST / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * video.videoWidth);
  canvas.height = Math.round(scale * video.videoHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(video, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** The frames at 25 per second: number k is shown (k + 0.5) / 25 s after the first. */
async function frames() {
  const seconds = filmed ? filmed.at(-1)[0] - filmed[0][0] : video.duration;
  if (!(seconds <= LONGEST)) throw new Error(`This video lasts ${Math.round(seconds)} s; at most ${LONGEST} s.`);
  const times = Array.from({ length: Math.max(1, Math.round(RATE * seconds)) }, (_, k) => (k + 0.5) / RATE);
  if (filmed) return times.map((time) => filmed.findLast(([at]) => at - filmed[0][0] <= time)[1]);
  const found = [];
  for (const time of times) {
    const shown = event(video, "seeked");
    video.currentTime = time;
    await shown;
    found.push(picture());
    say(`Reading the video: ${found.length} of ${times.length} frames`);
  }
  return found;
}

async function film() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { frameRate: { ideal: 25 } }, audio: false });
  filmed = [];
  video.srcObject = stream;
  await video.play();
  const keep = (now) => {
    if (!video.srcObject) return;
    filmed.push([now / 1000, picture()]);
    if (now / 1000 - filmed[0][0] > LONGEST - 0.5) camera.click();
    else video.requestVideoFrameCallback(keep);
  };
  video.requestVideoFrameCallback(keep);
  camera.textContent = "Stop";
  say("Filming ...");
}

function stopFilm() {
  video.srcObject.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  camera.textContent = "Film with the camera";
  button.disabled = filmed.length < 2;
  say(`${filmed.length} pictures filmed.`);
}

function showMouths(crops) {
  const chosen = crops.filter((_, index) => index % 5 === 0), [canvas, side] = [one("mouths"), 96];
  const columns = Math.min(chosen.length, 15);
  [canvas.width, canvas.height] = [side * columns, side * Math.ceil(chosen.length / columns)];
  const context = canvas.getContext("2d");
  chosen.forEach((crop, index) => {
    const image = context.createImageData(side, side);
    crop.forEach((gray, k) => image.data.set([gray, gray, gray, 255], 4 * k));
    context.putImageData(image, side * (index % columns), side * Math.floor(index / columns));
  });
}

async function speak(face, speech) {
  const pictures = await frames();
  const start = performance.now();
  const crops = await face.mouths(pictures, async (done) => {
    say(`Following the face: ${done} of ${pictures.length} frames`);
    await paint();
  });
  say("Reading lips and speaking ...");
  await paint();
  const samples = await speech.speak(crops, one("voice").value);
  const seconds = (performance.now() - start) / 1000;
  const rate = speech.settings.sampling_rate;
  one("speech").src = one("download").href = URL.createObjectURL(wav(samples, rate));
  showMouths(crops);
  one("result").hidden = false;
  window.result = { crops, samples }; // for those who open the console
  say(`${(samples.length / rate).toFixed(1)} s of speech, made in ${seconds.toFixed(1)} s.`);
}

async function main() {
  const here = new URL("./", location.href).href;
  const speech = await Speech.load(`${here}model/`, `${here}node_modules/onnxruntime-web/dist/`);
  const face = await Face.load(`${here}face/`, `${here}node_modules/@litertjs/core/wasm/`);
  for (const name of Object.keys(speech.voices)) one("voice").add(new Option(name));
  one("voice").value = speech.settings.default_voice;
  say("Choose a video, or film one.");
  const readably = (work) => async () => {
    try {
      await work();
    } catch (error) {
      say(error.message, true);
    }
  };
  one("file").addEventListener("change", readably(async () => {
    filmed = null;
    button.disabled = true;
    const loaded = event(video, "loadeddata");
    video.src = URL.createObjectURL(one("file").files[0]);
    await loaded;
    button.disabled = false;
    say("Ready.");
  }));
  camera.addEventListener("click", readably(() => (video.srcObject ? stopFilm() : film())));
  button.addEventListener("click", readably(async () => {
    button.disabled = camera.disabled = true;
    try {
      await speak(face, speech);
    } finally {
      button.disabled = camera.disabled = false;
    }
  }));
  one("speech").addEventListener("play", () => { // the picture follows the sound
    if (filmed) return;
    video.currentTime = one("speech").currentTime;
    video.play();
  });
  one("speech").addEventListener("pause", () => video.pause());
}

main().catch((error) => say(error.message, true));
