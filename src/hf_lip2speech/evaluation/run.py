"""An evaluation from the first clip to its files, in one process or several, killed and taken up again."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from tqdm import tqdm
from transformers import PreTrainedConfig

import hf_lip2speech

from ..constants import FRAME_RATE
from ..data.corpora import Clip
from ..errors import DatasetError, Lip2SpeechError
from ..media.audio import write_audio
from ..media.video import write_video
from .card import write_card
from .folder import EvaluationFolder, write_json
from .lip_sync import face_crops
from .measures import MEASURES
from .naturalness import dnsmos_name
from .page import write_page
from .pictures import write_spectrogram
from .recognisers import Recogniser
from .results import summarise, write_table
from .scores import Case, OncePerFace, Tools, score
from .syncnet import SyncNet
from .systems import SHUFFLED, TRUTH, WHOLE_PATH, ClipSpeech, Reference, Systems, fingerprint

LIBRARIES = ("torch", "transformers", "numpy", "pystoi", "pesq", "jiwer")


def evaluate(
    systems: Systems,
    out: str | Path,
    *,
    recogniser: Recogniser | None = None,
    syncnet: SyncNet | None = None,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate a model; run again to go on where it was killed.

    Under `accelerate launch` every process takes its share of the clips and the first one puts them together;
    the numbers do not depend on how many there are.

    Args:
        systems: The rows, with the clips.
        out: The folder to write. One that holds an evaluation of something else is refused.
        recogniser: Hears every row; None: there is no word error rate.
        syncnet: Judges lip-sync, of raw videos; None: there are no lip-sync scores.
        seed: Of the shuffling and the intervals.
        facts: What else the results shall say: "model", "command" (a list), and "hub_dataset", the
            data set's name on the Hub, under which `.eval_results` reports.
        progress: Show a bar on stderr.

    Returns:
        What is in OUT/results.json (see `results.summarise`); the same in every process.

    Raises:
        DatasetError: `out` holds something else, or no clip could be evaluated.
        Lip2SpeechError: what the model spoke cannot be scored.
    """
    state = process_state()
    folder = EvaluationFolder(out)
    tools = Tools(None if syncnet is None else OncePerFace(syncnet))
    settings = _settings(systems, recogniser, syncnet, seed)
    if state.is_main_process:
        _claim(folder, settings)
    state.wait_for_everyone()
    clips = systems.clips.clips
    todo = [clip for clip in clips if not folder.marker(clip.id).is_file()]
    state.wait_for_everyone()  # nobody starts before everybody knows what is left, or shares would overlap
    others = _others(clips, seed) if SHUFFLED in systems.rows else {}
    done, own = len(clips) - len(todo), todo[state.process_index :: state.num_processes]
    with tqdm(total=done + len(own), initial=done, desc="clips", disable=not progress) as bar:
        for clip in own:
            _evaluate_clip(folder, systems, recogniser, tools, clip, others.get(clip.id, ()))
            bar.update()
    state.wait_for_everyone()
    if state.is_main_process:
        _put_together(folder, systems, settings, facts or {}, recogniser)
    state.wait_for_everyone()
    return json.loads(folder.results.read_text(encoding="utf-8"))


def process_state() -> PartialState:
    """Which of the processes of an `accelerate launch` (or torchrun) this is; the only one where there was
    none."""
    # Without a GPU accelerate has to be told, or each of several processes would believe that it is alone.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    # Whoever is done waits for the others, for days if need be; the default gives up after half an hour.
    return PartialState(cpu=cpu, timeout=timedelta(days=30))


def derangement(count: int, seed: int) -> list[int]:
    """A random order of 0..count-1 in which nothing stays in its place: clip i is set against clip order[i].

    Raises:
        DatasetError: fewer than two clips cannot change places.
    """
    if count < 2:
        raise DatasetError(f"{count} clips were given; at least 2 are needed to set one against another.")
    order = np.random.default_rng(seed).permutation(count)
    partner = np.empty(count, dtype=int)
    partner[order] = np.roll(order, 1)  # one cycle through all of them, so none meets itself
    return partner.tolist()


def _others(clips: Sequence[Clip], seed: int) -> dict[str, list[Clip]]:
    """All other clips of each clip, in the order in which it is set against them: the first is used, unless
    its sound cannot be."""
    order, found = derangement(len(clips), seed), {}
    for start, clip in enumerate(clips):
        found[clip.id], place = [], order[start]
        while place != start:  # the order is one cycle
            found[clip.id].append(clips[place])
            place = order[place]
    return found


def _settings(
    systems: Systems, recogniser: Recogniser | None, syncnet: SyncNet | None, seed: int
) -> dict[str, Any]:
    """All that the numbers depend on: a folder begun with other settings cannot be gone on with."""
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
        "recogniser": None if recogniser is None else recogniser.description,
        "syncnet": None if syncnet is None else fingerprint(syncnet),
        "measures": [measure.key for measure in MEASURES if measure.installed],
        "rows": systems.rows,
        "seed": seed,
    }


def _claim(folder: EvaluationFolder, settings: dict[str, Any]) -> None:
    """Begin the folder, or make sure that it was begun with the same settings."""
    if folder.settings.is_file():
        begun = json.loads(folder.settings.read_text(encoding="utf-8"))
        changed = [name for name in settings if begun.get(name) != settings[name]]
        if changed:
            raise DatasetError(
                f"{folder.root} holds an evaluation that differs in: {', '.join(changed)}. Give another "
                "folder, or remove this one."
            )
    elif folder.root.exists() and any(folder.root.iterdir()):
        raise DatasetError(f"{folder.root} holds other files: give a folder that is empty or not there yet.")
    else:
        write_json(folder.settings, settings)


def _evaluate_clip(
    folder: EvaluationFolder,
    systems: Systems,
    recogniser: Recogniser | None,
    tools: Tools,
    clip: Clip,
    others: Sequence[Clip],
) -> None:
    """Speak and score one clip; write its files, last the marker with its numbers."""
    try:
        speech = systems(clip)
        partner, other = _counterpart(systems, others)
        faces = None if tools.syncnet is None or systems.clips.cropped else face_crops(clip.video)
    except Lip2SpeechError as error:
        # A clip without a face, say. It counts for no row, and the results name it.
        write_json(folder.marker(clip.id), {"skipped": type(error).__name__, "message": str(error)})
        return
    heard = {row: recogniser(waveform) for row, waveform in speech.waveforms.items()} if recogniser else {}
    rows = {}
    measures = [measure for measure in MEASURES if measure.installed]
    for row in systems.rows:
        if row == SHUFFLED and other is None:
            continue
        spoken = WHOLE_PATH if row == SHUFFLED else row
        against, judged = (other, partner) if row == SHUFFLED else (speech.reference, clip)
        assert against is not None and judged is not None
        case = Case(
            speech=speech.waveforms[spoken],
            reference=against,
            heard=heard.get(spoken),
            units=speech.predicted_units if spoken == WHOLE_PATH else None,
            faces=faces,
            shuffled=row == SHUFFLED,
        )
        rows[row] = {
            "voice": speech.voices[row],
            "against": judged.id,
            "text": against.text,
            "heard": heard.get(spoken),
            "sound": folder.sample(spoken, clip.id).relative_to(folder.root).as_posix(),
            "numbers": score(case, tools, measures),
        }
    _write_media(folder, clip, speech)
    write_json(
        folder.marker(clip.id),
        {"id": clip.id, "speaker": clip.speaker, "seconds": len(speech.mouth) / FRAME_RATE, "rows": rows},
    )


def _counterpart(systems: Systems, others: Sequence[Clip]) -> tuple[Clip | None, Reference | None]:
    """The first of the clips that has a sound, and its truth."""
    for clip in others:
        try:
            return clip, systems.reference(clip)
        except Lip2SpeechError:  # named among the skipped when its own turn comes
            continue
    return None, None


def _write_media(folder: EvaluationFolder, clip: Clip, speech: ClipSpeech) -> None:
    for row, waveform in speech.waveforms.items():
        for path in (folder.sample(row, clip.id), folder.spectrogram(row, clip.id)):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(folder.sample(row, clip.id), waveform)
        write_spectrogram(folder.spectrogram(row, clip.id), waveform, like=speech.waveforms[TRUTH])
    folder.mouth(clip.id).parent.mkdir(parents=True, exist_ok=True)
    write_video(folder.mouth(clip.id), speech.mouth)


def _put_together(
    folder: EvaluationFolder,
    systems: Systems,
    settings: dict[str, Any],
    facts: Mapping[str, Any],
    recogniser: Recogniser | None,
) -> None:
    """Results, table, page and card from the clips' markers."""
    clips = systems.clips
    markers = [json.loads(folder.marker(clip.id).read_text(encoding="utf-8")) for clip in clips.clips]
    done = [marker for marker in markers if "rows" in marker]
    skipped = [
        {"id": clip.id} | marker
        for clip, marker in zip(clips.clips, markers, strict=True)
        if "rows" not in marker
    ]
    if not done:
        reason = f"{skipped[0]['id']}: {skipped[0]['message']}" if skipped else "there is none"
        raise DatasetError(f"None of the {len(markers)} clips could be evaluated. The first: {reason}")
    everything = {**_facts(systems, settings, recogniser, len(done)), **facts}
    results = summarise(done, systems.rows, everything, skipped, settings["seed"])
    write_table(folder.table, done)
    write_card(folder.card, results)
    write_page(folder, results, done)
    write_json(folder.results, results)


def _facts(
    systems: Systems, settings: dict[str, Any], recogniser: Recogniser | None, done: int
) -> dict[str, Any]:
    clips, seed = systems.clips, settings["seed"]
    extractor = None if systems.unit_extractor is None else systems.unit_extractor.config
    absent = [measure for measure in MEASURES if not measure.installed]
    return {
        "dataset": clips.name,
        "corpus": clips.corpus,
        "split": clips.split,
        "clips": done,
        "input": "mouth crops made beforehand" if clips.cropped else "raw videos",
        "recogniser": None if recogniser is None else {"name": recogniser.name} | recogniser.description,
        "units": extractor and f"{extractor.num_units} clusters of {_features(extractor)}",
        "shuffled": f"each clip's speech against another clip's sentence and recording, seed {seed}",
        "noise": f"white, as loud as the recording, seed {seed}",
        "naturalness": dnsmos_name() if "dnsmos" in settings["measures"] else None,
        "left_out": ", ".join(f"{m.label} (extra {m.needs[1]})" for m in absent if m.needs) or None,
        "weights_sha256": settings["weights"],
        "vocoders_sha256": settings["vocoders"] or None,
        "dtype": settings["dtype"].removeprefix("torch."),
        "versions": {"hf-lip2speech": hf_lip2speech.__version__, "python": platform.python_version()}
        | {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _features(extractor: PreTrainedConfig) -> str:
    return "MFCC" if extractor.features == "mfcc" else f"{extractor.features}, layer {extractor.layer}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
