import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn

from hf_lip2speech import Lip2SpeechConfig, Lip2SpeechModel

from .small import clips, with_frontend

TEXTS = torch.tensor([[1, 2, 2, 4, 3], [3, 1, -100, -100, -100]])


def conditioned(**changes) -> Lip2SpeechModel:
    """A model whose conditioning changes something."""
    model = with_frontend(text_vocabulary="abc ", text_conditioner_size=12, **changes)
    nn.init.normal_(model.text_conditioner.out_proj.weight, std=0.3)
    return model


def test_an_untrained_branch_changes_nothing():
    torch.manual_seed(0)
    sizes = with_frontend().config.to_dict() | {"text_vocabulary": "abc ", "text_conditioner_size": 12}
    model = Lip2SpeechModel(Lip2SpeechConfig(**sizes)).eval()
    with torch.no_grad():
        read, told = model(*clips(8, 6)), model(*clips(8, 6), text_ids=TEXTS)
    assert torch.equal(told.spectrogram, read.spectrogram) and torch.equal(told.unit_logits, read.unit_logits)


@torch.no_grad()
def test_a_text_changes_what_is_said_in_a_batch_as_alone_and_only_where_it_is_given():
    model = conditioned()
    videos, mask, speakers = clips(8, 6)
    read, told = model(videos, mask, speakers), model(videos, mask, speakers, text_ids=TEXTS)
    assert (told.unit_logits - read.unit_logits).abs().max() > 0.1
    assert torch.equal(told.text_logits, read.text_logits)
    alone = model(videos[1:, :6], None, speakers[1:], text_ids=TEXTS[1:, :2])
    torch.testing.assert_close(told.spectrogram[1:, :24], alone.spectrogram, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(told.unit_logits[1:, :12], alone.unit_logits, atol=1e-4, rtol=1e-4)
    other = model(videos, mask, speakers, text_ids=TEXTS[:, [1, 0, 2, 3, 4]])
    assert (told.unit_logits - other.unit_logits).abs().max() > 0.01


def test_its_loss_trains_the_branch_and_the_heads_but_not_the_encoder():
    model = conditioned(ctc_loss_weight=2.0, unit_loss_weight=0.5)
    labels = {"unit_labels": torch.full((2, 16), 5), "mel_labels": torch.randn(2, 32, 80)}
    output = model(*clips(8, 8), **labels, text_labels=TEXTS)
    told = model(*clips(8, 8), **labels, text_ids=TEXTS)
    torch.testing.assert_close(output.text_conditioned_loss, told.loss)
    read = model(*clips(8, 8), **labels)
    torch.testing.assert_close(output.loss, read.loss + told.loss + 2 * output.ctc_loss)
    output.text_conditioned_loss.backward()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"text_conditioner", "unit_head", "mel_head"}
    assert all(p.grad is not None for p in model.text_conditioner.parameters())


@torch.no_grad()
def test_a_text_that_does_not_fit_into_a_clip_is_no_text():
    model = conditioned()
    long, none = torch.ones(1, 9, dtype=torch.long), torch.full((1, 1), -100)
    told, untold = (model(*clips(6), text_ids=ids).unit_logits for ids in (long, none))
    assert torch.equal(told, untold)


def test_a_model_that_cannot_be_told_says_so():
    with pytest.raises(ValueError, match="cannot be told what to say"):
        with_frontend(text_vocabulary="abc ")(*clips(6), text_ids=TEXTS[:1])
    with pytest.raises(StrictDataclassClassValidationError, match="needs a text head"):
        Lip2SpeechConfig(text_conditioner_size=12)
    with pytest.raises(StrictDataclassClassValidationError, match="needs a text head"):
        Lip2SpeechConfig(vocabulary=["bin"])
