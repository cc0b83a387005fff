"""Converting small published files of every kind: whole, exact, or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, pipeline

import hf_lip2speech_cli
from hf_lip2speech import Lip2SpeechModel
from hf_lip2speech.conversion.convert import PUBLISHED_VOCODER, convert, to_published
from hf_lip2speech.conversion.unpickle import read_checkpoint
from hf_lip2speech.errors import CheckpointError, Lip2SpeechError, UnsafeCheckpointError
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel

from ..tiny_model import unit_vector
from .published_files import (
    AVHUBERT,
    AVHUBERT_SETTINGS,
    CONFORMER,
    FRONTEND,
    KINDS,
    VOCODER,
    random_state,
    small_avhubert,
    small_lip2speech,
    small_vocoder,
    write_fairseq,
)

each_kind = pytest.mark.parametrize("kind", list(KINDS))


def rewrite(path: Path, change) -> None:
    """Change the tensors of a file in place; `change` takes their dictionary."""
    checkpoint = read_checkpoint(path)
    if "generator" in checkpoint:
        change(checkpoint["generator"])
        torch.save({"generator": checkpoint["generator"]}, path)
        return
    change(checkpoint["model"])
    settings = {"model": {"w2v_args": {"model": AVHUBERT_SETTINGS}}}
    write_fairseq(path, checkpoint["model"], settings)


@each_kind
def test_a_converted_folder_loads_with_every_tensor(tmp_path, kind):
    path, expected = KINDS[kind](tmp_path)
    conversion = convert(path, tmp_path / "out")
    model, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert type(model) is type(conversion.model)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    state = model.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
    files = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == files - (
        {"preprocessor_config.json"} if kind == "vocoder" else set()
    )
    if kind != "vocoder":
        assert AutoFeatureExtractor.from_pretrained(tmp_path / "out").crop_size == 88


def test_sizes_are_told_by_the_tensors_and_the_rest_by_the_settings(tmp_path):
    convert(small_lip2speech(tmp_path)[0], tmp_path / "plain")
    convert(small_lip2speech(tmp_path, on_avhubert=True)[0], tmp_path / "on_avhubert")
    convert(small_vocoder(tmp_path)[0], tmp_path / "vocoder")
    plain = AutoConfig.from_pretrained(tmp_path / "plain")
    for name, value in (CONFORMER | FRONTEND).items():
        assert getattr(plain, name) == value, name
    assert (plain.hidden_dropout, plain.label_smoothing, plain.mel_loss_weight) == (0.2, 0.05, 7)
    assert plain.layer_norm_eps == 1e-12 and plain.masked_convolutions
    encoder = AutoConfig.from_pretrained(tmp_path / "on_avhubert").encoder
    assert encoder.to_dict() == AVHUBERT.to_dict() | {"dtype": encoder.dtype}
    vocoder = AutoConfig.from_pretrained(tmp_path / "vocoder")
    for name in ("upsample_rates", "resblock_dilation_sizes", "num_units", "speaker_dim"):
        assert getattr(vocoder, name) == getattr(VOCODER, name), name


def test_without_settings_heads_are_64_wide(tmp_path):
    path, _ = small_avhubert(tmp_path)
    write_fairseq(path, read_checkpoint(path)["model"], {"model": {"_name": "av_hubert"}})
    conversion = convert(path, tmp_path / "out")
    assert (conversion.model.config.num_attention_heads, conversion.model.config.position_groups) == (1, 4)


def test_a_vocoder_without_its_config_is_taken_to_follow_hifigans_convention(tmp_path, capsys):
    UnitVocoderModel(UnitVocoderConfig(upsample_initial_channel=32)).save_pretrained(tmp_path / "model")
    file = to_published(tmp_path / "model", tmp_path / "published")
    file.with_name("config.json").unlink()
    assert hf_lip2speech_cli.main(["convert", str(file), str(tmp_path / "out")]) == 0
    assert "HiFi-GAN's convention" in capsys.readouterr().err
    one, other = (AutoConfig.from_pretrained(tmp_path / name).to_dict() for name in ("model", "out"))
    assert one | {"_name_or_path": ""} == other | {"_name_or_path": ""}


def test_dilations_that_no_convention_tells_are_asked_for(tmp_path):
    path, _ = small_vocoder(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match="no config.json beside it says.* 2 pairs"):
        convert(path, tmp_path / "out")


def test_the_older_format_and_half_precision_convert_alike(tmp_path):
    path, expected = small_lip2speech(tmp_path, legacy=True)
    convert(path, tmp_path / "legacy")
    rewrite(
        path,
        lambda tensors: tensors.update({k: v.half() for k, v in tensors.items() if v.is_floating_point()}),
    )
    convert(path, tmp_path / "half")
    legacy, half = (Lip2SpeechModel.from_pretrained(tmp_path / name) for name in ("legacy", "half"))
    assert half.dtype == torch.float32
    for name, value in expected.items():
        assert torch.equal(legacy.state_dict()[name], value), name
        torch.testing.assert_close(half.state_dict()[name], value, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("kind", "tensor"),
    [
        ("lip2speech", "encoder.encoder.encoders.1.self_attn.pos_bias_v"),
        ("lip2speech", "encoder.encoder.frontend.trunk.layer2.1.bn2.running_var"),
        ("lip2speech_avhubert", "conformer.proj_in.bias"),
        ("lip2speech_avhubert", "encoder.w2v_model.encoder.pos_conv.0.weight_g"),
        ("vocoder", "resblocks.3.convs2.1.weight_g"),
        ("avhubert", "feature_extractor_audio.proj.weight"),
    ],
)
def test_a_tensor_that_is_missing_or_misshapen_stops_the_conversion_by_name(tmp_path, kind, tensor):
    path, _ = KINDS[kind](tmp_path)
    whole, before = path.read_bytes(), {*tmp_path.iterdir()}
    rewrite(path, lambda tensors: tensors.pop(tensor))
    with pytest.raises(CheckpointError, match=f"it lacks {tensor}"):
        convert(path, tmp_path / "out")
    path.write_bytes(whole)
    rewrite(path, lambda tensors: tensors.update({tensor: torch.ones(*tensors[tensor].shape, 2)}))
    with pytest.raises(CheckpointError, match=rf"in another shape {tensor} \(.*\) \(expected \("):
        convert(path, tmp_path / "out")
    assert {*tmp_path.iterdir()} == before


@each_kind
def test_a_size_off_by_one_is_found_out_rather_than_believed(tmp_path, kind):
    """Even in the tensors that show the model's sizes."""
    path, _ = KINDS[kind](tmp_path)
    shown = {
        "lip2speech": (
            "encoder.encoder.encoders.0.norm_mha.weight",
            "encoder.encoder.encoders.0.self_attn.pos_bias_u",
        ),
        "lip2speech_avhubert": ("conformer.encoder.after_norm.weight", "encoder.w2v_model.layer_norm.bias"),
        "vocoder": ("conv_pre.bias", "spkr.bias", "dict.weight"),
        "avhubert": ("encoder.layers.1.fc1.bias", "encoder.layers.0.final_layer_norm.weight"),
    }[kind]
    for name in shown:
        whole = path.read_bytes()
        rewrite(path, lambda tensors, name=name: tensors.update({name: tensors[name][1:]}))
        with pytest.raises(CheckpointError, match=f"in another shape {name} "):
            convert(path, tmp_path / "out")
        path.write_bytes(whole)


@each_kind
def test_an_unknown_tensor_stops_the_conversion_by_name(tmp_path, kind):
    path, _ = KINDS[kind](tmp_path)
    rewrite(path, lambda tensors: tensors.update({"decoder.surprise.weight": torch.ones(2)}))
    with pytest.raises(CheckpointError, match="holds the unknown decoder.surprise.weight"):
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", ["300000000", "9" * 5000])
@pytest.mark.parametrize(
    "name",
    ["encoder.encoder.encoders.{}.norm.weight", "encoder.encoder.frontend.trunk.layer1.{}.bn1.weight"],
)
def test_a_stray_number_in_a_name_is_not_built(tmp_path, name, number):
    path, _ = small_lip2speech(tmp_path)
    rewrite(path, lambda tensors: tensors.update({name.format(number): torch.ones(2)}))
    with pytest.raises(CheckpointError, match=f"it holds the unknown {name.format(number)}"):
        convert(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "dtype"), [("proj_out.weight", torch.int8), ("frontend3D.1.num_batches_tracked", torch.float32)]
)
def test_a_tensor_of_another_type_is_named(tmp_path, name, dtype):
    path, _ = small_lip2speech(tmp_path)
    name = f"encoder.{'encoder.frontend.' * ('frontend' in name)}{name}"
    rewrite(path, lambda tensors: tensors.update({name: tensors[name].to(dtype)}))
    with pytest.raises(CheckpointError, match=rf"has of another type {name} \({dtype}\)"):
        convert(path, tmp_path / "out")


def test_the_audio_projection_has_as_many_inputs_as_the_settings_say(tmp_path):
    path, _ = small_avhubert(tmp_path)
    tensors, name = read_checkpoint(path)["model"], "feature_extractor_audio.proj.weight"
    tensors[name] = tensors[name][:, 1:]
    write_fairseq(path, tensors, {"model": AVHUBERT_SETTINGS | {"audio_feat_dim": 12}})
    with pytest.raises(CheckpointError, match=rf"in another shape {name} \(64, 11\) \(expected \(64, 12\)\)"):
        convert(path, tmp_path / "out")


def test_a_front_end_with_relu_has_no_slopes(tmp_path):
    path, _ = small_avhubert(tmp_path)
    tensors = read_checkpoint(path)["model"]
    slopes = [name for name in tensors if "relu" in name or name.endswith("frontend3D.2.weight")]
    assert len(slopes) == 1 + 2 * 3
    for name in slopes:
        del tensors[name]
    with pytest.raises(CheckpointError, match=f"it lacks {slopes[0]}"):
        convert(write_fairseq(path, tensors, {"model": AVHUBERT_SETTINGS}), tmp_path / "out")
    settings = {"model": AVHUBERT_SETTINGS | {"resnet_relu_type": "relu"}}
    model = convert(write_fairseq(path, tensors, settings), tmp_path / "out").model
    assert isinstance(model.frontend.blocks[0].activation1, torch.nn.ReLU)


@pytest.mark.parametrize(
    "settings",
    [
        {"conformer_dropout": 7.5},
        {"conformer_dropout": "x"},
        {"w2v_args": {"model": AVHUBERT_SETTINGS | {"encoder_attention_heads": -4}}},
    ],
)
def test_settings_that_no_model_can_have_are_an_error_of_the_file(tmp_path, settings):
    path, _ = small_lip2speech(tmp_path, on_avhubert=True)
    write_fairseq(path, read_checkpoint(path)["model"], {"model": settings})
    with pytest.raises(CheckpointError, match="its sizes are impossible"):
        convert(path, tmp_path / "out")


def test_dropped_tensors_are_printed_and_on_the_card(tmp_path, capsys):
    path, _ = small_avhubert(tmp_path)
    assert hf_lip2speech_cli.main(["convert", str(path), str(tmp_path / "out")]) == 0
    printed, card = capsys.readouterr(), (tmp_path / "out" / "README.md").read_text()
    for name in ("mask_emb", "label_embs_concat", "final_proj.weight", "final_proj.bias"):
        assert f"dropped, only pre-training needs it: {name}\n" in printed.err
        assert f"`{name}`" in card
    assert printed.out == f"{tmp_path / 'out'}\n"


@each_kind
def test_the_card_names_source_and_terms(tmp_path, kind):
    path, _ = KINDS[kind](tmp_path)
    convert(path, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\nlicense: other\nlicense_name: non-commercial\n")
    assert "for non-commercial use only" in card and path.name in card and "SHA-256" in card
    assert ("av_hubert" in card) == ("avhubert" in kind)
    assert ("lip2speech-unit" in card) == (kind != "avhubert")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": {"conformer_layer_norm_first": False}}, "conformer_layer_norm_first=False; expected True"),
        (
            {"model": {"w2v_args": {"model": {"activation_fn": "relu"}}}},
            "activation_fn='relu'; expected 'gelu'",
        ),
    ],
)
def test_settings_that_compute_something_else_are_refused(tmp_path, settings, message):
    path, _ = small_lip2speech(tmp_path, on_avhubert=True)
    write_fairseq(path, read_checkpoint(path)["model"], settings)
    with pytest.raises(CheckpointError, match=message):
        convert(path, tmp_path / "out")


def test_what_is_none_of_the_kinds_is_refused_with_what_it_holds(tmp_path):
    torch.save({"mpd": {"x.weight": torch.ones(1)}, "optim_g": {}}, tmp_path / "do_00000000")
    with pytest.raises(CheckpointError, match="it holds mpd, optim_g with x.weight"):
        convert(tmp_path / "do_00000000", tmp_path / "out")
    with pytest.raises(CheckpointError, match="is a folder.*do_00000000"):
        convert(tmp_path, tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "none.pt", tmp_path / "out")
    path, _ = small_vocoder(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps({"upsample_rates": [7, 4, 4], "resblock_dilation_sizes": [[1, 2], [1, 2]]})
    )
    with pytest.raises(CheckpointError, match="its sizes are impossible.*upsample_rates"):
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_left_alone(tmp_path):
    path, _ = small_vocoder(tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(Lip2SpeechError, match="exists already"):
        convert(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Lip2SpeechError, match="exists already"):
        convert(path, tmp_path / "link")


def test_the_command_refuses_a_malicious_file_in_one_line(tmp_path, capsys):
    import os

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    torch.save({"model": {"weight": torch.ones(1)}, "extra_state": Evil()}, tmp_path / "evil.pt")
    assert hf_lip2speech_cli.main(["convert", str(tmp_path / "evil.pt"), str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert ".system, which runs code" in message and message.count("\n") == 1
    assert not (tmp_path / "canary").exists() and not (tmp_path / "out").exists()
    with pytest.raises(UnsafeCheckpointError):
        convert(tmp_path / "evil.pt", tmp_path / "out")


def test_a_vocoder_returns_bit_by_bit(tmp_path):
    source, expected = small_vocoder(tmp_path)
    convert(source, tmp_path / "here")
    model = UnitVocoderModel.from_pretrained(tmp_path / "here")
    model.stages[0].upsampler.weight.data[1] = 0  # a filter that was never used
    model.save_pretrained(tmp_path / "here")
    file = to_published(tmp_path / "here", tmp_path / "there")
    assert file == tmp_path / "there" / PUBLISHED_VOCODER
    generator = torch.load(file, weights_only=True)["generator"]
    assert generator.keys() == torch.load(source, weights_only=True)["generator"].keys()
    assert all(torch.isfinite(value).all() for value in generator.values())
    convert(file, tmp_path / "back")
    back = UnitVocoderModel.from_pretrained(tmp_path / "back")
    assert back.config.to_dict() == model.config.to_dict() | {"_name_or_path": str(tmp_path / "back")}
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


def compose(tmp_path: Path, *more: str) -> int:
    lip2speech, vocoder = small_lip2speech(tmp_path, on_avhubert=True)[0], small_vocoder(tmp_path)[0]
    paths = [str(lip2speech), str(vocoder), str(tmp_path / "out")]
    return hf_lip2speech_cli.main(["convert", "--composite", *paths, *more])


def test_a_composite_of_two_files_speaks_through_the_pipeline(tmp_path, capsys):
    assert compose(tmp_path) == 0
    assert "no built-in voice" in capsys.readouterr().err
    speak = pipeline("lip-to-speech", model=str(tmp_path / "out"))
    frames = np.random.default_rng(0).integers(0, 256, (9, 96, 96), dtype=np.uint8)
    speech = speak({"frames": frames, "fps": 25}, cropped=True, speaker=unit_vector(1))
    assert speech["audio"].shape == (9 * 640,)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "g_00000010" in card and "lip2speech_avhubert.pt" in card and 'speaker="voice.wav"' in card


def test_a_composite_takes_converted_folders_and_voices(tmp_path, capsys):
    from ..training.prepared_folder import write_prepared_folder

    voices = write_prepared_folder(tmp_path / "prepared", train=1, val=1)
    convert(small_lip2speech(tmp_path)[0], tmp_path / "lips")
    convert(small_vocoder(tmp_path)[0], tmp_path / "vocoder")
    paths = [str(tmp_path / name) for name in ("lips", "vocoder", "out")]
    assert hf_lip2speech_cli.main(["convert", "--composite", *paths, "--voices", str(voices)]) == 0
    assert AutoConfig.from_pretrained(tmp_path / "out").default_voice == "s1"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "for non-commercial use only" in card and "lips, converted before" in card


def test_parts_in_the_wrong_order_are_named(tmp_path, capsys):
    lip2speech, vocoder = small_lip2speech(tmp_path)[0], small_vocoder(tmp_path)[0]
    arguments = ["convert", "--composite", str(vocoder), str(lip2speech), str(tmp_path / "out")]
    assert hf_lip2speech_cli.main(arguments) == 1
    assert "holds a multi-input vocoder; expected, in this order" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "expected 2 paths, SRC DST; got 1"),
        (["--composite", "a", "b"], "expected 3 paths, L2S VOCODER DST; got 2"),
        (["--composite", "--to-published", "a", "b"], "not allowed with"),
        (["a", "b", "--voices", "c"], "belong to --composite"),
    ],
)
def test_wrong_usage_is_explained(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        hf_lip2speech_cli.main(["convert", *arguments])
    assert message in capsys.readouterr().err


def test_random_states_differ_from_new_models():
    """What the comparisons above rest on."""
    model = UnitVocoderModel(VOCODER)
    assert not any(
        torch.equal(value, model.state_dict()[name]) for name, value in random_state(model).items()
    )
