"""Lip-sync scores LSE-D and LSE-C as an `evaluate.Metric`; needs the file syncnet_v2.model."""

from typing import Any

from hf_lip2speech.evaluation import lip_sync
from hf_lip2speech.evaluation.hub_metrics import base
from hf_lip2speech.evaluation.syncnet import SyncNet


def _score(video: str, speech: Any, network: SyncNet) -> lip_sync.LipSync:
    """LSE-D, LSE-C and offset of speech (N,) 16 kHz against the path of a video that shows the face.

    `compute(..., syncnet=PATH)` takes the path of syncnet_v2.model, which this package does not contain.
    Chung, Zisserman, "Out of time: automated lip sync in the wild", 2016; Prajwal et al., ACM MM 2020.
    """
    return lip_sync.lip_sync(lip_sync.face_crops(video), speech, network)


class LipSync(base.ClipMetric):
    function = staticmethod(_score)
    references = base.TEXT

    def _compute(self, *, predictions=None, references=None, **options) -> dict[str, Any]:
        network = SyncNet.from_file(options.get("syncnet", "syncnet_v2.model"))
        return super()._compute(predictions=predictions, references=references, network=network)
