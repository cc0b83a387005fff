"""Both training scripts on a folder in the published layout, as it is."""

import pytest
import torch

from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.training.lip2speech_stage import Lip2SpeechStage
from hf_lip2speech.training.vocoder_stage import VocoderStage

from .conftest import STAGES

MODELS = {"train": Lip2SpeechModel, "train_vocoder": UnitVocoderModel}
CLASSES = {"train": Lip2SpeechStage, "train_vocoder": VocoderStage}


@pytest.mark.slow
@pytest.mark.parametrize("script", list(MODELS))
def test_the_scripts_train_on_the_official_sample(
    scripts, configuration, lrs3_sample_dir, tmp_path, monkeypatch, script
):
    step, losses = CLASSES[script].training_step, []

    def recorded_step(self, batch, number, epoch):
        losses.append(step(self, batch, number, epoch))
        return losses[-1]

    monkeypatch.setattr(CLASSES[script], "training_step", recorded_step)
    model = STAGES[script]["model"] | {"num_units": 200}
    few = {"max_steps": 3, "eval_every": 3, "save_every": 3, "max_eval_clips": 1, "max_frames": 40}
    if script == "train_vocoder":
        del few["max_frames"]
    path = configuration(script, data=str(lrs3_sample_dir), model=model, **few)
    scripts[script].main([str(path)])
    saved = MODELS[script].from_pretrained(tmp_path / "run" / "last")
    assert saved.config.num_units == 200
    assert len(losses) >= 3
    for values in losses:
        assert all(torch.isfinite(torch.as_tensor(value)).all() for value in values.values())
