// Frames of a talking face -> gray mouth crops of 96x96 pixels, by the networks and the geometry of
// hf_lip2speech/video: BlazeFace finds the face, Face Mesh follows it, a similarity transform places the crop.
// Of several faces the largest is followed; hf_lip2speech takes the one that is largest over the whole video.
//
// A frame is an ImageData. A matrix [a, b, c, d, e, f] takes the pixel (x, y) to (a x + b y + c, d x + e y + f).

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

const DETECTION_SIZE = 128, MESH_SIZE = 192, MESH_MARGIN = 1.5, MOUTH_SIZE = 96;
const LEAST_SCORE = 0.5, SEARCH_EVERY = 12, SMOOTHING_WINDOW = 12; // the latter two in frames
const RIGHT_EYE = 33, LEFT_EYE = 263;
const STABLE_POINTS = [2, 33, 133, 362, 263];
const MEAN_FACE = [[128.87, 137.30], [92.52, 94.37], [112.77, 94.94], [145.53, 94.53], [166.68, 93.57]];
const LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
  78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95];

const clip = (x, low, high) => Math.min(Math.max(x, low), high);
const sigmoid = (x) => 1 / (1 + Math.exp(-clip(x, -80, 80)));
const mean = (points) => [0, 1].map((axis) => points.reduce((sum, p) => sum + p[axis], 0) / points.length);
const apply = ([a, b, c, d, e, f], [x, y]) => [a * x + b * y + c, d * x + e * y + f];

/** Bilinear samples of a frame on an affine grid: Float32Array (size, size, 3), 0..255; the edge repeats. */
export function warp(frame, matrix, size) {
  let [a, b, c, d, e, f] = matrix;
  const step = Math.max(1, Math.floor(Math.sqrt(Math.abs(a * e - b * d))));
  const corners = [[0, 0], [size - 1, 0], [0, size - 1], [size - 1, size - 1]].map((p) => apply(matrix, p));
  const [low, high] = [[], []];
  [frame.width, frame.height].forEach((length, axis) => {
    const places = corners.map((p) => p[axis]);
    low[axis] = clip(Math.floor(Math.min(...places)) - step, 0, Math.max(length - step, 0));
    const end = clip(Math.ceil(Math.max(...places)) + step + 1, low[axis] + step, Math.max(length, low[axis] + step));
    high[axis] = Math.min(end, length);
  });
  c -= low[0];
  f -= low[1];
  let [columns, rows] = [high[0] - low[0], high[1] - low[1]];
  const shrunk = step >= 2 && Math.min(rows, columns) >= step; // a large face would alias
  const block = shrunk ? step : 1;
  if (shrunk) {
    [columns, rows] = [Math.floor(columns / step), Math.floor(rows / step)];
    [a, b, c, d, e, f] = [a, b, c + 0.5 - step / 2, d, e, f + 0.5 - step / 2].map((x) => x / step);
  }
  const part = new Float32Array(rows * columns * 3);
  for (let y = 0; y < rows * block; y++) {
    for (let x = 0; x < columns * block; x++) {
      const from = 4 * ((low[1] + y) * frame.width + low[0] + x);
      const to = 3 * (Math.floor(y / block) * columns + Math.floor(x / block));
      for (let channel = 0; channel < 3; channel++) part[to + channel] += frame.data[from + channel] / block ** 2;
    }
  }
  const out = new Float32Array(size * size * 3);
  for (let row = 0, at = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const x = clip(a * column + b * row + c, 0, columns - 1), y = clip(d * column + e * row + f, 0, rows - 1);
      const x0 = Math.floor(x), y0 = Math.floor(y), u = x - x0, v = y - y0;
      const x1 = Math.min(x0 + 1, columns - 1), y1 = Math.min(y0 + 1, rows - 1);
      for (let channel = 0; channel < 3; channel++, at++) {
        const pixel = (px, py) => part[3 * (py * columns + px) + channel];
        out[at] = (1 - v) * ((1 - u) * pixel(x0, y0) + u * pixel(x1, y0))
          + v * ((1 - u) * pixel(x0, y1) + u * pixel(x1, y1));
      }
    }
  }
  return out;
}

/** BlazeFace's 896 anchors: 2 on each cell of 16 x 16, 6 on each of 8 x 8. */
function anchors() {
  const centres = [];
  for (const [cells, count] of [[16, 2], [8, 6]]) {
    for (let index = 0; index < cells * cells * count; index++) {
      const cell = Math.floor(index / count);
      centres.push([(cell % cells + 0.5) / cells, (Math.floor(cell / cells) + 0.5) / cells]);
    }
  }
  return centres;
}
const ANCHORS = anchors();

function iou(one, other) {
  const side = (axis) => Math.max(0, Math.min(one[2 + axis], other[2 + axis]) - Math.max(one[axis], other[axis]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const common = side(0) * side(1);
  return common / Math.max(area(one) + area(other) - common, 1e-9);
}

/** Merges overlapping detections [box and eyes as 8 numbers, score]: score-weighted means, best first. */
function suppress(found) {
  found = [...found].sort((one, other) => other.score - one.score);
  const kept = [];
  while (found.length) {
    const same = found.filter((other, index) => index === 0 || iou(found[0].places, other.places) > 0.3);
    const total = same.reduce((sum, one) => sum + one.score, 0);
    const places = found[0].places.map((_, k) => same.reduce((sum, one) => sum + one.places[k] * one.score, 0) / total);
    kept.push({ places, score: found[0].score });
    found = found.filter((one) => !same.includes(one));
  }
  return kept;
}

function tileCentres(length, tile) {
  if (tile >= length) return [length / 2];
  const count = Math.ceil((length - tile) / (tile / 2)) + 1;
  return Array.from({ length: count }, (_, k) => tile / 2 + (length - tile) * k / (count - 1));
}

/** The rotation, scale and shift that bring points nearest to others. */
function similarity(source, target) {
  const [from, to] = [mean(source), mean(target)];
  let [norm, a, b] = [0, 0, 0];
  source.forEach((point, k) => {
    const [x, y] = [point[0] - from[0], point[1] - from[1]], [u, v] = [target[k][0] - to[0], target[k][1] - to[1]];
    norm += x * x + y * y;
    a += x * u + y * v;
    b += x * v - y * u;
  });
  [a, b] = [a / norm, b / norm];
  return [a, -b, to[0] - a * from[0] + b * from[1], b, a, to[1] - b * from[0] - a * from[1]];
}

/** Six points, five stable ones and the middle of the mouth -> crop pixel to frame pixel. */
function cropMatrix(points) {
  let [a, b, c, d, e, f] = similarity(points.slice(0, 5), MEAN_FACE);
  const mouth = apply([a, b, c, d, e, f], points[5]);
  c += MOUTH_SIZE / 2 - mouth[0];
  f += MOUTH_SIZE / 2 - mouth[1];
  const det = a * e - b * d;
  return [e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det];
}

export class Face {
  static async load(folder, wasm) {
    await loadLiteRt(wasm);
    const face = new Face();
    const open = (name) => loadAndCompile(`${folder}${name}.tflite`, { accelerator: "wasm" });
    [face.detector, face.mesh] = [await open("face_detection_short_range"), await open("face_landmark")];
    return face;
  }

  /** Outputs of a network by their length: that of the wanted sizes, in that order. */
  async run(network, image, size, lengths) {
    const input = new Tensor(image, [1, size, size, 3]);
    const outputs = await network.run([input]);
    input.delete();
    const values = [...outputs].map((output) => {
      const value = Float32Array.from(output.toTypedArray());
      output.delete();
      return value;
    });
    return lengths.map((length) => values.find((value) => value.length === length));
  }

  async search(frame, [x, y], side) {
    const scale = side / DETECTION_SIZE, corner = [x - side / 2, y - side / 2];
    const shift = corner.map((place) => place + scale / 2 - 0.5);
    const image = warp(frame, [scale, 0, shift[0], 0, scale, shift[1]], DETECTION_SIZE);
    const low = corner.map((place) => Math.ceil(Math.max(-place / scale, 0)));
    const high = [frame.width, frame.height].map((length, axis) => Math.floor((length - corner[axis]) / scale));
    for (let k = 0; k < image.length; k++) { // black beyond the frame: repeated edges can look like faces
      const place = [Math.floor(k / 3) % DETECTION_SIZE, Math.floor(k / 3 / DETECTION_SIZE)];
      const outside = place.some((value, axis) => value < low[axis] || value >= high[axis]);
      image[k] = (outside ? 0 : image[k]) / 127.5 - 1;
    }
    const [raw, logits] = await this.run(this.detector, image, DETECTION_SIZE, [896 * 16, 896]);
    const found = [];
    ANCHORS.forEach((anchor, index) => {
      const score = sigmoid(logits[index]);
      if (score < LEAST_SCORE) return;
      const value = (k) => raw[16 * index + k] / DETECTION_SIZE, at = (k) => value(k) + anchor[k % 2];
      const relative = [at(0) - value(2) / 2, at(1) - value(3) / 2, at(0) + value(2) / 2, at(1) + value(3) / 2,
        at(4), at(5), at(6), at(7)];
      found.push({ places: relative.map((place, k) => place * side + corner[k % 2]), score });
    });
    return suppress(found);
  }

  /** The faces of a frame: boxes and eyes, in pixels; `thorough` looks for small ones, too. */
  async detect(frame, thorough) {
    const { width, height } = frame, [short, long] = [Math.min(width, height), Math.max(width, height)];
    let found = await this.search(frame, [width / 2, height / 2], long);
    for (const tile of thorough ? [short, short / 2] : []) {
      if (tile >= long || (found.length && tile !== short)) continue;
      for (const y of tileCentres(height, tile)) {
        for (const x of tileCentres(width, tile)) found = found.concat(await this.search(frame, [x, y], tile));
      }
    }
    return suppress(found);
  }

  /** The mesh of a face in a box with eyes: its 468 points, its box and its score. */
  async follow(frame, box, eyes) {
    const angle = Math.atan2(eyes[1][1] - eyes[0][1], eyes[1][0] - eyes[0][0]);
    const scale = MESH_MARGIN * Math.max(box[2] - box[0], box[3] - box[1]) / MESH_SIZE;
    const [cos, sin] = [scale * Math.cos(angle), scale * Math.sin(angle)], middle = (MESH_SIZE - 1) / 2;
    const [x, y] = [(box[0] + box[2]) / 2 - 0.5, (box[1] + box[3]) / 2 - 0.5];
    const matrix = [cos, -sin, x - (cos - sin) * middle, sin, cos, y - (sin + cos) * middle];
    const image = warp(frame, matrix, MESH_SIZE).map((value) => value / 255);
    const [mesh, logit] = await this.run(this.mesh, image, MESH_SIZE, [1404, 1]);
    const points = Array.from({ length: 468 }, (_, k) => apply(matrix, [mesh[3 * k] - 0.5, mesh[3 * k + 1] - 0.5]));
    const [xs, ys] = [points.map((p) => p[0]), points.map((p) => p[1])];
    return { points, box: [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)], score: sigmoid(logit[0]) };
  }

  /** The largest face of a frame, or null. */
  async find(frame, thorough) {
    let largest = null;
    const size = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    for (const { places } of await this.detect(frame, thorough)) {
      let face = await this.follow(frame, places.slice(0, 4), [places.slice(4, 6), places.slice(6, 8)]);
      if (face.score >= LEAST_SCORE) face = await this.again(frame, face);
      if (face.score >= LEAST_SCORE && (!largest || size(face) > size(largest))) largest = face;
    }
    return largest;
  }

  again(frame, { box, points }) {
    return this.follow(frame, box, [points[RIGHT_EYE], points[LEFT_EYE]]);
  }

  /** Mouth crops of frames, each Uint8Array (96 * 96), gray; throws where no frame shows a face. */
  async mouths(frames, progress) {
    let [face, sinceSearch] = [null, SEARCH_EVERY];
    const known = []; // [frame's number, its six points as 12 numbers]
    for (let index = 0; index < frames.length; index++) {
      if (face) face = await this.again(frames[index], face);
      if (face && face.score < LEAST_SCORE) face = null;
      sinceSearch += 1;
      if (!face) {
        const thorough = sinceSearch >= SEARCH_EVERY;
        if (thorough) sinceSearch = 0;
        face = await this.find(frames[index], thorough);
      }
      if (face) {
        const points = STABLE_POINTS.map((k) => face.points[k]);
        known.push([index, [...points, mean(LIPS.map((k) => face.points[k]))].flat()]);
      }
      await progress(index + 1);
    }
    if (!known.length) throw new Error("No face was found in this video: show one face, upright and large enough.");
    const filled = frames.map((_, index) => { // between frames with a face, by interpolation
      const after = known.findIndex(([number]) => number >= index);
      if (after <= 0) return known[after < 0 ? known.length - 1 : 0][1];
      const [[n0, before], [n1, behind]] = [known[after - 1], known[after]];
      return before.map((value, k) => value + (behind[k] - value) * (index - n0) / (n1 - n0));
    });
    return frames.map((frame, index) => {
      const window = filled.slice(Math.max(index - SMOOTHING_WINDOW / 2, 0), index + SMOOTHING_WINDOW / 2);
      const smooth = window[0].map((_, k) => window.reduce((sum, row) => sum + row[k], 0) / window.length);
      const points = STABLE_POINTS.concat(0).map((_, k) => [smooth[2 * k], smooth[2 * k + 1]]);
      const rgb = warp(frame, cropMatrix(points), MOUTH_SIZE);
      return Uint8Array.from({ length: MOUTH_SIZE ** 2 },
        (_, k) => Math.floor(0.299 * rgb[3 * k] + 0.587 * rgb[3 * k + 1] + 0.114 * rgb[3 * k + 2] + 0.5));
    });
  }
}
