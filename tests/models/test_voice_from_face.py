"""A voice that is predicted from the face: trained on drawn faces, and refused by models that do not know."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_lip2speech import Lip2SpeechConfig, Lip2SpeechError, LipToSpeechPipeline
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.media.video import open_video
from hf_lip2speech.models.face_voice import FaceVoiceHead
from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder
from hf_lip2speech.video.mouth import mouth_crops

from ..fake_corpora import RENDERED
from ..tiny_model import tiny_model
from .small import clips, with_frontend

TALKERS = ("awb/bric6a", "kal/pwat7s", "rms/sgwi3a", "slt/pgay4a")


@pytest.fixture
def pipe() -> LipToSpeechPipeline:
    return LipToSpeechPipeline(tiny_model(voice_from_face=True), Lip2SpeechFeatureExtractor())


def a_mouth(seed: int, frames: int) -> dict:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 96, 96, 1), dtype=np.uint8)
    return {"frames": pixels.repeat(3, axis=-1), "fps": 25.0}


def test_a_drawn_face_that_was_learned_gets_its_own_voice():
    """Every other frame of four talkers' clips is learned from, the others tell."""
    extractor, encoder = Lip2SpeechFeatureExtractor.from_pretrained("bundled"), SpeakerEncoder.bundled()
    faces, voices = [], []
    for talker in TALKERS:
        with open_video(RENDERED / f"{talker}.mp4") as video:
            crops = mouth_crops(video)[:70]
        pixels = extractor(crops, return_tensors="pt")["pixel_values_videos"][0]
        faces.append(pixels.unflatten(0, (35, 2)).transpose(0, 1))
        voices.append(encoder.embed(read_audio(RENDERED / "audio_16k" / f"{talker}.flac")))
    (learned, new), voices = torch.stack(faces, dim=1), torch.from_numpy(np.stack(voices))
    torch.manual_seed(0)
    head = FaceVoiceHead(Lip2SpeechConfig())
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    for _ in range(140):
        loss = 1 - torch.cosine_similarity(head(learned, None), voices).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    alike = head(new, None) @ voices.T
    assert alike.argmax(dim=1).tolist() == [0, 1, 2, 3]
    assert (alike.diag() > 0.85).all(), alike


def test_its_loss_is_the_cosine_and_trains_the_head_alone():
    model = with_frontend(voice_from_face=True)
    videos, mask, speakers = clips(8, 6)
    labels = {"unit_labels": torch.full((2, 16), 5), "mel_labels": torch.randn(2, 32, 80)}
    output = model(videos, mask, speakers, **labels)
    expected = 1 - torch.cosine_similarity(output.face_voices, speakers).mean()
    torch.testing.assert_close(output.face_voice_loss, expected)
    parts = output.unit_loss + 10 * (output.mel_loss + output.spectral_convergence_loss)
    torch.testing.assert_close(output.loss, parts + output.face_voice_loss)
    output.face_voice_loss.backward()
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None} == {"face_voice_head"}


def test_speaker_face_speaks_in_the_predicted_voice_in_a_batch_as_alone(pipe):
    videos = [a_mouth(1, 20), a_mouth(2, 12)]
    (first, second) = pipe(videos, cropped=True, speaker="face", batch_size=2)
    for video, spoken in zip(videos, (first, second), strict=True):
        alone = pipe(video, cropped=True, speaker="face", return_mouth=True)
        np.testing.assert_allclose(spoken["audio"], alone["audio"], atol=1e-4)
        pixels = pipe.feature_extractor(alone["mouth"], return_tensors="pt")["pixel_values_videos"]
        voice = pipe.model.predict_voices(pixels)[0]
        given = pipe(video, cropped=True, speaker=voice)
        np.testing.assert_allclose(given["audio"], alone["audio"], atol=1e-4)
        assert voice.norm().item() == pytest.approx(1, abs=1e-5)
    other = pipe(videos[0], cropped=True, speaker="ann")
    assert np.abs(other["audio"] - first["audio"]).max() > 1e-3


def test_a_model_that_does_not_know_refuses_and_says_what_to_do(pipe):
    plain = LipToSpeechPipeline(tiny_model(), Lip2SpeechFeatureExtractor())
    for speak in (
        lambda: plain(a_mouth(1, 5), cropped=True, speaker="face"),
        lambda: plain.model.voice("face"),
    ):
        with pytest.raises(Lip2SpeechError, match=r"does not predict .* \(ann, bob\).*voice_from_face: true"):
            speak()
    with pytest.raises(Lip2SpeechError, match="from a whole clip"):
        pipe.model.voice("face")  # as a live stream asks for it
    plain.model.set_voices({"face": plain.model.voice("ann")})
    assert plain.resolve_speaker("face") == "face"  # a voice of that name comes first
    with pytest.raises(StrictDataclassError, match="video"):
        with_frontend(voice_from_face=True, num_visual_units=4)
