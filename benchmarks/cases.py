"""What is measured: each case is one stage, with the work to be timed and how much of it there is."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_lip2speech import AVHubertConfig, Lip2SpeechConfig, Lip2SpeechWithVocoder, LipToSpeechPipeline
from hf_lip2speech.composite import save_composite
from hf_lip2speech.constants import FRAME_RATE, SAMPLES_PER_FRAME, SAMPLING_RATE
from hf_lip2speech.export import INT8, LIP_READER, VOCODER, export_onnx
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.media.video import iter_frames, write_video
from hf_lip2speech.models.configuration_avhubert import AVHUBERT_LARGE
from hf_lip2speech.models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.windows import read_lips
from hf_lip2speech.pipeline import load_pipeline
from hf_lip2speech.video.crops import anchor_points, crop_matrix, cut_mouth
from hf_lip2speech.video.landmarks import Face, MeshLandmarkDetector

SAMPLE = Path(__file__).parents[1] / "examples" / "sample" / "talker.mp4"
FILE_STAGES = ("decode", "landmarks", "crops", "mux")
MODEL_STAGES = ("model", "vocoder", "speech")
STAGES = (*FILE_STAGES, *MODEL_STAGES)
MODELS = ("bundled", "paper", "paper-avhubert", "paper-istft")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.float32}
ONNX = {"onnx": LIP_READER, "onnx-int8": LIP_READER.replace(".onnx", INT8)}  # the lip reader's file


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        work: what is timed.
        seconds: of video that one call of it handles, of all clips.
        counts: whether its FLOPs are counted.
    """

    stage: str
    model: str
    dtype: str
    clip_seconds: float
    batch: int
    work: Callable[[], Any]
    counts: bool = False

    @property
    def seconds(self) -> float:
        return self.clip_seconds * self.batch


class Clips:
    """Videos of any length that repeat the sample, in a temporary folder."""

    def __init__(self, height: int | None = None):
        self._folder = tempfile.TemporaryDirectory()
        self._height = height

    @cache  # noqa: B019 (lives as long as the run)
    def frames(self, seconds: float) -> list[np.ndarray]:
        frames = list(iter_frames(SAMPLE))
        if self._height:
            scale = max(round(self._height / frames[0].shape[0]), 1)
            frames = [frame.repeat(scale, axis=0).repeat(scale, axis=1) for frame in frames]
        forth_and_back = [*frames, *frames[-2:0:-1]]  # without a jump
        return list(islice(cycle(forth_and_back), round(seconds * FRAME_RATE)))

    @cache  # noqa: B019
    def path(self, seconds: float) -> Path:
        path = Path(self._folder.name) / f"{seconds:g}.mp4"
        write_video(path, self.frames(seconds), crf=20)
        return path


def file_cases(stages: Sequence[str], lengths: Sequence[float], clips: Clips) -> Iterator[Case]:
    """Stages that no model has a part in; each handles one clip."""
    detector = MeshLandmarkDetector()
    for seconds in lengths:
        work = {
            "decode": partial(_decode, clips.path(seconds)),
            "landmarks": partial(_find, detector, clips.frames(seconds)),
            "mux": partial(_mux, clips.path(seconds), seconds),
        }
        if "crops" in stages:
            found = _find(detector, clips.frames(seconds))
            work["crops"] = partial(_crop, clips.frames(seconds), found)
        for stage in FILE_STAGES:
            if stage in stages:
                yield Case(stage, "-", "-", seconds, 1, work[stage])


def _decode(path: Path) -> int:
    return sum(1 for _ in iter_frames(path))


def _find(detector: MeshLandmarkDetector, frames: list[np.ndarray]) -> list[list[Face]]:
    detector.reset()
    return [detector(frame) for frame in frames]


def _crop(frames: list[np.ndarray], found: list[list[Face]]) -> None:
    for frame, faces in zip(frames, found, strict=True):
        cut_mouth(frame, crop_matrix(anchor_points(faces[0])))


def _mux(path: Path, seconds: float) -> None:
    sound = np.zeros(round(seconds * FRAME_RATE) * SAMPLES_PER_FRAME, np.float32)
    mux_speech(path, sound, path.with_suffix(".out.mp4"), SAMPLING_RATE)


def build(model: str, dtype: str, device: str) -> LipToSpeechPipeline:
    """A pipeline of the bundled model, or of one of the paper's sizes with random weights."""
    if model == "bundled":
        pipe = load_pipeline("bundled", device, DTYPES[dtype])
    else:
        encoder = AVHubertConfig(**AVHUBERT_LARGE) if model == "paper-avhubert" else None
        vocoder = UnitVocoderConfig(generator_type="istft" if model == "paper-istft" else "hifigan")
        config = Lip2SpeechWithVocoderConfig(lip2speech=Lip2SpeechConfig(encoder=encoder), vocoder=vocoder)
        torch.manual_seed(0)
        whole = Lip2SpeechWithVocoder(config)
        whole.set_voices({"voice": np.full(256, 1 / 16, np.float32)})
        pipe = LipToSpeechPipeline(
            model=whole.to(DTYPES[dtype]), feature_extractor=load_pipeline().feature_extractor, device=device
        )
    if dtype == "int8":
        from torch.ao.quantization import quantize_dynamic

        for part in ("lip2speech", "vocoder"):
            setattr(pipe.model, part, quantize_dynamic(getattr(pipe.model, part), {torch.nn.Linear}))
    return pipe


def model_cases(
    stages: Sequence[str],
    model: str,
    dtype: str,
    lengths: Sequence[float],
    batches: Sequence[int],
    clips: Clips,
    device: str,
) -> Iterator[Case]:
    """Stages of one model in one precision: lip reader, vocoder, and raw video to speech."""
    pipe = build(model, dtype, device)
    whole: Any = pipe.model
    for seconds in lengths:
        frames = round(seconds * FRAME_RATE)
        for batch in batches:
            speakers = whole.voice()[None].expand(batch, -1).to(device)
            videos = torch.randn(batch, frames, 1, 88, 88, device=device)
            lengths_ = torch.full((batch,), frames)
            units = torch.randint(0, whole.config.vocoder.num_units, (batch, 2 * frames), device=device)
            mel = torch.randn(batch, 4 * frames, whole.config.vocoder.num_mel_bins, device=device) - 5

            def read(videos=videos, lengths=lengths_, speakers=speakers):
                return read_lips(whole.lip2speech, videos, lengths, speakers, 500, 100, None)

            def vocode(units=units, mel=mel, speakers=speakers):
                return whole.vocode(units, mel, speakers)

            paths = [str(clips.path(seconds))] * batch
            work: dict[str, Callable[[], Any]] = {
                "model": torch.no_grad()(read),
                "vocoder": torch.no_grad()(vocode),
                "speech": lambda paths=paths, batch=batch: pipe(paths, batch_size=batch),
            }
            for stage in MODEL_STAGES:
                if stage in stages:
                    yield Case(stage, model, dtype, seconds, batch, work[stage], counts=stage != "speech")


def onnx_cases(
    stages: Sequence[str], model: str, dtype: str, lengths: Sequence[float], batches: Sequence[int]
) -> Iterator[Case]:
    """Lip reader and vocoder of one model as `export` writes them, in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    files = {"model": ONNX[dtype]}
    if dtype == "onnx":  # int8 leaves the vocoder as it is
        files["vocoder"] = VOCODER
    with tempfile.TemporaryDirectory() as folder:
        pipe = build(model, "float32", "cpu")
        save_composite(pipe.model, Path(folder) / "torch", pipe.feature_extractor)
        export_onnx(Path(folder) / "torch", Path(folder) / "onnx", int8=dtype == "onnx-int8")
        config = pipe.model.config
        del pipe
        for stage in [stage for stage in files if stage in stages]:
            path = str(Path(folder) / "onnx" / files[stage])
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for seconds, batch in product(lengths, batches):
                frames = round(seconds * FRAME_RATE)
                given = _onnx_inputs(stage, batch, frames, config)
                yield Case(stage, model, dtype, seconds, batch, partial(session.run, None, given))


def _onnx_inputs(
    stage: str, batch: int, frames: int, config: Lip2SpeechWithVocoderConfig
) -> dict[str, np.ndarray]:
    rng, size, bins = np.random.default_rng(0), config.lip2speech.crop_size, config.vocoder.num_mel_bins
    voices = np.full((batch, config.vocoder.speaker_embedding_dim), 1 / 16, np.float32)
    if stage == "model":
        videos = rng.standard_normal((batch, frames, 1, size, size), np.float32)
        mask = np.ones((batch, frames), np.int64)
        return {"pixel_values_videos": videos, "attention_mask": mask, "speaker_embeddings": voices}
    units = rng.integers(0, config.vocoder.num_units, (batch, 2 * frames))
    return {
        "unit_ids": units,
        "spectrogram": rng.standard_normal((batch, 4 * frames, bins), np.float32) - 5,
        "speaker_embeddings": voices,
        "unit_attention_mask": np.ones_like(units),
    }
