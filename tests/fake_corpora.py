"""Tiny corpora in the layouts in which LRS2, LRS3 and GRID are shipped, damage included.

docs/data.md lists the sources of the layouts. The clips are rendered speakers (`rendered_talks`) or a moving
pattern with noise (`made_talks`); none is a recording of a person.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from hf_lip2speech.data.corpora import Word
from hf_lip2speech.media.audio import read_audio, write_audio
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.media.video import iter_frames, write_video
from hf_lip2speech.synthetic import RenderedTalker

RENDERED = Path(__file__).resolve().parent / "synthetic" / "rendered"
RATE = 16_000
GRID_CLOCK = 25_000
GARBAGE = bytes(range(128, 256)) * 4


@dataclass(frozen=True)
class Talk:
    """What is said: a silent video, float32 (N,) at 16 kHz, words with times, the sentence's GRID name."""

    video: Path
    waveform: np.ndarray
    words: tuple[Word, ...]
    sentence: str

    @property
    def text(self) -> str:
        return " ".join(word.word for word in self.words).upper()


@dataclass
class FakeCorpus:
    """A corpus that was made, and what reading it must give.

    Attributes:
        splits: The split of each clip that the corpus has, those with damaged or missing files included.
        unwatchable: Clips whose video is missing, empty or unreadable.
        cut_off: Clips whose file ends in the middle: the first part can be had.
        untold: Clips whose transcript or alignment is damaged or missing.
        ignored: Files whose names are not those of clips.
    """

    root: Path
    splits: dict[str, str] = field(default_factory=dict)
    unwatchable: set[str] = field(default_factory=set)
    cut_off: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)


def made_talks(folder: Path, count: int = 2, frames: int = 25) -> list[Talk]:
    """Talks of a moving pattern and noise, for whatever needs no face."""
    talks = []
    for number in range(count):
        random = np.random.default_rng(number)
        path = folder / f"talk{number}.mp4"
        folder.mkdir(parents=True, exist_ok=True)
        pattern = np.kron(random.integers(0, 256, (12, 16)), np.ones((8, 8))).astype(np.uint8)
        write_video(path, np.stack([np.roll(pattern, 3 * shift, axis=1) for shift in range(frames)]))
        sentence = ("bbaf2n", "lrwz5a", "pgik8p", "swbt1s")[number % 4]
        seconds = frames / 25
        spoken = ("bin", "blue", "at", "f", "two", "now")
        words = tuple(Word(w, seconds * (1 + i) / 8, seconds * (2 + i) / 8) for i, w in enumerate(spoken))
        talks.append(Talk(path, random.uniform(-0.3, 0.3, 640 * frames).astype(np.float32), words, sentence))
    return talks


def two_talkers(path: Path, frames: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Write a video with sound of two rendered talkers side by side; returns the frames of each."""
    talkers = [next((RENDERED / name).glob("*.mp4")) for name in ("kal", "slt")]
    left, right = (np.stack(list(iter_frames(talker))[:frames]) for talker in talkers)
    path.parent.mkdir(parents=True, exist_ok=True)
    silent = path.with_suffix(".silent.mp4")
    write_video(silent, np.concatenate([left, right], axis=2))
    mux_speech(silent, read_audio(RENDERED / "audio_16k" / "slt" / "pgay4a.flac")[: 640 * frames], path)
    silent.unlink()
    return left, right


def rendered_talks(count: int = 2) -> list[Talk]:
    """The first rendered clips of the checkout."""
    clips = [clip for clip, _ in zip(RenderedTalker(RENDERED), range(count), strict=False)]
    return [Talk(c.video, read_audio(c.audio or c.video), c.words, c.id.split("/")[-1]) for c in clips]


def joined(talks: Sequence[Talk], folder: Path) -> Talk:
    """One long talk out of several."""
    path = folder / "joined.mp4"
    write_video(path, (frame for talk in talks for frame in iter_frames(talk.video)))
    words, start = [], 0.0
    for talk in talks:
        words += [Word(word.word, word.start + start, word.end + start) for word in talk.words]
        start += len(talk.waveform) / RATE
    return Talk(path, np.concatenate([talk.waveform for talk in talks]), tuple(words), talks[0].sentence)


def make_lrs3(root: Path, talks: Sequence[Talk]) -> FakeCorpus:
    """LRS3: pretrain/, trainval/ and test/, in each a folder a talk, .mp4 with sound and .txt.

    18 clips of trainval, of which one is damaged in each way that there is; 4 of pretrain, one of them three
    times as long; 2 of test.
    """
    fake = FakeCorpus(root)
    files = _sounding(root.parent / "lrs3_content", talks)
    long = joined([talks[0]] * 3, root.parent / "lrs3_content")
    long_file = _sounding(root.parent / "lrs3_content" / "long", [long])[0]

    def add(clip: str, split: str, talk: Talk, video: Path, *, words: bool = True, end: str = "\n") -> Path:
        path = root / f"{clip}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(video, path)
        path.with_suffix(".txt").write_text(
            lrs3_transcript(talk, clip.split("/")[1], words=words), newline=end
        )
        fake.splits[clip] = split
        return path

    for number, clip in enumerate(("0Fi83BHQsMA/00001", "0Fi83BHQsMA/00002", "-pAQW3_1dEk/00001")):
        add(f"pretrain/{clip}", "train", talks[number % len(talks)], files[number % len(talks)])
    add("pretrain/-pAQW3_1dEk/00002", "train", long, long_file)
    for number in range(10):
        add(f"trainval/00j9bKdiOjk/{50001 + number}", "train", talks[0], files[0], words=number % 2 == 0)
    for number in range(2):
        add(f"test/0af00UcTOSc/{50001 + number}", "test", talks[-1], files[-1])

    folder = "trainval/_0bAdFiLeS_"
    whole = add(f"{folder}/50001", "train", talks[0], files[0], end="\r\n")
    cut = add(f"{folder}/50002", "train", talks[0], files[0])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    add(f"{folder}/50003", "train", talks[0], files[0]).write_bytes(b"")
    add(f"{folder}/50004", "train", talks[0], files[0]).unlink()
    add(f"{folder}/50005", "train", talks[0], files[0]).with_suffix(".txt").unlink()
    add(f"{folder}/50006", "train", talks[0], files[0]).with_suffix(".txt").write_bytes(GARBAGE)
    broken = add(f"{folder}/50007", "train", talks[0], files[0]).with_suffix(".txt")
    broken.write_text(broken.read_text().rstrip().rsplit(" ", 2)[0])  # the file ends within a line of words
    capitals = add(f"{folder}/50008", "train", talks[0], files[0])
    capitals.rename(capitals.with_suffix(".MP4"))
    fake.cut_off = {f"{folder}/50002"}
    fake.unwatchable = {f"{folder}/{number}" for number in (50003, 50004)}
    fake.untold = {f"{folder}/{number}" for number in (50005, 50006, 50007)}

    for name in ("50001 (1).mp4", "Thumbs.db", "50001_crop.mp4"):
        shutil.copyfile(whole, whole.with_name(name))
        fake.ignored.add(f"{folder}/{name}")
    for name in ("._50001.mp4", ".DS_Store"):  # what a Mac leaves behind: not worth a word
        whole.with_name(name).write_bytes(GARBAGE)
    (root / "trainval" / "readme.txt").write_text("a note\n")
    fake.ignored.add("trainval/readme.txt")
    return fake


def lrs3_transcript(talk: Talk, video: str, *, words: bool) -> str:
    """A .txt file of LRS3: text, confidence, the talk's YouTube ID, the face's box in each frame, words."""
    frames = len(talk.waveform) // 640
    boxes = "".join(f"{frame:06d} \t0.391 \t0.176 \t0.212 \t0.377 \n" for frame in range(frames))
    head = f"Text:  {talk.text}\nConf:  4\nRef:   {video}\n\nFRAME \tX \tY \tW \tH \n{boxes}\n"
    return head + (word_table(talk) if words else "")


def word_table(talk: Talk) -> str:
    rows = (f"{word.word.upper()} {word.start:.2f} {word.end:.2f} 4.5" for word in talk.words)
    return "\n".join(("WORD START END ASDSCORE", *rows)) + "\n"


def make_lrs2(root: Path, talks: Sequence[Talk]) -> FakeCorpus:
    """LRS2: mvlrs_v1/main and mvlrs_v1/pretrain with a folder a broadcast, and four lists beside mvlrs_v1.

    main holds train (6 clips), val (1) and test (2); word times are in pretrain (3) only.
    """
    fake = FakeCorpus(root)
    files = _sounding(root.parent / "lrs2_content", talks)
    broadcast, other = "5535415699068794046", "6330311066473698535"
    lists: dict[str, list[str]] = {"pretrain": [], "train": [], "val": [], "test": []}

    def add(folder: str, name: str, clip: str) -> Path:
        number = len(lists[name]) % len(talks)
        path = root / "mvlrs_v1" / folder / f"{clip}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[number], path)
        text = f"Text:  {talks[number].text}\nConf:  5\n"
        path.with_suffix(".txt").write_text(
            text + (f"\n{word_table(talks[number])}" * (folder == "pretrain"))
        )
        lists[name].append(clip)
        fake.splits[f"{folder}/{clip}"] = {"pretrain": "train"}.get(name, name)
        return path

    for number in range(3):
        add("pretrain", "pretrain", f"{broadcast}/{number:05d}")
    for number in range(3):
        add("main", "train", f"{broadcast}/{number:05d}")
    add("main", "val", f"{other}/00001")
    for number in (2, 3):
        add("main", "test", f"{other}/{number:05d}")
    cut = add("main", "train", f"{broadcast}/00003")
    cut.write_bytes(cut.read_bytes()[:200])
    add("main", "train", f"{broadcast}/00004").unlink()
    add("main", "train", f"{broadcast}/00005").with_suffix(".txt").write_text("")
    fake.unwatchable = {f"main/{broadcast}/00003", f"main/{broadcast}/00004"}
    fake.untold = {f"main/{broadcast}/00005"}
    shutil.copyfile(
        files[0], root / "mvlrs_v1" / "main" / broadcast / "00099.mp4"
    )  # in no list: not of the corpus
    for name, clips in lists.items():
        marks = [" NF" if name == "test" else ""] * len(clips)
        (root / f"{name}.txt").write_text("".join(f"{c}{m}\n" for c, m in zip(clips, marks, strict=True)))
    return fake


def make_grid(root: Path, talks: Sequence[Talk], speakers: Sequence[str] = ("s1", "s2", "s20")) -> FakeCorpus:
    """GRID: sN/ID.mpg, alignments/sN/ID.align, and audio_25k/sN/ID.wav, which is cut to the speech."""
    fake = FakeCorpus(root)
    content = root.parent / "grid_content"
    content.mkdir(parents=True, exist_ok=True)
    for speaker in speakers:
        for talk in talks:
            source = content / f"{talk.sentence}.mpg"
            if not source.is_file():
                write_mpeg1(source, talk)
            paths = (root / speaker, root / "alignments" / speaker, root / "audio_25k" / speaker)
            for path in paths:
                path.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, paths[0] / source.name)
            (paths[1] / f"{talk.sentence}.align").write_text(alignment(talk))
            times = np.arange(talk.words[0].start, talk.words[-1].end, 1 / GRID_CLOCK)
            speech = np.interp(times * RATE, np.arange(len(talk.waveform)), talk.waveform).astype(np.float32)
            write_audio(paths[2] / f"{talk.sentence}.wav", speech, sampling_rate=GRID_CLOCK)
            fake.splits[f"{speaker}/{talk.sentence}"] = "train"
    folder, first = root / speakers[0], talks[0].sentence
    spoken = {talk.sentence for talk in talks}
    others = (f"{first[:4]}{digit}{first[5]}" for digit in "789123")
    damaged, misaligned, alone = [name for name in others if name not in spoken][:3]
    for name in (damaged, misaligned, alone):  # the last has no alignment at all
        shutil.copyfile(folder / f"{first}.mpg", folder / f"{name}.mpg")
        fake.splits[f"{folder.name}/{name}"] = "train"
    (folder / f"{damaged}.mpg").write_bytes((folder / f"{first}.mpg").read_bytes()[:300])
    (root / "alignments" / folder.name / f"{misaligned}.align").write_text("0 23750 sil\n23750\n")
    fake.unwatchable = {f"{folder.name}/{damaged}"}
    fake.untold = {f"{folder.name}/{misaligned}"}
    shutil.copyfile(folder / f"{first}.mpg", folder / f"{first} (1).mpg")
    fake.ignored = {f"{folder.name}/{first} (1).mpg"}
    (folder / "Thumbs.db").write_bytes(GARBAGE)
    (folder / f"._{first}.mpg").write_bytes(GARBAGE)
    return fake


def alignment(talk: Talk) -> str:
    """A .align file: times in 1/25000 s, silence at both ends."""
    end = len(talk.waveform) / RATE
    first, last = talk.words[0].start, talk.words[-1].end
    rows = [(0.0, first, "sil"), *((w.start, w.end, w.word.lower()) for w in talk.words), (last, end, "sil")]
    ticks = (f"{round(start * GRID_CLOCK)} {round(end * GRID_CLOCK)} {word}" for start, end, word in rows)
    return "\n".join(ticks) + "\n"


def write_mpeg1(path: Path, talk: Talk) -> None:
    """The talk as GRID ships its clips: MPEG-1 video, MP2 sound at 44.1 kHz."""
    frames = list(iter_frames(talk.video))
    with av.open(str(path), "w", format="mpeg") as output:
        video = output.add_stream("mpeg1video", rate=25)
        video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
        video.bit_rate = 1_000_000
        sound = output.add_stream("mp2", rate=44_100, layout="mono")
        for frame in frames:
            output.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(video.encode(None))
        resampler = av.AudioResampler(format="s16", layout="mono", rate=44_100, frame_size=1152)
        samples = (talk.waveform[None] * 32767).astype(np.int16)
        pulse = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        pulse.sample_rate, pulse.pts, pulse.time_base = RATE, 0, Fraction(1, RATE)
        for part in [*resampler.resample(pulse), *resampler.resample(None)]:
            output.mux(sound.encode(part))
        output.mux(sound.encode(None))


def _sounding(folder: Path, talks: Sequence[Talk]) -> list[Path]:
    """The talks as mp4 files with sound, as LRS2 and LRS3 ship theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"sounding{number}.mp4" for number in range(len(talks))]
    for path, talk in zip(paths, talks, strict=True):
        mux_speech(talk.video, talk.waveform, path)
    return paths
