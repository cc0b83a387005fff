"""Stage 1 from visual units, without video; then from video, with what was learned."""

import shutil

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_lip2speech import Lip2SpeechModel, Lip2SpeechWithVocoderConfig, UnitVocoderConfig

from .prepared_folder import NUM_UNITS, write_prepared_folder


def test_stage_1_learns_from_visual_units_alone_and_goes_on_with_video(train, tmp_path):
    data = write_prepared_folder(tmp_path / "data")
    video = shutil.move(data / "video", tmp_path / "video")
    run = str(tmp_path / "units")
    settings = {"prepared": data, "max_steps": 2, "eval_steps": 1, "save_steps": 1}
    trainer = train("train", "model.num_visual_units=12", f"output_dir={run}", **settings)
    assert trainer.state.global_step == 2 and trainer.train_dataset.augmentation is None
    learned = Lip2SpeechModel.from_pretrained(f"{run}/last")
    assert learned.frontend.weight.shape == (12, 8)

    with pytest.raises(StrictDataclassError, match="model.num_visual_units=null"):
        vocoder = UnitVocoderConfig(num_units=NUM_UNITS)
        Lip2SpeechWithVocoderConfig(lip2speech=learned.config, vocoder=vocoder)

    shutil.move(video, data / "video")
    sizes = {"model": {"num_visual_units": None}}
    trainer = train("train", f"init_from={run}/last", "learning_rate=0", **settings, **sizes)
    states, before = trainer.model.state_dict(), learned.state_dict()
    assert trainer.model.frontend.stem.weight.ndim == 5
    for name in ("encoder.layers.0.attention.q_proj.weight", "unit_head.weight"):
        assert torch.equal(states[name].cpu(), before[name]), name
