"""An evaluation from the first clip to its files, in one process or several, with resume.

OUT/results.json          the table with intervals, and everything that the numbers depend on
OUT/per_clip.parquet      one line per clip and row: recognised text, every number, the sound's file
OUT/per_clip.jsonl        the same as JSON lines
OUT/index.html            the page to look at and listen to, without a network
OUT/card/                 README.md: the section of a model card, with its `model-index`; .eval_results/
OUT/samples/ROW/ID.wav    the speech that was scored (the shuffled row's is the end-to-end speech)
OUT/mouth/ID.mp4          the model's input
OUT/spectrograms/ROW/ID.png
OUT/.evaluation/          the settings, and one marker per finished clip
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

import hf_lip2speech

from ..cards import write_evaluation_card
from ..constants import FRAME_RATE
from ..data.corpora import Clip
from ..errors import DatasetError, Lip2SpeechError, NotLoadedError
from ..files import write_json
from ..loading import json_object
from ..media.audio import write_audio
from ..media.video import write_video
from ..progress import Progress
from .error_rates import normalise_text
from .lip_sync import SyncNet, face_crops
from .measures import MEASURES, MetricModels, ScoredSpeech, score
from .page import write_page, write_spectrogram
from .quality import dnsmos_name
from .recognisers import Recogniser
from .results import summarise, write_lines, write_table
from .systems import END_TO_END, GROUND_TRUTH, SHUFFLED, ClipSpeech, Reference, RowSpeaker, fingerprint
from .voice import XVectorEncoder

LIBRARIES = ("torch", "transformers", "numpy", "pystoi", "pesq", "jiwer")


def evaluate(
    systems: RowSpeaker,
    out: str | Path,
    *,
    recogniser: Recogniser | None = None,
    syncnet: SyncNet | None = None,
    speaker_encoder: XVectorEncoder | None = None,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate a model; run it again to resume after an interruption.

    Under `accelerate launch` every process takes its share of the clips and the first one combines them; the
    numbers do not depend on the number of processes.

    Args:
        systems: The rows, with the clips.
        out: The folder to write. A folder with an evaluation of something else is refused.
        recogniser: Transcribes every row; None: there is no word error rate.
        syncnet: Scores lip-sync, of raw videos; None: there are no lip-sync scores.
        speaker_encoder: Compares voices; None: the bundled one.
        seed: Of the shuffling and the intervals.
        facts: What else the results say: "model", "command" (a list), "protocol", and "hub_dataset", the data
            set's name on the Hub, for `.eval_results`.
        progress: Show how far it is, on stderr.

    Returns:
        The contents of OUT/results.json (see `results.summarise`); the same in every process.

    Raises:
        DatasetError: `out` holds something else, or no clip could be evaluated.
        Lip2SpeechError: the model's speech cannot be scored.
    """
    state, root = process_state(), Path(out)
    normalise = normalise_text if recogniser is None else recogniser.normaliser.apply
    models = MetricModels(syncnet, normalise, speaker_encoder)
    settings = _settings(systems, recogniser, syncnet, seed)
    settings["speaker_encoder"] = None if speaker_encoder is None else speaker_encoder.description
    if state.is_main_process:
        _claim(root, settings)
    state.wait_for_everyone()
    clips = systems.clips.clips
    todo = [index for index, clip in enumerate(clips) if _done(root, clip.id) is None]
    state.wait_for_everyone()  # nobody starts before everybody knows what is left, or shares would overlap
    order = derangement(len(clips), seed) if SHUFFLED in systems.rows else []
    done, own = len(clips) - len(todo), todo[state.process_index :: state.num_processes]
    with Progress("clips", done + len(own), done=done, shown=progress) as bar:
        for index in own:
            marker = _evaluate_clip(root, systems, recogniser, models, order, index)
            write_json(_marker(root, clips[index].id), marker, indent=1)
            bar.update()
    state.wait_for_everyone()
    if state.is_main_process:
        _write_results(root, systems, settings, facts or {}, recogniser)
    state.wait_for_everyone()
    return json.loads((root / "results.json").read_text(encoding="utf-8"))


def process_state() -> PartialState:
    """This process among those of an `accelerate launch` (or torchrun); the only one where there was none."""
    # Without a GPU accelerate has to be told, or each of several processes would believe that it is alone.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    # A process that is done may wait for the others for days; the default gives up after half an hour.
    return PartialState(cpu=cpu, timeout=timedelta(days=30))


def derangement(count: int, seed: int) -> list[int]:
    """A random order of 0..count-1, one cycle through all of them: clip i is scored against clip order[i]."""
    if count < 2:
        raise DatasetError(f"Got {count} clips; at least 2 are needed to score one against another.")
    order = np.random.default_rng(seed).permutation(count)
    partner = np.empty(count, dtype=int)
    partner[order] = np.roll(order, 1)  # one cycle, so no clip meets itself
    return partner.tolist()


def _marker(root: Path, clip_id: str) -> Path:
    """Written when all files of a clip are: its numbers, or why it was skipped."""
    return root / ".evaluation" / "clips" / f"{clip_id}.json"


def _done(root: Path, clip_id: str) -> dict[str, Any] | None:
    """What a clip's marker says; None where there is none, or it is damaged: the clip is to be done again."""
    try:
        marker = json_object(_marker(root, clip_id))
    except NotLoadedError:
        return None
    return marker if {"rows", "message"} & set(marker) else None


def _settings(
    systems: RowSpeaker, recogniser: Recogniser | None, syncnet: SyncNet | None, seed: int
) -> dict[str, Any]:
    """Everything that the numbers depend on: a folder with other settings cannot be resumed."""
    model, extractor = systems.model, systems.unit_extractor
    voices = sorted((name, voice.tolist()) for name, voice in model.voices.items())
    return {
        "version": hf_lip2speech.__version__,
        "weights": fingerprint(model),
        "dtype": str(model.dtype),
        "voices": hashlib.sha256(repr(voices).encode()).hexdigest(),
        "vocoder_inputs": model.config.vocoder.inputs,
        "vocoders": {row: fingerprint(vocoder) for row, vocoder in systems.vocoders.items()},
        "unit_extractor": None if extractor is None else fingerprint(extractor),
        "clips": systems.clips.fingerprint(),
        "speaker": None if systems.speaker is None else str(systems.speaker),
        "face": systems.face,
        "recogniser": None if recogniser is None else recogniser.description,
        "syncnet": None if syncnet is None else fingerprint(syncnet),
        "measures": [measure.key for measure in MEASURES if measure.installed],
        "rows": systems.rows,
        "seed": seed,
    }


def _claim(root: Path, settings: dict[str, Any]) -> None:
    """Begin the folder, or check that it was begun with the same settings."""
    path = root / ".evaluation" / "settings.json"
    if path.is_file():
        try:
            begun = json_object(path)
        except NotLoadedError as error:
            raise DatasetError(f"{path} is damaged: give another folder, or remove {root}.") from error
        if changed := [name for name in settings if begun.get(name) != settings[name]]:
            raise DatasetError(
                f"{root} holds an evaluation that differs in: {', '.join(changed)}. Give another folder, or "
                "remove this one."
            )
    elif root.exists() and any(root.iterdir()):
        raise DatasetError(f"{root} holds other files: give an empty or new folder.")
    else:
        write_json(path, settings, indent=1)


def _evaluate_clip(
    root: Path,
    systems: RowSpeaker,
    recogniser: Recogniser | None,
    models: MetricModels,
    order: Sequence[int],
    index: int,
) -> dict[str, Any]:
    """Speak and score one clip and write its files; returns the marker with its numbers."""
    clip = systems.clips.clips[index]
    try:
        speech = systems(clip)
        partner, other = _partner(systems, order, index)
        faces = (
            None if models.syncnet is None or systems.clips.cropped else face_crops(clip.video, systems.face)
        )
    except Lip2SpeechError as error:
        # For example a clip without a face. It counts in no row, and the results name it.
        return {"skipped": type(error).__name__, "message": str(error)}
    heard = {row: recogniser(waveform) for row, waveform in speech.waveforms.items()} if recogniser else {}
    files = _write_media(root, clip, speech)
    rows = {}
    measures = [measure for measure in MEASURES if measure.installed]
    for row in systems.rows:
        spoken, against, judged = row, speech.reference, clip
        if row == SHUFFLED:
            if partner is None or other is None:
                continue
            spoken, against, judged = END_TO_END, other, partner
        scored = ScoredSpeech(
            speech=speech.waveforms[spoken],
            reference=against,
            heard=heard.get(spoken),
            read=speech.read if spoken == END_TO_END else {},
            units=speech.predicted_units if spoken == END_TO_END else None,
            faces=faces,
            shuffled=row == SHUFFLED,
        )
        rows[row] = {
            "voice": speech.voices[row],
            "against": judged.id,
            "text": against.text,
            "said": models.normalise(against.text),
            "heard": heard.get(spoken),
            **files[spoken],
            "numbers": score(scored, models, measures),
        }
    seconds = len(speech.mouth) / FRAME_RATE
    marker = {"id": clip.id, "speaker": clip.speaker, "seconds": seconds, "mouth": files["mouth"]}
    return marker | {"faceless": int((~speech.face_mask).sum()), "rows": rows}


def _partner(systems: RowSpeaker, order: Sequence[int], index: int) -> tuple[Clip | None, Reference | None]:
    """The next clip along the cycle whose sound can be read, and its ground truth."""
    place = order[index] if order else index
    while place != index:
        clip = systems.clips.clips[place]
        try:
            return clip, systems.reference(clip)
        except Lip2SpeechError:  # named among the skipped when its own turn comes
            place = order[place]
    return None, None


def _write_media(root: Path, clip: Clip, speech: ClipSpeech) -> dict[str, Any]:
    """Write sounds, spectrograms and the mouth; returns their names relative to the folder."""
    files: dict[str, Any] = {"mouth": f"mouth/{clip.id}.mp4"}
    write_video(root / files["mouth"], speech.mouth)
    for row, waveform in speech.waveforms.items():
        names = {"sound": f"samples/{row}/{clip.id}.wav", "spectrogram": f"spectrograms/{row}/{clip.id}.png"}
        write_audio(root / names["sound"], waveform)
        write_spectrogram(root / names["spectrogram"], waveform, like=speech.waveforms[GROUND_TRUTH])
        files[row] = names
    return files


def _write_results(
    root: Path,
    systems: RowSpeaker,
    settings: dict[str, Any],
    facts: Mapping[str, Any],
    recogniser: Recogniser | None,
) -> None:
    """Results, table, page and card from the clips' markers."""
    clips = systems.clips.clips
    markers = [json_object(_marker(root, clip.id)) for clip in clips]
    done = [marker for marker in markers if "rows" in marker]
    pairs = zip(clips, markers, strict=True)
    skipped = [{"id": clip.id} | marker for clip, marker in pairs if "rows" not in marker]
    if not done:
        reason = f"{skipped[0]['id']}: {skipped[0]['message']}" if skipped else "there is none"
        raise DatasetError(f"None of the {len(markers)} clips could be evaluated. The first: {reason}")
    everything = {**_facts(systems, settings, recogniser, len(done)), **facts}
    results = summarise(done, systems.rows, everything, skipped, settings["seed"])
    write_table(root / "per_clip.parquet", done)
    write_lines(root / "per_clip.jsonl", done)
    write_evaluation_card(root / "card", results)
    write_page(root / "index.html", results, done)
    write_json(root / "results.json", results, indent=1)


def _facts(
    systems: RowSpeaker, settings: dict[str, Any], recogniser: Recogniser | None, done: int
) -> dict[str, Any]:
    clips, seed = systems.clips, settings["seed"]
    units = None
    if systems.unit_extractor is not None:
        config = systems.unit_extractor.config
        source = "MFCC" if config.features == "mfcc" else f"{config.features}, layer {config.layer}"
        units = f"{config.num_units} clusters of {source}"
    absent = [measure for measure in MEASURES if not measure.installed]
    return {
        "dataset": clips.name,
        "corpus": clips.corpus,
        "split": clips.split,
        "clips": done,
        "input": "prepared mouth crops" if clips.cropped else "raw videos",
        "recogniser": None if recogniser is None else {"name": recogniser.name} | recogniser.description,
        "speaker_encoder": ", ".join(filter(None, (settings["speaker_encoder"] or {}).values())) or None,
        "units": units,
        "shuffled": f"each clip's speech against another clip's sentence and recording, seed {seed}",
        "noise": f"white, as loud as the recording, seed {seed}",
        "naturalness": dnsmos_name() if "dnsmos" in settings["measures"] else None,
        "left_out": ", ".join(f"{m.label} (extra {m.needs[1]})" for m in absent if m.needs) or None,
        "weights_sha256": settings["weights"],
        "vocoders_sha256": settings["vocoders"] or None,
        "dtype": settings["dtype"].removeprefix("torch."),
        "versions": {"hf-lip2speech": hf_lip2speech.__version__, "python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES if find_spec(name)},
    }
