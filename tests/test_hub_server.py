"""The Hub on this machine, which other tests rely on, as the real client sees it."""

import json

import pytest

from .hub_server.cards import problems


@pytest.fixture
def folder(tmp_path):
    """A model's folder: text, a large file, a file in a folder below."""
    path = tmp_path / "folder"
    (path / "below").mkdir(parents=True)
    (path / "README.md").write_text("---\nlicense: mit\n---\nA model.\n")
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(bytes(range(256)) * 8192)
    (path / "below" / "note.txt").write_text("hello")
    return path


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_what_the_command_uploads_it_downloads_again(hub, folder, tmp_path):
    hub.hf("upload", "anna/model", folder, "--private", "--commit-message", "first")
    hub.hf("download", "anna/model", "--local-dir", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(folder)
    repository = hub.repositories["model", "anna/model"]
    files = repository.at("main").files
    assert repository.private and files.keys() == contents(folder).keys()
    assert {path for path, file in files.items() if file.lfs} == {"model.safetensors"}
    assert [commit.title for commit in repository.at("main").lineage()] == ["first", "initial commit"]


def test_private_repositories_need_the_token_and_public_ones_do_not(hub, folder, tmp_path):
    hub.hf("upload", "anna/secret", folder, "--private")
    hub.hf("upload", "anna/open", folder)
    refused = hub.hf("download", "anna/secret", "--local-dir", tmp_path / "a", token=None, check=False)
    assert refused.returncode != 0 and "not found" in (refused.stdout + refused.stderr).lower()
    hub.hf("download", "anna/open", "--local-dir", tmp_path / "b", token=None)
    assert contents(tmp_path / "b") == contents(folder)
    refused = hub.hf("upload", "anna/open", folder, token=None, check=False)
    assert refused.returncode != 0


def test_the_client_knows_what_is_there_and_by_name_what_is_not(hub, folder):
    hub.hf("upload", "anna/model", folder)
    printed = hub.python(
        """
import json
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors, hf_hub_download
api = HfApi()
first = api.model_info("anna/model").sha
api.create_tag("anna/model", tag="v1")
api.create_branch("anna/model", branch="dev")
api.create_commit("anna/model", [CommitOperationDelete("below/", is_folder=True),
                                 CommitOperationAdd("config.json", b'{"new": 1}')], commit_message="second")
read = lambda revision: open(hf_hub_download("anna/model", "config.json", revision=revision)).read()
def refusal(call):
    try: call()
    except Exception as error: return type(error).__name__
change = [CommitOperationAdd("a", b"b")]
stale = lambda: api.create_commit("anna/model", change, commit_message="third", parent_commit=first)
refs = api.list_repo_refs("anna/model")
exists = [api.repo_exists("anna/model"), api.repo_exists("anna/none"), api.file_exists("anna/model", "none")]
print(json.dumps({
    "user": api.whoami()["name"],
    "configs": [read(revision) for revision in ("main", "v1", "dev", first)],
    "files": [api.list_repo_files("anna/model", revision=revision) for revision in ("main", "v1")],
    "folders": sorted(one.path for one in api.list_repo_tree("anna/model", revision="v1")),
    "paths": [one.path for one in api.get_paths_info("anna/model", ["config.json", "none"])],
    "commits": [one.title for one in api.list_repo_commits("anna/model")],
    "refs": [[one.name for one in names] for names in (refs.branches, refs.tags)],
    "listed": [one.id for one in api.list_models(author="anna")],
    "exists": exists,
    "refusals": [refusal(call) for call in (
        lambda: api.model_info("anna/none"),
        lambda: hf_hub_download("anna/model", "none.json"),
        lambda: hf_hub_download("anna/model", "config.json", revision="v9"),
        lambda: api.create_repo("ben/model"),
        lambda: api.create_repo("anna/model"),
        stale)],
}))
api.update_repo_settings("anna/model", private=True)
api.delete_tag("anna/model", tag="v1")
"""
    )
    found = json.loads(printed.splitlines()[-1])
    everything = ["README.md", "below/note.txt", "config.json", "model.safetensors"]
    assert found == {
        "user": "anna",
        "configs": ['{"new": 1}', "{}", "{}", "{}"],
        "files": [["README.md", "config.json", "model.safetensors"], everything],
        "folders": ["README.md", "below", "config.json", "model.safetensors"],
        "paths": ["config.json"],
        "commits": ["second", "Upload folder using huggingface_hub", "initial commit"],
        "refs": [["main", "dev"], ["v1"]],
        "listed": ["anna/model"],
        "exists": [True, False, False],
        "refusals": [
            "RepositoryNotFoundError",
            "RemoteEntryNotFoundError",
            "RevisionNotFoundError",
            "HfHubHTTPError",
            "HfHubHTTPError",
            "HfHubHTTPError",
        ],
    }
    repository = hub.repositories["model", "anna/model"]
    assert repository.private and not repository.tags


def test_a_download_that_breaks_off_goes_on_where_it_was(hub, tmp_path):
    whole = bytes(range(256)) * (24 << 12)
    hub.put("anna/model", {"model.safetensors": whole})
    hub.cuts = 1
    hub.hf("download", "anna/model", "model.safetensors", "--local-dir", tmp_path / "again")
    assert hub.cuts == 0
    assert contents(tmp_path / "again") == {"model.safetensors": whole}
    # The first of 24 MiB broke off after 12; the client keeps what it has written, in pieces of 10.
    assert hub.ranges == ["", f"bytes={10 << 20}-"]


def test_a_data_set_is_pushed_loaded_and_streamed(hub):
    printed = hub.python(
        """
import datasets
datasets.disable_progress_bars()
table = datasets.Dataset.from_dict({"name": ["a", "b"], "sound": [bytes(1000), bytes(2_000_000)]})
datasets.DatasetDict({"train": table, "test": table.select([1])}).push_to_hub("anna/table", private=True)
stream = datasets.load_dataset("anna/table", split="train", streaming=True)
print([(row["name"], len(row["sound"])) for row in stream])
print({split: rows.num_rows for split, rows in datasets.load_dataset("anna/table").items()})
"""
    )
    assert printed.splitlines()[-2:] == ["[('a', 1000), ('b', 2000000)]", "{'train': 2, 'test': 1}"]
    assert hub.repositories["dataset", "anna/table"].private


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("license: free", "license"),
        ("language: [English]", "ISO 639"),
        ("base_model: /home/anna/model", "base_model"),
        ("tags: speech: a", "YAML"),
        (
            "model-index: [{name: a, results: [{task: {type: b}, metrics: [{type: wer, value: 1}]}]}]",
            "dataset",
        ),
        ("model-index: [{name: a, results: []}]", "results"),
    ],
)
def test_a_card_that_the_hub_would_not_take_is_found_out(metadata, said):
    assert any(said in problem for problem in problems(f"---\n{metadata}\n---\n# A model\n"))
    assert problems("---\nlicense: mit\nlanguage: [en]\nbase_model: anna/model\n---\n# A model\n") == []
