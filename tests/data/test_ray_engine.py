"""The preparation on a local Ray cluster of two machines with one worker each."""

import time

import pyarrow.parquet
import pytest

from hf_lip2speech.data.corpora import GRID
from hf_lip2speech.data.layout import Journal
from hf_lip2speech.data.prepare import prepare

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    # Ray's own: it means to change what it does to CUDA_VISIBLE_DEVICES on machines without a GPU
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]


@pytest.fixture
def cluster(monkeypatch):
    """A head without a CPU, so that all work is done on machines that are added."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_machine_that_is_killed_half_way_leaves_its_work_to_the_other(cluster, grid_dir, tmp_path):
    arguments = {"unit_extractor": "mfcc", "num_units": 20, "limit": 4, "progress": False}
    machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    out = tmp_path / "ray"
    journal = Journal(out / ".prepare" / "journal")

    def kill_one():
        end = time.monotonic() + 300
        while len({record["id"] for record in journal.read()}) < 3:
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.05)
        cluster.remove_node(machines[0], allow_graceful=False)

    import threading

    killer = threading.Thread(target=kill_one)
    killer.start()
    report = prepare(GRID(grid_dir), out, engine="ray", **arguments)
    killer.join()
    assert (report["clips"], report["lost"]["clips"]) == (8, 0)
    assert sum(node["Alive"] for node in ray.nodes()) == 2, "the head and the machine that is left"
    assert len(list((out / ".prepare" / "journal").iterdir())) >= 2, "both machines did something"
    done = [record["id"] for record in journal.read()]
    assert len(done) - len(set(done)) <= 1, "only the clip at hand may be done twice"
    local = prepare(GRID(grid_dir), tmp_path / "local", **arguments)
    assert {**report, "contact_sheet": None} == {**local, "contact_sheet": None}
    tables = [pyarrow.parquet.read_table(folder / "manifest.parquet") for folder in (out, tmp_path / "local")]
    assert tables[0].equals(tables[1])
