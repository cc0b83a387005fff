"""Speaker encoder: a voice as a 256-dimensional d-vector.

The GE2E network of Wan, Wang, Papir, Lopez Moreno, "Generalized End-to-End Loss for Speaker Verification"
(2018), with the weights that Corentin Jemine trained and Resemble AI distributes in Resemblyzer
(Apache-2.0); see assets/speaker_encoder/NOTICE.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from ..audio.mel import stft_magnitude, to_mel
from ..audio.speech import raise_volume, trim_silence
from ..constants import HOP_LENGTH, SAMPLING_RATE
from ..errors import Lip2SpeechError, NoSpeechError
from ..loading import BUNDLED_NAME, StrictLoadingMixin
from .configuration_speaker_encoder import SpeakerEncoderConfig

MEL_FFT = 400  # samples (25 ms), window of the encoder's own mel


class SpeakerEncoder(StrictLoadingMixin, PreTrainedModel):
    """Turns a recording of a speaker into the embedding that gives synthetic speech its voice."""

    config_class = SpeakerEncoderConfig
    bundled_folder = SpeakerEncoderConfig.bundled_folder
    base_model_prefix = "speaker_encoder"
    main_input_name = "mel"

    def __init__(self, config: SpeakerEncoderConfig):
        super().__init__(config)
        self.lstm = nn.LSTM(
            config.num_mel_bins, config.hidden_size, config.num_hidden_layers, batch_first=True
        )
        self.linear = nn.Linear(config.hidden_size, config.embedding_dim)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LSTM):
            for parameter in module.parameters():
                init.uniform_(parameter, -(module.hidden_size**-0.5), module.hidden_size**-0.5)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)

    @classmethod
    def bundled(cls) -> "SpeakerEncoder":
        """The encoder whose weights come with this package, float32 in eval mode; nothing is downloaded.

        The file holds them in float16, half the size: on ten published utterances the embeddings are within
        5e-4 of the published ones (with float32 weights: 1.4e-4).
        """
        return cls.from_pretrained(BUNDLED_NAME, local_files_only=True, dtype=torch.float32).eval()

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Embed windows of equal length.

        Args:
            mel: float (B, F, 40), power mel (no logarithm), 100 frames per second; 160 frames in training.

        Returns:
            (B, 256): non-negative, of length 1.
        """
        _, (hidden, _) = self.lstm(mel)
        return F.normalize(F.relu(self.linear(hidden[-1])), dim=-1)

    def mel_windows(self, speech: torch.Tensor) -> torch.Tensor:
        """Cut speech into overlapping mel windows of 1.6 s.

        Args:
            speech: float (N,), 16 kHz. The last window is padded with silence.

        Returns:
            float32 (W, 160, 40), W >= 1.
        """
        length, step = self.config.window_frames, self.config.window_step
        samples = speech.shape[-1]
        frames = samples // HOP_LENGTH + 1
        starts = list(range(0, max(1, frames - length + step + 1), step))
        covered = (samples / HOP_LENGTH - starts[-1]) / length
        if covered < self.config.min_coverage and len(starts) > 1:
            starts.pop()
        end = (starts[-1] + length) * HOP_LENGTH
        # Half a window of zeros on both sides centres frame i on sample 160 i.
        padded = F.pad(speech.float(), (MEL_FFT // 2, max(0, end - samples) + MEL_FFT // 2))
        power = stft_magnitude(padded[None], MEL_FFT, HOP_LENGTH).square()
        mel = to_mel(power, self.config.num_mel_bins)[0]
        return torch.stack([mel[start : start + length] for start in starts])

    @torch.no_grad()
    def embed(self, waveform: np.ndarray | torch.Tensor) -> np.ndarray:
        """Embed the speaker of one recording: a mean over its windows, silence left out.

        Args:
            waveform: float (N,), 16 kHz mono in [-1, 1]; a few seconds of one person.

        Returns:
            float32 (256,): non-negative, of length 1.

        Raises:
            NoSpeechError: no speech was detected in it.
            Lip2SpeechError: not a 1-D waveform.
        """
        samples = torch.as_tensor(waveform).detach().cpu().numpy().astype(np.float32, copy=False)
        if samples.ndim != 1:
            raise Lip2SpeechError(
                f"A recording of one speaker is a 1-D array of samples, got shape {samples.shape}. Average "
                "the channels (hf_lip2speech.media.audio.read_audio does) and pass one recording at a time."
            )
        speech = trim_silence(raise_volume(samples, self.config.target_dbfs))
        if not len(speech):
            raise NoSpeechError(
                f"No speech was detected in {len(samples) / SAMPLING_RATE:.2f} s of sound, so it "
                "tells nothing about a speaker. Give a second or more of speech, 16 kHz samples in [-1, 1]."
            )
        # offloaded weights are on no device; accelerate moves the windows to theirs
        device = "cpu" if self.device.type == "meta" else self.device
        windows = self.mel_windows(torch.from_numpy(speech).to(device)).to(self.dtype)
        mean = self(windows).float().mean(dim=0)
        return F.normalize(mean, dim=0).cpu().numpy()
