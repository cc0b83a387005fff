"""The metrics as folders for `evaluate.load`, so that they fit where the metrics of the Hub do.

stoi = evaluate.load(metric_folder("stoi"))
stoi.compute(predictions=[speech], references=[truth])   # {"stoi": 0.55, "per_clip": [0.55], "undefined":
0}
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent

METRICS = tuple(sorted(path.name for path in _HERE.iterdir() if (path / f"{path.name}.py").is_file()))


def metric_folder(name: str) -> str:
    """What to pass to `evaluate.load` for one of METRICS; nothing is downloaded.

    Raises:
        MetricError: no metric has this name.
    """
    from ...errors import MetricError

    if name not in METRICS:
        raise MetricError(f"there is no metric {name!r}; expected one of {', '.join(METRICS)}.")
    return str(_HERE / name)
