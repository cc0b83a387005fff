"""Rendered speakers: drawn faces that speak with flite's voices, all made from a seed.

`render` writes a folder of clips (it needs flite and the extra `render`); `RenderedTalker` reads it.
"""

from .render import RenderedTalker

__all__ = ["RenderedTalker"]
