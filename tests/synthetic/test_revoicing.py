"""scripts/revoice.py: a GRID sentence in another voice, at the recording's times."""

import shutil

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from hf_lip2speech.data.corpora import Word
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.loading import BUNDLED
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder
from hf_lip2speech.synthetic.render import ROOM
from hf_lip2speech.synthetic.speech import VOICES, speak

from ..conftest import load_script

script = load_script("scripts/revoice.py")


def test_the_warping_finds_who_said_what_when():
    rng = np.random.default_rng(0)
    said = gaussian_filter1d(rng.standard_normal((300, 13)), 3, axis=0)
    said /= said.std(0)
    path = 1.2 * np.arange(220) + 8 * np.sin(np.arange(220) / 30) + 10
    true = said[np.round(path).astype(int)] + 0.1 * rng.standard_normal((220, 13))
    line = np.linspace(path[0], path[-1], 220)
    assert np.abs(line - path).max() > 5
    found = script.warped(true, said, line)
    assert np.abs(found - path)[5:-5].max() < 3 and (np.diff(found) >= 0).all()


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
@pytest.mark.parametrize("voice", ["awb", "slt"])
def test_the_sentence_comes_at_its_time_in_the_voice_that_was_asked_for(voice):
    pytest.importorskip("parselmouth")
    text = "bin blue at f two now"
    words = [Word(word, 0.8 + 0.25 * n, 1.05 + 0.25 * n) for n, word in enumerate(text.split())]
    true = ROOM * np.random.default_rng(0).standard_normal(47360).astype(np.float32)
    true[12800:36800] += speak(text, "kal").waveform[:24000]
    sound = script.revoiced(true, words, text, voice, np.random.default_rng(0))
    assert sound.shape == true.shape and sound.dtype == np.float32
    loud = np.abs(sound).reshape(-1, 160).max(1) > 0.01
    assert not loud[:78].any() and not loud[235:].any() and loud[80:230].mean() > 0.5
    voices = Lip2SpeechWithVocoder.from_pretrained(BUNDLED).voices
    embedding = SpeakerEncoder.bundled().embed(sound)
    nearest = max(voices, key=lambda name: float(voices[name].numpy() @ embedding))
    assert nearest == voice


def test_a_folder_keeps_crops_and_units_of_the_recordings(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "flite_version", lambda: "2.2")
    monkeypatch.setattr(script, "revoiced", lambda true, *_: true[::-1].copy())
    monkeypatch.setattr("sys.argv", ["revoice.py", str(prepared), str(tmp_path / "out"), "--split", "test"])
    script.main()
    before, after = (PreparedDataset(folder, "test") for folder in (prepared, tmp_path / "out"))
    assert len(before) == len(after) > 0
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        voice = after.rows[index]["speaker"]
        assert voice in VOICES and after.rows[index]["id"].startswith(f"{voice}/")
        for name in ("frames", "unit_ids"):
            np.testing.assert_array_equal(old[name], new[name])
        assert old["mel"].shape == new["mel"].shape and not np.allclose(old["mel"], new["mel"], atol=0.5)
