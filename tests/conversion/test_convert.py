"""Converting small published files of every kind: whole, exact, or not at all."""

import functools
import json
import os
import shutil
from pathlib import Path

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

from ..tiny_model import noise_videos, unit_vector
from ..training.prepared_folder import write_prepared_folder
from .published_files import (
    AVHUBERT,
    AVHUBERT_SETTINGS,
    CONFORMER,
    FRONTEND,
    KINDS,
    VOCODER,
    random_state,
    small_lip2speech,
    write_fairseq,
)

each_kind = pytest.mark.parametrize("kind", list(KINDS))
SETTINGS = {"model": AVHUBERT_SETTINGS}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """kind -> (file, the state dict that converting it must give); a vocoder's folder has its config.json."""
    return functools.cache(lambda kind: KINDS[kind](tmp_path_factory.mktemp(kind)))


@pytest.fixture
def refused(tmp_path):
    """Checks that converting a file raises and writes nothing."""

    def check(path: Path, message: str, error: type[Exception] = CheckpointError) -> None:
        with pytest.raises(error, match=message):
            convert(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    return check


@pytest.fixture
def changed(made, tmp_path):
    """changed(kind, tensor=value or None or a function of the tensor) -> a file with other tensors."""

    def write(kind: str, changes: dict, settings: dict | None = None) -> Path:
        source, _ = made(kind)
        part = "generator" if kind == "vocoder" else "model"
        tensors = dict(read_checkpoint(source)[part])
        for name, change in changes.items():
            tensors[name] = change(tensors[name]) if callable(change) else change
        tensors = {name: value for name, value in tensors.items() if value is not None}
        if kind == "vocoder":
            shutil.copyfile(source.with_name("config.json"), tmp_path / "config.json")
            torch.save({part: tensors}, tmp_path / source.name)
            return tmp_path / source.name
        inner = {"model": {"w2v_args": {"model": AVHUBERT_SETTINGS}}}
        return write_fairseq(tmp_path / source.name, tensors, inner if settings is None else settings)

    return write


def command(*words: object) -> int:
    return hf_lip2speech_cli.main(["convert", *map(str, words)])


def card(folder: Path) -> str:
    return (folder / "README.md").read_text()


@each_kind
def test_a_converted_folder_loads_with_every_tensor_and_a_card_of_its_source_and_terms(made, tmp_path, kind):
    path, expected = made(kind)
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
    text = card(tmp_path / "out")
    assert text.startswith("---\nlibrary_name: transformers\nlicense: other\nlicense_name: non-commercial\n")
    assert "for non-commercial use only" in text and path.name in text and "SHA-256" in text
    assert ("av_hubert" in text) == ("avhubert" in kind)
    assert ("lip2speech-unit" in text) == (kind != "avhubert")


def test_sizes_are_told_by_the_tensors_and_the_rest_by_the_settings(made, tmp_path):
    for kind in KINDS:
        convert(made(kind)[0], tmp_path / kind)
    plain, on_avhubert, vocoder, _ = (AutoConfig.from_pretrained(tmp_path / kind) for kind in KINDS)
    for name, value in (CONFORMER | FRONTEND).items():
        assert getattr(plain, name) == value, name
    assert (plain.hidden_dropout, plain.label_smoothing, plain.mel_loss_weight) == (0.2, 0.05, 7)
    assert plain.layer_norm_eps == 1e-12 and plain.masked_convolutions
    encoder = on_avhubert.encoder
    assert encoder.to_dict() == AVHUBERT.to_dict() | {"dtype": encoder.dtype}
    for name in ("upsample_rates", "resblock_dilation_sizes", "num_units", "speaker_dim"):
        assert getattr(vocoder, name) == getattr(VOCODER, name), name


def test_without_settings_heads_are_64_wide(changed, tmp_path):
    config = convert(
        changed("avhubert", {}, {"model": {"_name": "av_hubert"}}), tmp_path / "out"
    ).model.config
    assert (config.num_attention_heads, config.position_groups) == (1, 4)


def test_an_inverse_stft_vocoder_has_no_published_form(tmp_path):
    with pytest.raises(
        CheckpointError, match='generator_type "istft", which the published code does not know'
    ):
        to_published("bundled", tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_a_vocoder_without_its_config_is_taken_to_follow_hifigans_convention(tmp_path, capsys):
    UnitVocoderModel(UnitVocoderConfig(upsample_initial_channel=32)).save_pretrained(tmp_path / "model")
    file = to_published(tmp_path / "model", tmp_path / "published")
    file.with_name("config.json").unlink()
    assert command(file, tmp_path / "out") == 0
    assert "HiFi-GAN's convention" in capsys.readouterr().err
    one, other = (AutoConfig.from_pretrained(tmp_path / name).to_dict() for name in ("model", "out"))
    assert one | {"_name_or_path": ""} == other | {"_name_or_path": ""}


def test_the_older_format_and_half_precision_convert_alike(changed, tmp_path):
    legacy_file, expected = small_lip2speech(tmp_path, legacy=True)
    convert(legacy_file, tmp_path / "legacy")
    halved = {
        name: value.half()
        for name, value in read_checkpoint(legacy_file)["model"].items()
        if value.is_floating_point()
    }
    convert(changed("lip2speech", halved), tmp_path / "half")
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
def test_a_tensor_that_is_missing_or_misshapen_stops_the_conversion_by_name(changed, refused, kind, tensor):
    refused(changed(kind, {tensor: None}), f"it lacks {tensor}")
    wider = changed(kind, {tensor: lambda value: torch.ones(*value.shape, 2)})
    refused(wider, rf"in another shape {tensor} \(.*\) \(expected \(")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("lip2speech", "encoder.encoder.encoders.0.norm_mha.weight"),
        ("lip2speech", "encoder.encoder.encoders.0.self_attn.pos_bias_u"),
        ("lip2speech_avhubert", "conformer.encoder.after_norm.weight"),
        ("lip2speech_avhubert", "encoder.w2v_model.layer_norm.bias"),
        ("vocoder", "conv_pre.bias"),
        ("vocoder", "spkr.bias"),
        ("vocoder", "dict.weight"),
        ("avhubert", "encoder.layers.1.fc1.bias"),
        ("avhubert", "encoder.layers.0.final_layer_norm.weight"),
    ],
)
def test_a_size_off_by_one_is_found_even_in_the_tensors_that_show_the_sizes(changed, refused, kind, name):
    refused(changed(kind, {name: lambda value: value[1:]}), f"in another shape {name} ")


@each_kind
def test_an_unknown_tensor_stops_the_conversion_by_name(changed, refused, kind):
    refused(
        changed(kind, {"decoder.surprise.weight": torch.ones(2)}), "holds the unknown decoder.surprise.weight"
    )


@pytest.mark.parametrize("number", ["300000000", "9" * 5000])
@pytest.mark.parametrize(
    "name",
    ["encoder.encoder.encoders.{}.norm.weight", "encoder.encoder.frontend.trunk.layer1.{}.bn1.weight"],
)
def test_a_stray_number_in_a_name_is_not_built(changed, refused, name, number):
    name = name.format(number)
    refused(changed("lip2speech", {name: torch.ones(2)}), f"it holds the unknown {name}")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("encoder.proj_out.weight", torch.int8),
        ("encoder.encoder.frontend.frontend3D.1.num_batches_tracked", torch.float32),
    ],
)
def test_a_tensor_of_another_type_is_named(changed, refused, name, dtype):
    path = changed("lip2speech", {name: lambda value: value.to(dtype)})
    refused(path, rf"has of another type {name} \({dtype}\)")


def test_the_audio_projection_has_as_many_inputs_as_the_settings_say(changed, refused):
    name, settings = (
        "feature_extractor_audio.proj.weight",
        {"model": AVHUBERT_SETTINGS | {"audio_feat_dim": 12}},
    )
    path = changed("avhubert", {name: lambda value: value[:, 1:]}, settings)
    refused(path, rf"in another shape {name} \(64, 11\) \(expected \(64, 12\)\)")


def test_a_front_end_with_relu_has_no_slopes(made, changed, refused, tmp_path):
    tensors = read_checkpoint(made("avhubert")[0])["model"]
    slopes = {name: None for name in tensors if "relu" in name or name.endswith("frontend3D.2.weight")}
    assert len(slopes) == 1 + 2 * 3
    refused(changed("avhubert", slopes, SETTINGS), f"it lacks {next(iter(slopes))}")
    relu = {"model": AVHUBERT_SETTINGS | {"resnet_relu_type": "relu"}}
    model = convert(changed("avhubert", slopes, relu), tmp_path / "out").model
    assert isinstance(model.frontend.blocks[0].activation1, torch.nn.ReLU)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conformer_dropout": 7.5}, "its sizes are impossible"),
        ({"conformer_dropout": "x"}, "its sizes are impossible"),
        (
            {"w2v_args": {"model": AVHUBERT_SETTINGS | {"encoder_attention_heads": -4}}},
            "its sizes are impossible",
        ),
        ({"conformer_layer_norm_first": False}, "conformer_layer_norm_first=False; expected True"),
        ({"w2v_args": {"model": {"activation_fn": "relu"}}}, "activation_fn='relu'; expected 'gelu'"),
    ],
)
def test_settings_that_no_model_has_or_that_compute_something_else_are_refused(
    changed, refused, settings, message
):
    refused(changed("lip2speech_avhubert", {}, {"model": settings}), message)


def test_dropped_tensors_are_printed_and_on_the_card(made, tmp_path, capsys):
    assert command(made("avhubert")[0], tmp_path / "out") == 0
    printed, text = capsys.readouterr(), card(tmp_path / "out")
    for name in ("mask_emb", "label_embs_concat", "final_proj.weight", "final_proj.bias"):
        assert f"dropped, only pre-training needs it: {name}\n" in printed.err
        assert f"`{name}`" in text
    assert printed.out == f"{tmp_path / 'out'}\n"


def test_what_is_none_of_the_kinds_is_refused_with_what_it_holds(changed, refused, tmp_path):
    torch.save({"mpd": {"x.weight": torch.ones(1)}, "optim_g": {}}, tmp_path / "do_00000000")
    refused(tmp_path / "do_00000000", "it holds mpd, optim_g with x.weight")
    refused(tmp_path, "is a folder.*do_00000000")
    refused(tmp_path / "none.pt", "none.pt", FileNotFoundError)
    path = changed("vocoder", {})
    (tmp_path / "config.json").unlink()
    refused(path, "no config.json beside it says.* 2 pairs")
    wrong = {"upsample_rates": [7, 4, 4], "resblock_dilation_sizes": [[1, 2], [1, 2]]}
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    refused(path, "its sizes are impossible.*upsample_rates")


def test_an_existing_folder_is_left_alone(made, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("out", "link"):
        with pytest.raises(Lip2SpeechError, match="exists already"):
            convert(made("vocoder")[0], tmp_path / name)
    assert not list((tmp_path / "out").iterdir())


def test_the_command_refuses_a_malicious_file_in_one_line(refused, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    torch.save({"model": {"weight": torch.ones(1)}, "extra_state": Evil()}, tmp_path / "evil.pt")
    assert command(tmp_path / "evil.pt", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert ".system, which runs code" in message and message.count("\n") == 1
    refused(tmp_path / "evil.pt", "system", UnsafeCheckpointError)
    assert not (tmp_path / "canary").exists()


def test_a_vocoder_returns_bit_by_bit(made, tmp_path):
    source, _ = made("vocoder")
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


def test_a_composite_of_two_files_speaks_through_the_pipeline(made, tmp_path, capsys):
    parts = [made("lip2speech_avhubert")[0], made("vocoder")[0]]
    assert command("--composite", *parts, tmp_path / "out") == 0
    assert "no built-in voice" in capsys.readouterr().err
    speak = pipeline("lip-to-speech", model=str(tmp_path / "out"))
    speech = speak(noise_videos(9)[0], cropped=True, speaker=unit_vector(1))
    assert speech["audio"].shape == (9 * 640,)
    text = card(tmp_path / "out")
    assert "g_00000010" in text and "lip2speech_avhubert.pt" in text and 'speaker="voice.wav"' in text


def test_a_composite_takes_converted_folders_and_voices(made, tmp_path):
    voices = write_prepared_folder(tmp_path / "prepared", train=1, val=1)
    for kind in ("lip2speech", "vocoder"):
        convert(made(kind)[0], tmp_path / kind)
    parts = [tmp_path / "lip2speech", tmp_path / "vocoder"]
    assert command("--composite", *parts, tmp_path / "out", "--voices", voices) == 0
    assert AutoConfig.from_pretrained(tmp_path / "out").default_voice == "s1"
    text = card(tmp_path / "out")
    assert "for non-commercial use only" in text and "lip2speech, converted before" in text


def test_parts_in_the_wrong_order_are_named(made, tmp_path, capsys):
    parts = [made("vocoder")[0], made("lip2speech")[0]]
    assert command("--composite", *parts, tmp_path / "out") == 1
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
        command(*arguments)
    assert message in capsys.readouterr().err


def test_random_states_differ_from_new_models():
    """What the comparisons above rest on."""
    model = UnitVocoderModel(VOCODER)
    assert not any(
        torch.equal(value, model.state_dict()[name]) for name, value in random_state(model).items()
    )
