"""Small video models, random but away from their initial values, and clips for them."""

import torch
from torch import nn

from hf_lip2speech import AVHubertConfig, AVHubertModel, Lip2SpeechConfig, Lip2SpeechModel

FRONTEND = {"frontend_stem_channels": 4, "frontend_channels": [4, 8], "frontend_blocks": [1, 1]}
ENCODER = FRONTEND | {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "position_kernel_size": 8,
    "position_groups": 2,
    "audio_feature_size": 6,
    "initializer_range": 0.4,  # attention sharp enough for a tolerance of 1e-4 to mean something
}
CONFORMER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_kernel_size": 7,
    "num_units": 20,
    "mel_head_size": 16,
    "mel_head_layers": 2,
}
NO_DROPOUT = dict.fromkeys(("hidden_dropout", "attention_dropout"), 0.0)
STILL_ENCODER = NO_DROPOUT | {"input_dropout": 0.0}


def off_initial(model: nn.Module) -> nn.Module:
    """In eval mode, with batch-norm statistics, gains and slopes away from where they start."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def encoder(seed: int = 0, **changes) -> AVHubertModel:
    torch.manual_seed(seed)
    return off_initial(AVHubertModel(AVHubertConfig(**(ENCODER | changes))))


def with_frontend(**changes) -> Lip2SpeechModel:
    torch.manual_seed(0)
    return off_initial(Lip2SpeechModel(Lip2SpeechConfig(**(FRONTEND | CONFORMER | changes))))


def with_encoder(sizes: dict = ENCODER, **changes) -> Lip2SpeechModel:
    torch.manual_seed(0)
    return off_initial(Lip2SpeechModel(Lip2SpeechConfig(encoder=sizes, **(CONFORMER | changes))))


def clips(*lengths: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A padded batch: videos (B, T, 1, 88, 88), attention_mask (B, T), speaker embeddings (B, 256)."""
    generator = torch.Generator().manual_seed(seed)
    videos = torch.zeros(len(lengths), max(lengths), 1, 88, 88)
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        videos[row, :length] = torch.randn(length, 1, 88, 88, generator=generator)
        mask[row, :length] = 1
    return videos, mask, torch.rand(len(lengths), 256, generator=generator)


def assert_initialisation_sets_every_tensor(build) -> None:
    model = build()
    with torch.device("meta"):
        empty = build()
    empty.to_empty(device="cpu")
    for tensor in empty.state_dict().values():
        tensor.fill_(77)
    empty.init_weights()
    for name, tensor in empty.state_dict().items():
        assert not (tensor == 77).any(), name
        other = model.state_dict()[name].float()
        assert tensor.ndim < 2 or tensor.float().std().isclose(other.std(), atol=0.05, rtol=0.5), name


def assert_saving_keeps_every_tensor(model, folder):
    """The model that was loaded again."""
    model.save_pretrained(folder)
    loaded, report = type(model).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    return loaded


def assert_checkpointing_keeps_gradients(build, loss) -> None:
    """`build` gives a model in training mode without dropout, `loss` its loss."""
    gradients = []
    for checkpointing in (False, True):
        model = build()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        loss(model).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-3)
