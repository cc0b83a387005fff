"""A prepared folder on a private Hub repository, through a Hub on this machine."""

import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from hf_lip2speech.data.hub_dataset import SHARD_FRAMES, _shards, push_prepared, stream_prepared
from hf_lip2speech.data.layout import FIELDS
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.errors import DatasetError

from ..hub_server import HubServer, Repository
from ..training.prepared_folder import write_prepared_folder

# One process does it all: importing transformers and datasets takes most of its time.
SESSION = """
import json, sys
import datasets, numpy as np
from hf_lip2speech.data import hub_dataset
from hf_lip2speech.data.hub_dataset import push_prepared, stream_prepared
from hf_lip2speech.errors import DatasetError

def refusal(call, *arguments, **options):
    try: call(*arguments, **options)
    except DatasetError as error: return str(error)

datasets.disable_progress_bars()
out, items_file = sys.argv[1:]
hub_dataset.SHARD_FRAMES = 20
push_prepared(out, "anna/prepared")
items = {}
for split in ("train", "val"):
    for item in stream_prepared("anna/prepared", split):
        clip = f"{split}|{item.pop('id')}"
        items |= {f"{clip}|{name}": value for name, value in item.items()}
np.savez(items_file, **items)
units = stream_prepared("anna/prepared", "train", fields=["unit_ids"])
shuffled = [item["id"] for item in units.shuffle(seed=1, buffer_size=3)]
shards, fields = units.num_shards, [sorted(item) for item in units]
hub_dataset.SHARD_FRAMES = 180_000
push_prepared(out, "anna/prepared")
print(json.dumps({
    "shards": shards, "fields": fields, "shuffled": shuffled,
    "again": [item["id"] for item in stream_prepared("anna/prepared", "train", fields=[])],
    "public": refusal(push_prepared, out, "anna/open"),
    "wrong token": refusal(push_prepared, out, "anna/new", token="hf_wrong"),
    "no reader": refusal(stream_prepared, "anna/prepared", "train", token=False),
    "no repository": refusal(stream_prepared, "anna/none", "train"),
    "no split": refusal(stream_prepared, "anna/prepared", "test"),
    "no revision": refusal(stream_prepared, "anna/prepared", "train", revision="v9"),
}))
"""


@dataclass
class Session:
    out: Path
    hub: HubServer
    said: dict[str, Any]
    streamed: Any


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Generator[Session]:
    folder = tmp_path_factory.mktemp("hub")
    out = write_prepared_folder(folder / "out", train=5, val=2)
    rows = pyarrow.parquet.read_table(out / "manifest.parquet").to_pylist()
    rows[2]["words"] = json.dumps([{"word": "bin", "start": 0.0, "end": 0.2}])  # the others have none
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out / "manifest.parquet")
    report = {"corpus": "made up", "clips": 7, "hours": 0.0007, "splits": {}, "skipped": {}}
    (out / "report.json").write_text(json.dumps(report))
    (folder / "session.py").write_text(SESSION)
    with HubServer(folder / "hub") as hub:
        hub.repositories["dataset", "anna/open"] = Repository("dataset", "anna/open", private=False)
        printed = hub.script(folder / "session.py", out, folder / "items.npz")
        yield Session(out, hub, json.loads(printed.splitlines()[-1]), np.load(folder / "items.npz"))


def test_streamed_clips_are_bit_for_bit_the_prepared_ones(session):
    expected = {
        f"{split}|{item['id']}|{name}": np.asarray(item[name])
        for split in ("train", "val")
        for item in PreparedDataset(session.out, split)
        for name in FIELDS
    }
    assert set(session.streamed.files) == expected.keys()
    for name, value in expected.items():
        assert session.streamed[name].dtype == value.dtype
        np.testing.assert_array_equal(session.streamed[name], value)


def test_only_the_chosen_fields_come_and_shards_and_clips_can_be_shuffled(session):
    assert session.said["fields"] == [["id", "unit_ids"]] * 5
    ids = [f"s1/clip{number}" for number in range(5)]
    assert sorted(session.said["shuffled"]) == ids != session.said["shuffled"]


def test_pushing_again_replaces_what_was_there(session):
    assert session.said["shards"] == 2
    assert session.said["again"] == [f"s1/clip{number}" for number in range(5)]
    files = set(session.hub.repositories["dataset", "anna/prepared"].at("main").files)
    assert {path for path in files if path.startswith("data/")} == {
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
    }


def test_the_repository_is_private_and_says_what_it_holds(session):
    repository = session.hub.repositories["dataset", "anna/prepared"]
    files = repository.at("main").files
    assert repository.private
    assert {"README.md", "report.json", "unit_extractor/config.json"} <= files.keys()
    card = (session.hub.files / files["README.md"].sha256).read_text()
    assert "7 clips" in card and "made from made up" in card and "keep this repository" in card
    assert "num_examples: 5" in card  # which the push added


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("public", "anna/open is public; expected a private repository"),
        ("wrong token", "refuses to create 'anna/new'"),
        ("no reader", "'anna/prepared' (split 'train', revision 'main') cannot be streamed"),
        ("no repository", "'anna/none' (split 'train', revision 'main') cannot be streamed"),
        ("no split", "'anna/prepared' (split 'test', revision 'main') cannot be streamed"),
        ("no revision", "revision 'v9') cannot be streamed"),
    ],
)
def test_what_the_hub_refuses_is_said_in_a_sentence(session, case, message):
    assert message in session.said[case]
    if case == "public":
        assert not session.hub.repositories["dataset", "anna/open"].at("main").files
    else:
        assert "`hf auth login`" in session.said[case]


def test_only_a_finished_folder_can_be_pushed(tmp_path):
    (tmp_path / ".prepare").mkdir()
    with pytest.raises(DatasetError, match="has no manifest.parquet; expected a finished output folder"):
        push_prepared(tmp_path, "anna/prepared")


def test_fields_and_splits_that_do_not_exist_are_refused_before_the_hub_is_asked():
    with pytest.raises(DatasetError, match=r"expected one of \('train', 'val', 'test'\) and some of"):
        stream_prepared("anna/prepared", "dev")
    with pytest.raises(DatasetError, match=r"fields=\('pictures',\)"):
        stream_prepared("anna/prepared", "train", fields=["pictures"])


def test_shards_hold_about_two_hours_each_and_every_clip_once():
    rows = [{"id": number, "frames": 600} for number in range(1000)]
    shards = _shards(rows)
    assert [row for shard in shards for row in shard] == rows
    assert [sum(row["frames"] for row in shard) for shard in shards] == [SHARD_FRAMES] * 3 + [60_000]
