"""Copy a prepared GRID folder with other voices: the same lips, the same words at the same times.

    python scripts/revoice.py PREPARED OUT [--split train]

A model that has heard each face in one voice only learns the voice from the face and ignores the speaker
embedding. Here every clip's sentence is spoken by one of flite's voices, drawn at random, and stretched to
the recording's timing: by its words' times, then by dynamic time warping of the cepstra (needs the extra
pitch). Mel and speaker embedding are made as in `hf-lip2speech prepare`. Mouth crops and units are links to
the recording's (the lips do not tell the units of another voice), so PREPARED must stay where it is. Train on
both: data: [PREPARED, OUT].
Only GRID's sentences with word times are supported.
"""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hf_lip2speech.constants import SAMPLING_RATE
from hf_lip2speech_extras import needs_extra, require_extra

with needs_extra("train"):
    import pyarrow
    import pyarrow.parquet

    from hf_lip2speech.audio.mel import log_mel_spectrogram
    from hf_lip2speech.data.corpora import Word
    from hf_lip2speech.data.layout import PreparedFolder
    from hf_lip2speech.data.prepared import PreparedDataset
    from hf_lip2speech.errors import Lip2SpeechError
    from hf_lip2speech.evaluation.recognisers import is_grid_sentence
    from hf_lip2speech.files import new_folder
    from hf_lip2speech.media.audio import write_audio
    from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder
    from hf_lip2speech.progress import tracked
    from hf_lip2speech.synthetic.pacing import in_room, stretched
    from hf_lip2speech.synthetic.speech import VOICES, flite_version, speak

STEP = 0.005  # seconds, of the warping
REACH = 16  # steps by which the warping may leave the line through the words' ends
FASTEST = 3  # source steps per step
KNOTS = 4  # steps between the moments that are stretched to their places


def revoiced(
    true: np.ndarray, words: Sequence[Word], text: str, voice: str, rng: np.random.Generator
) -> np.ndarray:
    """The sentence in another voice with the recording's timing.

    Args:
        true: float32 (N,), 16 kHz, the recording.
        words: With times in it.
        text: The sentence.
        voice: One of flite's.
        rng: Of the room's noise.

    Returns:
        float32 (N,), 16 kHz.

    Raises:
        FliteError: flite is missing or fails.
        MissingExtraError: scipy or parselmouth is not installed.
    """
    speech = speak(text, voice)
    start, end = words[0].start, min(words[-1].end, len(true) / SAMPLING_RATE)
    times = np.arange(start, end, STEP)
    heard, said = ([*(word.start for word in some), some[-1].end] for some in (words, speech.words))
    line = np.interp(times, heard, said) / STEP
    path = warped(cepstra(true)[np.round(times / STEP).astype(int)], cepstra(speech.waveform), line)
    places = path[::KNOTS][1:-1] * STEP
    later = (places > 1e-3) & (places < speech.words[-1].end - 1e-3) & (np.diff(places, prepend=0) > 1e-3)
    source = [0.0, *places[later], len(speech.waveform) / SAMPLING_RATE]
    target = [0.0, *(times[::KNOTS][1:-1][later] - start), end - start]
    return in_room([(start, stretched(speech.waveform, source, target))], len(true), rng)


def cepstra(sound: np.ndarray) -> np.ndarray:
    """(frames, 13), one per 5 ms, of mean 0 and deviation 1 over the frames: speakers differ less."""
    mel = log_mel_spectrogram(torch.from_numpy(sound)).numpy()
    values = require_extra("scipy.fft").dct(mel, norm="ortho")[:, :13]
    values = (values - values.mean(0)) / values.std(0)
    grid = np.arange(round(len(sound) / SAMPLING_RATE / STEP) + 1) * STEP * 100  # of 10 ms
    return np.stack([np.interp(grid, np.arange(len(values)), column) for column in values.T], axis=1)


def warped(true: np.ndarray, said: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Dynamic time warping near a line: for each true frame the matching said frame, in order.

    true (N, C), said (M, C), line (N,) in said frames -> float (N,) in said frames.
    """
    offsets = np.arange(-REACH, REACH + 1)
    places = (np.round(line).astype(int)[:, None] + offsets).clip(0, len(said) - 1)  # (N, R)
    costs = np.abs(true[:, None] - said[places]).mean(-1) + 0.002 * np.abs(offsets)
    total, back = costs[0], []
    for index in range(1, len(true)):
        step = places[index][:, None] - places[index - 1][None]  # (R, R)
        ways = total + np.where((step >= 0) & (step <= FASTEST), 0.02 * np.abs(step - 1), np.inf)
        back.append(ways.argmin(axis=1))
        total = ways.min(axis=1) + costs[index]
    chosen = [int(total.argmin())]
    for previous in reversed(back):
        chosen.append(int(previous[chosen[-1]]))
    path = places[np.arange(len(true)), chosen[::-1]].astype(float)
    return require_extra("scipy.ndimage").uniform_filter1d(path, 7, mode="nearest")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--limit", type=int, help="only the first clips")
    parser.add_argument("--seed", type=int, default=0, help="of who speaks what")
    arguments = parser.parse_args()
    try:
        flite_version()
        clips = PreparedDataset(arguments.prepared, arguments.split, fields=("waveform",))
    except Lip2SpeechError as error:
        parser.exit(1, f"{error}\n")
    for row in clips.rows:
        if not is_grid_sentence(row["text"]) or len(row["words"]) != len(row["text"].split()):
            parser.exit(
                1, f"{row['id']}: {row['text']!r} is not a GRID sentence with a time for each word.\n"
            )
    source = PreparedFolder(arguments.prepared)
    encoder = SpeakerEncoder.bundled()
    rng = np.random.default_rng(arguments.seed)
    with new_folder(arguments.out) as unfinished:
        folder, rows = PreparedFolder(unfinished), []
        for index in tracked(range(min(len(clips), arguments.limit or len(clips))), "clips"):
            row, true = clips.rows[index], np.asarray(clips[index]["waveform"])
            voice = str(rng.choice(sorted(VOICES)))
            words = [Word(**word) for word in row["words"]]
            sound = revoiced(true, words, row["text"], voice, rng)
            clip_id = f"{voice}/{row['id'].replace('/', '_')}"
            paths = {name: folder.path(name, clip_id) for name in ("video", "audio", "mel", "units")}
            paths["speaker_embedding"] = folder.path("speaker_embedding", clip_id)
            for path in paths.values():
                path.parent.mkdir(parents=True, exist_ok=True)
            for name in ("video", "units"):
                os.symlink(source.path(name, row["id"]).resolve(), paths[name])
            write_audio(paths["audio"], sound)
            np.save(paths["mel"], log_mel_spectrogram(torch.from_numpy(sound)).numpy()[: 4 * row["frames"]])
            np.save(paths["speaker_embedding"], encoder.embed(sound))
            names = {name: folder.relative(name, clip_id) for name in paths}
            changed = {"id": clip_id, "speaker": voice, "words": json.dumps(row["words"])}
            rows.append(row | names | changed)
        shutil.copytree(source.unit_extractor, folder.unit_extractor)
        schema = pyarrow.parquet.read_schema(source.manifest)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), folder.manifest)


if __name__ == "__main__":
    main()
