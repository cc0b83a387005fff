"""What nobody should read by running it."""

import os
from pathlib import Path


class Hostile:
    """In a pickle: makes a folder when it is read."""

    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)
