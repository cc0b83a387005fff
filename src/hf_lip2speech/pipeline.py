"""`pipeline("lip-to-speech")`: turns the silent video of a face into speech.

raw video -> mouth clip (T, 96, 96) at 25 fps -> pixel_values_videos -> Lip2SpeechWithVocoder -> 640 T samples
"""

import gc
import os
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import Pipeline
from transformers.pipelines.pt_utils import PipelineDataset, PipelineIterator

from .composite import feature_extractor_for
from .constants import MEL_PER_FRAME, SAMPLES_PER_FRAME, UNITS_PER_FRAME
from .errors import Lip2SpeechError, WrongKindError
from .loading import BUNDLED_NAME
from .machine import read_ahead
from .models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from .models.windows import GrayVideos
from .pipeline_inputs import NumberedRows, VideoReader, check_reading, collate, numbered
from .pipeline_text import SINGLE, encode_texts, read_text, text_parameters

MOST_AT_ONCE = 4096  # inputs of a batch, and processes that read them
FLAGS = ("cropped", "return_spectrogram", "return_units", "return_f0", "return_mouth", "return_face_mask")
SAMPLING = ("num_inference_steps", "guidance_scale", "seed")
FOR_PREPROCESSING = ("cropped", "return_mouth", "face", "on_error", "detector", "progress")
ARGUMENTS = (  # of a call, beside those of every pipeline
    *("cropped", "speaker", "return_spectrogram", "return_units", "return_f0", "return_mouth"),
    *("return_face_mask", "text", "return_text", "return_audio", "vocabulary", "num_hypotheses"),
    *("pitch_shift", *SAMPLING, "face", "start", "end", "on_error", "detector", "progress"),
)


class LipToSpeechPipeline(Pipeline):
    """Speech from the video of a face. Arguments of `pipeline(...)` are the defaults of those of a call.

    Args:
        cropped: whether the videos are mouth crops already (96x96 or 88x88 gray); default: False.
        speaker: the voice to speak in. The name of one of the model's voices (`pipe.voices`); a recording of
            a speaker (path, URL, bytes, binary file or {"array": (N,) float, "sampling_rate": int}); an
            embedding (256,) of the `SpeakerEncoder`; "face": predicted from the face, by a model that was
            trained for it (`voice_from_face`); None (default): the model's default voice.
        return_spectrogram: adds "spectrogram", float32 (4T, 80), natural log-mel at 100 Hz.
        return_units: adds "unit_ids", int64 (2T,), 0..num_units-1 at 50 Hz.
        return_f0: adds "f0", float32 (4T,), the pitch spoken in Hz every 10 ms, 0 where unvoiced; needs a
            vocoder that knows pitch (`generator_type="istft"`), as the bundled model's does.
        pitch_shift: semitones by which the voice is raised, -24 to 24; needs such a vocoder, too.
        num_inference_steps, guidance_scale: of a model with a mel flow, see `MelFlowModel.forward`; default:
            its config's.
        seed: of that flow's noise, 0 by default: the same seed gives the same speech, alone and in a batch.
        return_mouth: adds "mouth", uint8 (T, 96, 96), the gray mouth crops at 25 fps.
        return_face_mask: adds "face_mask", bool (T,), False where nobody is seen for longer than a second.
        face: which of several faces speaks: "talking" (default), the one whose lips move most; "largest"; or
            its number, counted from left to right from 0 (`plotting.plot_faces` shows the numbers).
        start, end: seconds of the video between which it is read (default: all of it).
        on_error: "raise" (default), or "return": an input that cannot be read does not stop the others; its
            `Lip2SpeechError` takes the place of its result.
        return_text: adds "text", what the lips say, and "words", a list of {"word", "start", "end",
            "confidence"}, in seconds and 0..1; "char" also adds "characters". Needs a model with a text head.
        text: what is to be said, with the lips' timing: one text for all inputs, or a list with one for each.
            Needs a model with `text_conditioner_size`. Words that the lips cannot be saying are named in one
            warning; with return_text, "words" has the times of the text's words.
        vocabulary: of the text, either words, or for each place in a sentence a list of its words; "any":
            anything. Default: the words that the model knows (`vocabulary` of its config), else anything.
        return_audio: False leaves out the speech, and the time of speaking, where the text alone is wanted.
        num_hypotheses: with more than 1, adds "hypotheses", the most probable texts, best first, each with
            "text" and "words".
        detector: a `LandmarkDetector` in place of the default one.
        progress: called as progress(stage, done, total) in frames, in the stages "landmarks", "crops",
            "reading lips" and "speaking". The total of "landmarks" is what the file states, None if nothing.
        batch_size, num_workers: as in every pipeline; the workers decode and crop.

    A call takes one input: a path, an http(s) URL, bytes, a binary file, {"frames": array, "fps": float} with
    RGB frames (`media.video.open_video` lists the kinds), or a row {"video": any of these}. It returns
    {"audio": float32 (640 T,) in [-1, 1], "sampling_rate": 16000}, where T is the number of frames at 25 fps.
    Where nobody is seen for longer than a second, it is silent, and one warning gives the times.
    A list or tuple of inputs is always a batch and gives a list. A data set (`datasets`, `KeyDataset`, any
    torch Dataset) or a generator gives an iterator that reads as it is consumed.

    With a model object, the feature extractor is that of the folder or repository that it was loaded from;
    for a model that was not loaded, pass its own. The model is put into eval mode.

    Raises:
        Lip2SpeechError: an argument is wrong, or an input has no face, no video stream or no frame or cannot
            be read; the message begins with the input's path and, in a batch, its index.
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    def __init__(self, model, feature_extractor=None, **kwargs: Any):
        if not hasattr(model, "generate_speech"):
            raise Lip2SpeechError(
                f"The lip-to-speech pipeline needs a Lip2SpeechWithVocoder, got a {type(model).__name__}: "
                "put the acoustic model and a vocoder together in one."
            )
        if feature_extractor is None:
            feature_extractor = feature_extractor_for(model.name_or_path or None, model)
        super().__init__(model=model, feature_extractor=feature_extractor, **kwargs)
        self.model.eval()  # the base class does not, and batch norms would learn from the videos

    @property
    def voices(self) -> list[str]:
        """Names that `speaker` may take."""
        return sorted(self.model.voices)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        speaks = kwargs.get("return_audio", self._forward_params.get("return_audio", True))
        if speaks is not False and "speaker" not in kwargs and self._forward_params.get("speaker") is None:
            kwargs["speaker"] = None  # so that a missing default voice is found before any video is read
        if kwargs.get("text") is not None:
            kwargs["text_ids"] = encode_texts(kwargs["text"], inputs, self.model.config.lip2speech)
        kwargs.pop("text", None)
        if isinstance(inputs, (list, tuple)):
            # An empty list would be an IndexError in the base class, and a tuple one input.
            return super().__call__(list(numbered(inputs)), **kwargs) if inputs else []
        # an open file would be iterated over as lines
        single = isinstance(inputs, SINGLE) or isinstance(inputs, os.PathLike) or hasattr(inputs, "read")
        if not single and hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
            inputs = NumberedRows(inputs)
        elif not single and isinstance(inputs, (Iterable, IterableDataset)):
            inputs = numbered(inputs)
        return super().__call__(inputs, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves model and feature extractor, as their own `save_pretrained` do.

        The base class would also copy this package's modules beside the weights, as code to be trusted.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.feature_extractor.save_pretrained(save_directory, **kwargs)

    def get_iterator(
        self,
        inputs: Any,
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """As the base class's, whose batches cannot be made in spawned processes."""
        for name, number, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            whole = isinstance(number, int) and not isinstance(number, bool)
            if not whole or not least <= number <= MOST_AT_ONCE:
                raise Lip2SpeechError(
                    f"{name} must be a whole number from {least} to {MOST_AT_ONCE}, got {number!r}."
                )
        reader = VideoReader(self.feature_extractor)
        sized = isinstance(inputs, Sized)
        kind = PipelineDataset if sized else PipelineIterator
        if num_workers:
            # A forked worker that frees an old video decoder waits forever for the decoder's threads, which
            # a fork does not copy: free them before.
            gc.collect()
        loader: Any = DataLoader(
            kind(inputs, reader, preprocess_params),
            batch_size=batch_size,
            num_workers=min(num_workers, len(inputs) if sized else 1),  # more would each read a whole stream
            collate_fn=collate,
        )
        if isinstance(inputs, list) and not num_workers and "progress" not in preprocess_params:
            loader = read_ahead(loader)  # the next batch is cut while the model speaks this one
        outputs = PipelineIterator(loader, self.forward, forward_params, loader_batch_size=batch_size)
        return PipelineIterator(outputs, self.postprocess, postprocess_params)

    def _ensure_tensor_on_device(self, inputs: Any, device: torch.device) -> Any:
        """As the base class's, except that the model moves a video itself, window by window."""
        if isinstance(inputs, dict) and "frames" in inputs:
            return inputs
        return super()._ensure_tensor_on_device(inputs, device)

    def _sanitize_parameters(self, **given: Any) -> tuple[dict, dict, dict]:
        given.pop("local_files_only", None)  # transformers.pipeline() uses it and hands it on
        if unknown := sorted(set(given) - {*ARGUMENTS, "text_ids"}):
            raise TypeError(
                f"lip-to-speech takes no argument {', '.join(unknown)}; it takes {', '.join(ARGUMENTS)}, "
                "batch_size and num_workers."
            )
        forward = {"speaker": self.resolve_speaker(given.pop("speaker"))} if "speaker" in given else {}
        given = {name: value for name, value in given.items() if value is not None}
        flags = {name: given[name] for name in FLAGS if name in given}
        for name, value in flags.items():
            if not isinstance(value, (bool, np.bool_)):
                raise Lip2SpeechError(f"{name} must be True or False, got {value!r}.")
        config, defaults = self.model.config.lip2speech, getattr(self, "_postprocess_params", {})
        postprocess = text_parameters(given, flags, config, defaults)
        if "return_audio" in postprocess:
            forward["return_audio"] = postprocess.pop("return_audio")
        if "pitch_shift" in given:
            self.model.vocoder.check_pitch_shift(given["pitch_shift"])
            forward["pitch_shift"] = float(given["pitch_shift"])
        if sampling := {name: given[name] for name in SAMPLING if name in given}:
            self.model.check_sampling(**sampling)
            seed = sampling.get("seed", 0)
            if not isinstance(seed, int) or not 0 <= seed < 2**63:
                raise Lip2SpeechError(f"seed is {seed!r}; expected a whole number of at least 0.")
            forward |= sampling
        if flags.get("return_f0"):
            self.model.vocoder.check_knows_pitch("return_f0=True")
        preprocess = {name: given[name] for name in FOR_PREPROCESSING if name in given}
        if "start" in given or "end" in given:
            preprocess |= {"start": given.get("start", 0.0), "end": given.get("end")}
        check_reading(preprocess)
        if "progress" in given:
            forward["progress"] = given["progress"]
        if "text_ids" in postprocess:
            preprocess["text_ids"] = postprocess.pop("text_ids")
        postprocess |= {name: value for name, value in flags.items() if name.startswith("return_")}
        return preprocess, forward, postprocess

    def resolve_speaker(self, speaker: Any) -> str | torch.Tensor:
        """`speaker`, as in a call, as `Lip2SpeechWithVocoder.resolve_speaker` takes it."""
        return self.model.resolve_speaker(speaker)

    def preprocess(self, inputs: Any, **parameters: Any) -> dict[str, torch.Tensor]:
        """One input -> what `VideoReader` makes of it."""
        return VideoReader(self.feature_extractor)(inputs, **parameters)

    def _forward(
        self,
        model_inputs: dict[str, torch.Tensor],
        speaker: str | torch.Tensor | None = None,
        progress: Any = None,
        pitch_shift: float = 0.0,
        return_audio: bool = True,
        seed: int = 0,
        **sampling: Any,
    ) -> dict[str, Any]:
        passed_on = ("mouth", "face_mask", "error", "text_ids")
        kept = {name: model_inputs[name] for name in passed_on if name in model_inputs}
        video = GrayVideos(*(model_inputs[name] for name in ("frames", "scale", "offset")))
        attention_mask = model_inputs["attention_mask"]
        if not return_audio:
            lengths = attention_mask.sum(1) * SAMPLES_PER_FRAME
            text_logits = self.model.read_text(video, attention_mask, progress=progress)
            return kept | {"text_logits": text_logits, "waveform_lengths": lengths}
        if self.model.mel_flow is not None:
            sampling["generator"] = [torch.Generator().manual_seed(seed) for _ in attention_mask]
        # generate_speech normalises, moves and casts the video window by window: here, all would be copied.
        speech = self.model.generate_speech(
            video,
            attention_mask=attention_mask,
            progress=progress,
            pitch_shift=pitch_shift,
            text_ids=model_inputs.get("text_ids"),
            **sampling,
            **({"voice": speaker} if isinstance(speaker, str) else {"speaker_embeddings": speaker}),
        )
        names = ("waveform", "waveform_lengths", "unit_ids", "spectrogram", "f0", "text_logits")
        return {name: speech[name] for name in names if name in speech} | kept

    def postprocess(
        self,
        model_outputs: dict[str, torch.Tensor],
        return_spectrogram: bool = False,
        return_units: bool = False,
        return_mouth: bool = False,
        return_face_mask: bool = False,
        return_f0: bool = False,
        **text: Any,
    ) -> dict[str, Any] | Lip2SpeechError:
        """The first row of the model's outputs, cut to the length of the clip, as numpy arrays; silent where
        no face is seen. The error of an input that could not be read."""
        error: Any = model_outputs.get("error")
        error = error[0] if isinstance(error, list) else error  # a batch's has been taken apart
        if error is not None:
            return error
        frames = int(model_outputs["waveform_lengths"][0]) // SAMPLES_PER_FRAME

        def cut(name: str, per_frame: int) -> np.ndarray:
            values = model_outputs[name][0, : frames * per_frame]
            values = values.float() if values.is_floating_point() else values
            return values.numpy().copy()  # not a view that keeps the whole padded batch alive

        face_mask = cut("face_mask", 1)
        result: dict[str, Any] = {}
        if "waveform" in model_outputs:
            result["audio"] = silence(cut("waveform", SAMPLES_PER_FRAME), face_mask)
            result["sampling_rate"] = self.model.config.sampling_rate
        if return_spectrogram:
            result["spectrogram"] = cut("spectrogram", MEL_PER_FRAME)
        if return_units:
            result["unit_ids"] = cut("unit_ids", UNITS_PER_FRAME)
        if return_f0:
            result["f0"] = cut("f0", MEL_PER_FRAME)
        if return_mouth:
            result["mouth"] = cut("mouth", 1)
        if return_face_mask:
            result["face_mask"] = face_mask
        if "text_logits" in model_outputs:
            ids = model_outputs["text_ids"][0].tolist() if "text_ids" in model_outputs else None
            logits = cut("text_logits", UNITS_PER_FRAME)
            result |= read_text(logits, face_mask, self.model.config.lip2speech, **text, text_ids=ids)
        return result


def silence(waveform: np.ndarray, face_mask: np.ndarray) -> np.ndarray:
    """A waveform (640 T,) that is 0 in the frames of a bool mask (T,) that are False, faded over 20 ms beside
    them."""
    if face_mask.all():
        return waveform
    fade = SAMPLES_PER_FRAME // 2
    gain = np.pad(np.repeat(face_mask, SAMPLES_PER_FRAME).astype(np.float32), fade, mode="edge")
    mean = np.convolve(gain, np.full(2 * fade + 1, 1 / (2 * fade + 1), np.float32), mode="valid")
    return waveform * np.clip(2 * mean - 1, 0, 1)


def load_pipeline(
    model: str = BUNDLED_NAME, device: str | None = None, dtype: str | torch.dtype = "auto"
) -> LipToSpeechPipeline:
    """The pipeline of a composite, as `transformers.pipeline` makes it, with readable errors.

    Args:
        model: folder, Hub name or "bundled".
        device: as torch names it; None: the first accelerator, else the CPU.
        dtype: of the weights; "auto": as they were saved.

    Raises:
        Lip2SpeechError: what is there is not a lip-to-speech model with a vocoder, or the device is unknown.
        OSError: nothing is there, or the Hub cannot be reached.
    """
    if device is not None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # torch's answers to a bad name and to a missing GPU
            reason = str(error).splitlines()[0]
            raise Lip2SpeechError(f"The device {device!r} cannot be used: {reason}") from error
    try:
        loaded = Lip2SpeechWithVocoder.from_pretrained(model, dtype=dtype)
    except WrongKindError as error:
        raise WrongKindError(
            f"{model} is not a lip-to-speech model with its vocoder. `hf-lip2speech compose` joins the two."
        ) from error
    extractor = feature_extractor_for(model, loaded)
    return LipToSpeechPipeline(model=loaded, feature_extractor=extractor, device=device)
