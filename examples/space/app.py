"""The demo as a Space of the Hub."""

from transformers import pipeline

import hf_lip2speech  # noqa: F401  registers the task
from hf_lip2speech.hub.demo import launch

MODEL = None  # the one that comes with the package; or "user/name", a model on the Hub

launch(pipeline("lip-to-speech", model=MODEL))
