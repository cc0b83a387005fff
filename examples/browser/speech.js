// Mouth crops -> speech, by the files that `hf-lip2speech export` wrote, as examples/onnx/speak.py does it.

import * as ort from "onnxruntime-web";

export class Speech {
  static async load(folder, wasm) {
    ort.env.wasm.wasmPaths = wasm;
    ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
    const speech = new Speech();
    const json = async (name) => {
      const answer = await fetch(`${folder}${name}.json`);
      if (!answer.ok) throw new Error(`There is no ${folder}${name}.json: export a model, see README.md.`);
      return answer.json();
    };
    [speech.settings, speech.voices] = [await json("preprocessing"), await json("voices")];
    speech.lipReader = await ort.InferenceSession.create(`${folder}lip_reader.onnx`);
    speech.vocoder = await ort.InferenceSession.create(`${folder}vocoder.onnx`);
    return speech;
  }

  /** Crops, each Uint8Array (96 * 96) -> the lip reader's input, Float32Array (T * 88 * 88). */
  pixels(crops) {
    const { mouth_size: from, crop_size: size, ...numbers } = this.settings, margin = (from - size) / 2;
    const values = new Float32Array(crops.length * size * size);
    let at = 0;
    for (const crop of crops) {
      for (let row = 0; row < size; row++) {
        for (let column = 0; column < size; column++) values[at++] = crop[(row + margin) * from + column + margin] / 255;
      }
    }
    let [gain, shift] = [1, 0];
    if (numbers.clip_mean !== null) {
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
      const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
      gain = numbers.clip_std / Math.max(deviation, numbers.smallest_deviation);
      shift = numbers.clip_mean - gain * mean;
    }
    return values.map((x) => (gain * x + shift - numbers.pixel_mean) / numbers.pixel_std);
  }

  /** Speech of a clip, Float32Array (640 T), 16 kHz. */
  async speak(crops, voice) {
    const { crop_size: size, window_frames: window, context_frames: context } = this.settings;
    const speaker = new ort.Tensor("float32", Float32Array.from(this.voices[voice]), [1, this.voices[voice].length]);
    const ones = (length) => new ort.Tensor("int64", new BigInt64Array(length).fill(1n), [1, length]);
    const pixels = this.pixels(crops), total = crops.length;
    const units = new BigInt64Array(2 * total);
    let mel, bins;
    for (let start = 0; start < total; start += window) {
      const left = Math.max(start - context, 0), right = Math.min(start + window + context, total);
      const end = Math.min(start + window, total);
      const seen = pixels.slice(left * size * size, right * size * size);
      const read = await this.lipReader.run({
        pixel_values_videos: new ort.Tensor("float32", seen, [1, right - left, 1, size, size]),
        attention_mask: ones(right - left),
        speaker_embeddings: speaker,
      }, ["unit_ids", "spectrogram"]);
      bins = read.spectrogram.dims[2];
      mel ??= new Float32Array(4 * total * bins);
      units.set(read.unit_ids.data.slice(2 * (start - left), 2 * (end - left)), 2 * start);
      mel.set(read.spectrogram.data.slice(4 * bins * (start - left), 4 * bins * (end - left)), 4 * bins * start);
    }
    const spoken = await this.vocoder.run({
      unit_ids: new ort.Tensor("int64", units, [1, 2 * total]),
      spectrogram: new ort.Tensor("float32", mel, [1, 4 * total, bins]),
      speaker_embeddings: speaker,
      unit_attention_mask: ones(2 * total),
    });
    return spoken.waveform.data;
  }
}

/** A WAV file of samples in -1..1. */
export function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, k) => view.setUint8(at + k, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true);
  view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, k) => view.setInt16(44 + 2 * k, Math.round(32767 * Math.min(Math.max(x, -1), 1)), true));
  return new Blob([view], { type: "audio/wav" });
}
