"""Talking faces that nobody had to be filmed for: drawn, speaking with flite's voices, made from a seed.

`render` writes a folder of clips (it needs flite and the extra `render`); `RenderedTalker` reads it.
"""

from .corpus import RenderedTalker

__all__ = ["RenderedTalker"]
