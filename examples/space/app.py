"""The demo as a Space on the Hub."""

from transformers import pipeline

import hf_lip2speech  # noqa: F401  registers the task
from hf_lip2speech.hub.demo import launch

MODEL = None  # the bundled one; or "user/name", a model on the Hub

launch(pipeline("lip-to-speech", model=MODEL))
