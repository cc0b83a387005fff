"""The demo: a page on which a video is uploaded or filmed, and speaks."""

from .launching import launch

__all__ = ["launch"]
