import math

import pytest
import torch
from safetensors.torch import load_file

from hf_lip2speech.data.collation import Lip2SpeechCollator
from hf_lip2speech.errors import ConfigError
from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.training.lip2speech_trainer import _character_errors

from .conftest import STAGES

VOCABULARY = " beilnu"  # "bin blue" is what the prepared clips say


def test_a_training_logs_the_ctc_loss_and_measures_the_character_error_rate(train):
    trainer = train("train", "metric_for_best_model=character_error_rate", max_steps=2,
                    model=STAGES["train"]["model"] | {"text_vocabulary": VOCABULARY})  # fmt: skip
    history = trainer.state.log_history
    assert all(0 < entry["ctc_loss"] < 20 for entry in history if "ctc_loss" in entry)
    rates = [entry["eval_character_error_rate"] for entry in history if "eval_loss" in entry]
    assert rates and all(math.isfinite(rate) for rate in rates)


def test_a_character_error_rate_needs_a_text_head(train):
    with pytest.raises(ConfigError, match="no text head"):
        train("train", "metric_for_best_model=character_error_rate", max_steps=1)


def test_characters_are_counted_inside_each_clip_and_where_it_has_a_text():
    logits = torch.full((3, 8, len(VOCABULARY) + 1), -9.0)
    read = [[2, 2, 0, 5, 6, 6, 0, 0], [2, 0, 0, 0, 3, 3, 3, 3], [2] * 8]  # "bin", "b" and padding, "b"
    for row, path in zip(logits, read, strict=True):
        row[range(8), path] = 9.0
    read[0][3] = 4
    texts = Lip2SpeechCollator(Lip2SpeechConfig(text_vocabulary=VOCABULARY))._characters
    labels = [texts({"text_labels": text}) for text in ("bin", "be", "")]
    inputs = {
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]]),
        "text_labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100),
    }
    edits, characters = _character_errors(logits, inputs)
    assert (edits.tolist(), characters.tolist()) == ([1, 1, 0], [3, 2, 0])


def test_text_conditioning_can_be_added_to_a_trained_model_that_stays_as_it_is(train, tmp_path):
    vocabulary = {"text_vocabulary": VOCABULARY}
    train(
        "train", f"output_dir={tmp_path / 'read'}", max_steps=1, model=STAGES["train"]["model"] | vocabulary
    )
    conditioning = {"max_steps": 3, "model": {"text_conditioner_size": 16}, "learning_rate": 1e-2}
    trainer = train(
        "train", f"init_from={tmp_path / 'read/last'}", "train_only=[text_conditioner]", **conditioning
    )
    before = load_file(tmp_path / "read/last/model.safetensors")
    after = load_file(tmp_path / "run/last/model.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"text_conditioner"}
    assert after["text_conditioner.out_proj.weight"].any()
    assert any(entry.get("text_conditioned_loss", 0) > 0 for entry in trainer.state.log_history)
    with pytest.raises(ConfigError, match="train_only is .*nothing.*unit_head"):
        train("train", f"output_dir={tmp_path / 'no'}", "train_only=[nothing]", max_steps=1)
