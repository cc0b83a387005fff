"""`python -m hf_lip2speech` is the command `hf-lip2speech`."""

import sys

from hf_lip2speech_cli import main

if __name__ == "__main__":
    sys.exit(main())
