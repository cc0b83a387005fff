import math

import pytest
import torch

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
