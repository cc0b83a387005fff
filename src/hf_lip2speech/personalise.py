"""A model of one's own speaker from a folder of videos: prepare, train both models, compose, evaluate.

MODEL                           the complete model, when it is done
MODEL.work/personalise.json     what was begun: the videos and the settings
MODEL.work/prepared/            the training data
MODEL.work/lip2speech/          the training of the lip reader
MODEL.work/vocoder/             the training of the vocoder
MODEL.work/training.log         what both trainings print
MODEL.work/evaluation/          the report, index.html
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hf_lip2speech_extras import require_needed

from .composite import compose, named_voices
from .constants import FRAME_RATE
from .data.corpora.folder import LEAST_SECONDS, check_transcripts, own_characters, own_videos, stated_length
from .data.layout import PreparedFolder
from .data.workers import sole_use
from .errors import DatasetError, Lip2SpeechError
from .files import named_output, write_json
from .loading import BUNDLED_NAME, json_object
from .machine import fast_dtype
from .pipeline import load_pipeline
from .synthetic.pacing import LipPacedVoice
from .training.own_talker import Settings

STAGES = ("prepare", "train the lip reader", "train the vocoder", "compose", "evaluate")
UPDATES = 2000  # of the lip reader; the vocoder has three tenths
SAMPLE = 4  # clips that are prepared for the estimate


class Personalisation:
    """A model that is to be made, or to be gone on with. Nothing is written before `run`.

    Args:
        videos: A folder of one or several persons' videos with sound, see `FaceVideoFolder`; texts beside
            them are learned by the model's text head.
        model: The folder of the model. It must not exist, unless an earlier `run` made it.
        updates: Of the lip reader, three tenths of it of the vocoder; None: 2,000, or as it was begun.
        num_proc: Processes of the preparation; None: as many as CPUs.
        recogniser: For the word error rate, see `choose_recogniser`.
        synthetic_voice: One of `synthetic.speech.VOICES`, for silent videos with transcripts: the model
            learns its speech from this voice, which reads each transcript at the lips' pace. None: from the
            recordings.

    Raises:
        DatasetError: Too few or too short videos, not those with which `model` was begun, or one without a
            transcript for the synthetic voice.
        FliteError: There is a synthetic voice, and flite is not installed.
        Lip2SpeechError: `model` exists and is something else, or was begun with other settings.
        MissingExtraError: The extras "train", "eval" and "pitch" are not installed.
    """

    def __init__(
        self,
        videos: str | Path,
        model: str | Path,
        *,
        updates: int | None = None,
        num_proc: int | None = None,
        recogniser: str | None = None,
        synthetic_voice: str | None = None,
    ):
        require_needed("personalise")
        self.model, self.recogniser = Path(model), recogniser
        self.work = self.model.with_name(f"{self.model.name}.work")
        self.num_proc = num_proc or _cpus()
        self.corpus = own_videos(videos)
        self._speak = None if synthetic_voice is None else LipPacedVoice(synthetic_voice)
        if self._speak is not None:
            check_transcripts(self.corpus)
        self.seconds = stated_length(self.corpus, with_sound=synthetic_voice is None)
        sizes = {clip: self.corpus.files(clip)[0].stat().st_size for clip in self.corpus.splits}
        self._state: dict[str, Any] = {"videos": str(self.corpus.data_dir.resolve()), "clips": sizes}
        self._state["synthetic_voice"] = synthetic_voice
        self.begun = self._state_file.is_file()
        if self.begun:
            self.settings = self._settings_begun(updates)
        else:
            self._check_new()
            self.settings = self._new_settings(updates or UPDATES)

    @property
    def report(self) -> Path:
        """The page of the evaluation."""
        return self.work / "evaluation" / "index.html"

    @property
    def _state_file(self) -> Path:
        return self.work / "personalise.json"

    @property
    def _prepared(self) -> PreparedFolder:
        return PreparedFolder(self.work / "prepared")

    def _check_new(self) -> None:
        for path in (self.model, self.work):
            if os.path.lexists(path):
                raise Lip2SpeechError(
                    f"{path} exists already, and was not made by `personalise`: name another model, or "
                    "remove it."
                )

    def _new_settings(self, updates: int) -> Settings:
        gpu, hours = torch.accelerator.is_available(), self.seconds / 3600
        return Settings(
            updates=updates,
            batch_size=16 if gpu else 8,
            bf16=_saves_time_in_bf16(),
            workers=min(4, self.num_proc) if gpu else 0,
            cache=hours <= 2,
            text_vocabulary=own_characters(self.corpus),
        )

    def _settings_begun(self, updates: int | None) -> Settings:
        try:
            begun = json_object(self._state_file)
            settings = Settings(**begun["settings"])
            videos, clips = str(begun["videos"]), dict(begun["clips"])
        except (KeyError, TypeError, ValueError) as error:
            raise Lip2SpeechError(
                f"{self._state_file} is damaged: remove {self.model} and {self.work}, and begin again."
            ) from error
        if videos != self._state["videos"]:
            raise DatasetError(
                f"{self.model} was begun with the videos in {videos}, not in "
                f"{self.corpus.data_dir}: name another model, or remove {self.work}."
            )
        if clips != self._state["clips"] and self._prepared.manifest.is_file():
            raise DatasetError(
                f"The videos in {self.corpus.data_dir} are not those with which {self.model} was begun "
                f"({len(clips)} then, {len(self._state['clips'])} now, or changed): name another "
                f"model, or remove {self.work}."
            )
        if (voice := begun.get("synthetic_voice")) != self._state["synthetic_voice"]:
            wanted = f"--synthetic-voice {voice}" if voice else "no synthetic voice"
            raise Lip2SpeechError(
                f"{self.model} was begun with {wanted}: give the same, name another model, or remove "
                f"{self.work}."
            )
        if updates not in (None, settings.updates):
            raise Lip2SpeechError(
                f"{self.model} was begun with {settings.updates} updates, not {updates}: give the same "
                f"number or none, name another model, or remove {self.work}."
            )
        return settings

    def estimate(self) -> dict[str, Any]:
        """How long it will take: a few clips are prepared, a few updates of each training are timed.

        Returns:
            {"clips", "minutes": of video, "prepare_minutes", "lip_reader": (updates, seconds of one),
            "vocoder": the same, "minutes_in_all", "device",
            "sample": clips}. Validation and evaluation come on top.
        """
        from .data.dry_run import estimate

        lip_reader, vocoder = self.settings.lip_reader(), self.settings.vocoder()
        cost = estimate(
            self.corpus,
            num_proc=self.num_proc,
            unit_extractor=BUNDLED_NAME,
            sample=SAMPLE,
            speak=self._speak,
        )
        frames = round(FRAME_RATE * self.seconds / len(self.corpus))
        paces = self.settings.seconds_per_update(max(1, frames))
        parts = list(zip((lip_reader["max_steps"], vocoder["max_steps"]), paces, strict=True))
        training = sum(updates * pace for updates, pace in parts) / 60
        return {
            "clips": len(self.corpus),
            "minutes": self.seconds / 60,
            "prepare_minutes": 60 * cost["wall_hours"],
            "sample": cost["sample"],
            "lip_reader": parts[0],
            "vocoder": parts[1],
            "minutes_in_all": 60 * cost["wall_hours"] + training,
            "device": "GPU" if torch.accelerator.is_available() else "CPU",
        }

    def run(
        self,
        on_stage: Callable[[int, str], Any] = lambda number, text: None,
        on_update: Callable[[int, int], Any] = lambda done, total: None,
        *,
        progress: bool = True,
        command: list[str] | None = None,
    ) -> dict[str, Any]:
        """Do what is not done yet, all of it in this process; after an interruption call it again.

        Args:
            on_stage: Called with the stage's number, 1 to 5, and what it does.
            on_update: Called with the number of updates that a training has made, and of all.
            progress: Show how far preparation and evaluation are, on stderr.
            command: What the results say they come from.

        Returns:
            The results of the evaluation, see `evaluation.run.evaluate`.

        Raises:
            DatasetError: Less than a minute of the videos could be prepared, or another run is at work.
            SystemExit: A training was stopped by a signal.
        """
        with named_output(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
        with sole_use(self.work, self.work / ".personalise"):
            state = self._state | {"settings": asdict(self.settings)}
            write_json(self._state_file, state)
            on_stage(1, f"{len(self.corpus)} videos")
            self._prepare(progress)
            self._train(on_stage, on_update)
            on_stage(4, f"{self.model}")
            if not (self.model / "config.json").is_file():
                prepared = self._prepared.root
                parts = (self.work / "lip2speech" / "best", self.work / "vocoder" / "last")
                compose(*parts, self.model, voices=named_voices([prepared]), units=prepared)
            on_stage(5, f"{self.report}")
            return self._evaluate(progress, command)

    def _prepare(self, progress: bool) -> None:
        from .data.prepare import prepare

        folder = self._prepared
        if not folder.manifest.is_file():
            prepare(
                self.corpus,
                folder.root,
                num_proc=self.num_proc,
                unit_extractor=BUNDLED_NAME,
                speak=self._speak,
                progress=progress,
            )
        report = folder.read_report()
        if 3600 * report["hours"] < LEAST_SECONDS:
            lost = [
                f"{clip['id']}: {clip['message']}" for some in report["skipped"].values() for clip in some
            ]
            raise DatasetError(
                f"Only {3600 * report['hours']:.0f} s of {self.corpus.data_dir} could be prepared; at least "
                f"{LEAST_SECONDS} s are needed. {len(lost)} videos were left out{': ' if lost else ''}"
                f"{'; '.join(lost[:3])}. See {folder.report}."
            )

    def _train(self, on_stage: Callable[[int, str], Any], on_update: Callable[[int, int], Any]) -> None:
        from .training.arguments import Lip2SpeechTrainingArguments, VocoderTrainingArguments
        from .training.stages import train_stage

        clips = self._prepared.read_report()["splits"]["train"]["clips"]
        stages = (
            ("lip2speech", Lip2SpeechTrainingArguments, self.settings.lip_reader()),
            ("vocoder", VocoderTrainingArguments, self.settings.vocoder()),
        )
        for number, (name, kind, settings) in enumerate(stages, start=2):
            batch, total = min(settings["per_device_train_batch_size"], clips), settings["max_steps"]
            folder = self.work / name
            on_stage(number, f"{total} updates of {batch} clips")
            if (folder / "last" / "config.json").is_file():
                continue
            settings |= {"data": str(self._prepared.root), "output_dir": str(folder)}
            settings["per_device_train_batch_size"] = batch
            with (
                open(self.work / "training.log", "a", encoding="utf-8") as log,
                contextlib.redirect_stdout(log),
            ):
                train_stage(kind, settings, lambda done, total=total: on_update(done, total))

    def _evaluate(self, progress: bool, command: list[str] | None) -> dict[str, Any]:
        from .evaluation.clips import open_evaluation_set
        from .evaluation.recognisers import choose_recogniser
        from .evaluation.run import evaluate, process_state
        from .evaluation.systems import RowSpeaker, find_unit_extractor

        device = str(process_state().device)
        clips = open_evaluation_set(self._prepared.root, "val")
        texts = [clip.text for clip in clips.clips]
        recogniser = choose_recogniser(self.recogniser, texts, device=device)
        speak = load_pipeline(str(self.model), device)
        systems = RowSpeaker(speak, clips, unit_extractor=find_unit_extractor(None, str(self.model)))
        facts = {"model": str(self.model), "command": command}
        folder = self.work / "evaluation"
        return evaluate(systems, folder, recogniser=recogniser, facts=facts, progress=progress)


def _cpus() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _saves_time_in_bf16() -> bool:
    """Whether the first GPU has units for bfloat16, or without one the CPU is faster in it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return fast_dtype() is torch.bfloat16
