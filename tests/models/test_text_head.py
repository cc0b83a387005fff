import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from hf_lip2speech import Lip2SpeechConfig, Lip2SpeechModel
from hf_lip2speech.errors import ConfigError
from hf_lip2speech.training.stages import build_model

from .small import clips, with_frontend


def test_without_a_vocabulary_there_is_no_head_and_no_weight_of_one():
    model = with_frontend()
    assert model(*clips(3)).text_logits is None
    assert not any(name.startswith("text") for name in model.state_dict())
    with pytest.raises(ValueError, match="no text head"):
        model(*clips(3), text_labels=torch.ones(1, 2, dtype=torch.long))


def test_a_padded_clip_is_read_as_alone_at_the_rate_of_the_units():
    model = with_frontend(text_vocabulary="abc ")
    videos, mask, speakers = clips(6, 4)
    with torch.no_grad():
        both = model(videos, mask, speakers).text_logits
        alone = model(videos[1:, :4], None, speakers[1:]).text_logits
    assert both.shape == (2, 12, 5)
    torch.testing.assert_close(both[1:, :8], alone, atol=1e-4, rtol=1e-4)


def test_the_text_is_a_weighted_part_of_the_loss_for_the_clips_that_have_one():
    model = with_frontend(text_vocabulary="abc ", ctc_loss_weight=3.0)
    units = torch.full((2, 12), 5)
    text = torch.tensor([[1, 2, 2, 4], [-100] * 4])
    without = model(*clips(6, 6), unit_labels=units)
    with_text = model(*clips(6, 6), unit_labels=units, text_labels=text)
    alone = model(*(value[:1] for value in clips(6, 6)), text_labels=text[:1])
    torch.testing.assert_close(with_text.ctc_loss, alone.ctc_loss)
    torch.testing.assert_close(with_text.loss, without.loss + 3 * with_text.ctc_loss / 2)
    nobody = model(*clips(6, 6), unit_labels=units, text_labels=torch.full((2, 1), -100))
    torch.testing.assert_close(nobody.loss, without.loss)
    assert nobody.ctc_loss == 0
    nobody.loss.backward()
    assert model.text_head.weight.grad is not None, "which several processes that train together need"


@pytest.mark.parametrize("vocabulary", ["", "aab", ["ab", "c"], [""]])
def test_an_impossible_vocabulary_is_refused(vocabulary):
    with pytest.raises(StrictDataclassClassValidationError, match="must hold single characters"):
        Lip2SpeechConfig(text_vocabulary=vocabulary)


def test_a_training_that_starts_from_a_model_without_head_adds_one(tmp_path):
    model = with_frontend()
    model.save_pretrained(tmp_path / "model")
    grown = build_model(Lip2SpeechModel, {"text_vocabulary": "abc "}, tmp_path / "model")
    assert grown.text_head.weight.shape == (5, 16) and grown.text_head.weight.any()
    kept = grown.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    grown.save_pretrained(tmp_path / "grown")
    again = build_model(Lip2SpeechModel, {"ctc_loss_weight": 2.0}, tmp_path / "grown")
    assert torch.equal(again.text_head.weight, grown.text_head.weight)
    del model.mel_head.convs[1]
    model.save_pretrained(tmp_path / "less")
    with pytest.raises(ConfigError, match="incomplete"):
        build_model(Lip2SpeechModel, {"text_vocabulary": "abc "}, tmp_path / "less")
