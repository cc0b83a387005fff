"""The rendered speakers as a corpus: writing it with several processes (a run resumes), and reading it back.

OUT/render.json                     what the clips were made with
OUT/splits/{train,val,test}.txt     IDs, one per line; written last: a folder without them is incomplete
OUT/SPEAKER/ID.mp4                  the silent video, 25 fps
OUT/audio_16k/SPEAKER/ID.flac       its sound, 16 kHz mono
OUT/alignments/SPEAKER/ID.align     its words with times, as in GRID
OUT/.render/                        files being written
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_lip2speech_extras import require_extra

from ..constants import FRAME_RATE, SAMPLES_PER_FRAME, SAMPLING_RATE
from ..data.corpora import GRID_SENTENCE, Clip, ListedCorpus, Word, read_grid_alignment, spell_grid_id
from ..data.corpora.clip import contents, existing_folder, read_text
from ..data.corpora.grid import CLOCK
from ..data.workers import local_pool, sole_use
from ..errors import DatasetError
from ..files import atomic_file, write_text
from ..media.audio import write_audio
from ..media.video import write_video
from ..progress import Progress
from .looks import SPEAKERS, look_of
from .speech import flite_version, speak
from .visemes import Phone

if TYPE_CHECKING:
    from .scene import Scene  # needs OpenCV, whose absence `render` reports

SPLITS = ("train", "val", "test")
NUM_SENTENCES = math.prod(len(table) for table in GRID_SENTENCE)  # 64,000
ADVICE = "Make it with `hf-lip2speech render FOLDER --clips 800`."
SIZE = (360, 288)  # of a frame, width and height in pixels: GRID's
LEAST_SIDE, MOST_SIDE = 96, 4096  # pixels of a frame
NUM_FRAMES = 75
LEAST_SILENCE = 0.2  # seconds before and after the speech
QUALITY = 20  # x264's: at 12 a clip is five times as large, and the difference is all camera noise
LOUDNESS = 0.06  # root mean square of the speech
ROOM = 2e-4  # root mean square of the noise in the room


@dataclass(frozen=True)
class ClipPlan:
    """Who says what in one clip. Clip `index` is the same whatever the number of clips."""

    seed: int
    index: int
    speaker: str
    sentence: str  # its GRID name
    split: str

    @property
    def id(self) -> str:
        return f"{self.speaker}/{self.sentence}"


def plan_clips(num_clips: int, seed: int) -> Iterator[ClipPlan]:
    """Speakers take turns, each sentence comes once, and of a speaker's 20 clips 1 is val and 2 are test."""
    speakers = sorted(SPEAKERS)
    sentences = np.random.default_rng(seed).permutation(NUM_SENTENCES)
    for index in range(num_clips):
        turn = index // len(speakers) % 20
        split = {1: "val", 2: "test", 12: "test"}.get(turn, "train")
        sentence = sentence_id(int(sentences[index]))
        yield ClipPlan(seed, index, speakers[index % len(speakers)], sentence, split)


def sentence_id(number: int) -> str:
    """The GRID name of sentence `number` in 0..63999, such as "bbaf2n"."""
    letters = []
    for table in reversed(GRID_SENTENCE):
        number, index = divmod(number, len(table))
        letters.append(list(table)[index])
    return "".join(reversed(letters))


def files_of(root: Path, clip_id: str) -> list[Path]:
    """Video, sound and words of a clip, "SPEAKER/SENTENCE", in a folder of rendered clips."""
    folders = {"": "mp4", "audio_16k": "flac", "alignments": "align"}
    return [root / folder / f"{clip_id}.{suffix}" for folder, suffix in folders.items()]


class RenderedTalker(ListedCorpus):
    """Drawn faces that speak GRID's sentences with flite's voices; see `render`.

    The speakers "awb", "kal", "rms" and "slt" are the people whose voices come with flite. No sentence comes
    twice, so those of val and test are unseen in training.

    Args:
        data_dir: The folder that `render` wrote.
        speakers: Only these speakers; default: all.

    Raises:
        DatasetError: It holds no rendered clips, not all that it should, or none of a speaker.
    """

    name = "rendered"

    def __init__(self, data_dir: str | Path, *, speakers: Iterable[str] | None = None):
        self.data_dir = existing_folder(data_dir, "rendered speakers", ADVICE)
        lists = {split: self.data_dir / "splits" / f"{split}.txt" for split in SPLITS}
        splits = {
            clip_id: split
            for split, path in lists.items()
            if path.is_file()
            for clip_id in read_text(path).split()
        }
        if not splits:
            raise DatasetError(
                f"{self.data_dir} holds {contents(self.data_dir)}; expected the lists splits/train.txt, "
                f"val.txt and test.txt, which are written when all clips are there. {ADVICE} The same "
                "command resumes an interrupted run."
            )
        found = sorted({_speaker(clip_id) for clip_id in splits})
        wanted = found if speakers is None else list(speakers)
        if missing := [speaker for speaker in wanted if speaker not in found]:
            raise DatasetError(
                f"{self.data_dir} has no clip of {', '.join(missing)}; expected some of {', '.join(found)}."
            )
        self.splits = {clip: split for clip, split in sorted(splits.items()) if _speaker(clip) in wanted}

    def clip(self, clip_id: str) -> Clip:
        video, audio, alignment = self.files(clip_id)
        words = read_grid_alignment(alignment)
        text = " ".join(word.word for word in words)
        return Clip(clip_id, video, audio, _speaker(clip_id), self.splits[clip_id], text, words)

    def files(self, clip_id: str) -> list[Path]:
        return files_of(self.data_dir, clip_id)


def _speaker(clip_id: str) -> str:
    return clip_id.split("/")[0]


def render(
    out: str | Path,
    num_clips: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = SIZE,
    num_proc: int = 1,
    progress: bool = True,
) -> None:
    """Render clips of the four speakers, laid out as GRID is; run again to resume.

    Clip i is the same whatever `num_clips` and `num_proc` are, so that more clips can be added later.

    Args:
        out: The folder to write.
        num_clips: Of all speakers together, who take turns; at most 64,000, the number of GRID's sentences.
        seed: Of sentences, speaking rates, looks and noise.
        size: Width and height of the frames, pixels, even.
        num_proc: Processes; with more than 1 a script needs the usual `if __name__ == "__main__":`.
        progress: Show how far it is, on stderr.

    Raises:
        DatasetError: An argument out of range, `out` holds clips made otherwise, or another run is at work
            there.
        FliteError: flite is missing or fails.
        ImportError: OpenCV is missing; the message names the extra that holds it.
        WorkerDiedError: A process died.
    """
    if not 1 <= num_clips <= NUM_SENTENCES or num_proc < 1 or seed < 0:
        raise DatasetError(
            f"num_clips={num_clips}, num_proc={num_proc}, seed={seed}; expected 1 to {NUM_SENTENCES} clips "
            "(each sentence of the grammar comes once), at least 1 process and a seed of at least 0."
        )
    if min(size) < LEAST_SIDE or max(size) > MOST_SIDE or any(side % 2 for side in size):
        raise DatasetError(
            f"size={tuple(size)}; expected even numbers of pixels from {LEAST_SIDE} to {MOST_SIDE}."
        )
    require_extra("cv2", "render")
    root, state = Path(out), Path(out) / ".render"
    recipe = {"seed": seed, "size": list(size), "flite": flite_version()}
    with sole_use(root, state):
        _keep_recipe(root / "render.json", recipe)
        plans = list(plan_clips(num_clips, seed))
        todo = [plan for plan in plans if not all(path.is_file() for path in files_of(root, plan.id))]
        make, processes = (
            partial(ClipRenderer, root, state / "staging", size),
            max(1, min(num_proc, len(todo))),
        )
        with (
            local_pool(make, processes, f"rendering into {root}") as run,
            Progress("clips", num_clips, done=num_clips - len(todo), shown=progress) as bar,
        ):
            for _ in run("write", ((plan,) for plan in todo)):
                bar.update()
        for split in SPLITS:
            ids = sorted(plan.id for plan in plans if plan.split == split)
            write_text(root / "splits" / f"{split}.txt", "".join(f"{clip_id}\n" for clip_id in ids))


def _keep_recipe(path: Path, recipe: dict) -> None:
    if not path.is_file():
        write_text(path, json.dumps(recipe) + "\n")
    elif (found := read_text(path).strip()) != json.dumps(recipe):
        raise DatasetError(
            f"{path.parent} holds clips made with {found}, this run asks for {recipe}. Choose another "
            "folder, or remove this one."
        )


class ClipRenderer:
    """Writes clips into a folder; see `render`."""

    def __init__(self, root: Path, staging: Path, size: tuple[int, int]):
        self.root, self.staging, self.size = root, staging, size

    def write(self, plan: ClipPlan) -> None:
        """Write a clip's files, each complete or not at all."""
        waveform, words, scene = make_clip(plan, self.size)
        lines = [f"{round(w.start * CLOCK)} {round(w.end * CLOCK)} {w.word}\n" for w in words]
        video, audio, alignment = files_of(self.root, plan.id)
        with atomic_file(alignment, self.staging) as path:
            path.write_text("".join(lines), encoding="utf-8")
        with atomic_file(audio, self.staging) as path:
            write_audio(path, waveform)
        with atomic_file(video, self.staging) as path:
            write_video(path, scene, crf=QUALITY)


def make_clip(plan: ClipPlan, size: tuple[int, int]) -> tuple[np.ndarray, list[Word], "Scene"]:
    """Let flite speak and set the scene: the sound, float32 (48000,) at 16 kHz; the words with their times;
    what iterates over the 75 frames. A FliteError where flite is missing or fails."""
    from .scene import Scene

    rng = np.random.default_rng([plan.seed, plan.index])
    seconds = NUM_FRAMES / FRAME_RATE
    text = spell_grid_id(plan.sentence)
    slowness = rng.uniform(0.9, 1.1)
    speech = speak(text, plan.speaker, slowness)
    longest = seconds - 2 * LEAST_SILENCE
    if len(speech.waveform) > longest * SAMPLING_RATE:
        speech = speak(text, plan.speaker, 0.98 * slowness * longest * SAMPLING_RATE / len(speech.waveform))
    lead = rng.uniform(LEAST_SILENCE, seconds - LEAST_SILENCE - len(speech.waveform) / SAMPLING_RATE)
    start = round(lead * SAMPLING_RATE)
    waveform = ROOM * rng.standard_normal(NUM_FRAMES * SAMPLES_PER_FRAME, dtype=np.float32)
    said = speech.waveform * (LOUDNESS / np.sqrt(np.mean(speech.waveform**2)))
    waveform[start : start + len(said)] += said
    look = look_of(plan.speaker, rng)
    phones = [Phone(phone.name, phone.start + lead, phone.end + lead) for phone in speech.phones]
    words = [Word(word.word, word.start + lead, word.end + lead) for word in speech.words]
    return waveform, words, Scene(look, phones, NUM_FRAMES, size, int(rng.integers(2**31)))
