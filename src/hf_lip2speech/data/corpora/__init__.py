"""Corpora of talking faces as lists of clips: the files of each clip, who speaks, what is said.

A corpus is anything with a `name` that iterates over `Clip`s; nothing is decoded here.
"""

from .clip import VIDEO_SUFFIXES, Clip, Corpus, ListedCorpus, Word
from .folder import FaceVideoFolder
from .grid import GRID, GRID_SENTENCE, read_grid_alignment, spell_grid_id
from .lrs import LRS2, LRS3, read_lrs_transcript
