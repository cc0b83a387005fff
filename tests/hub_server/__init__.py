"""A Hugging Face Hub on this machine, for the real client to talk to over HTTP.

Models, datasets and spaces with private and gated repositories, uploads (preupload, LFS, commits), downloads
(redirects to the large files, ranges), branches, tags and commits as revisions, listings, a look at cards,
the errors that the client knows by name, and connections that break off. Not there: xet storage (the
environment of `ClientProcesses` switches it off), pull requests.

The client reads its variables when it is imported, so that it runs in processes of its own:

    def test_something(hub):
        hub.hf("upload", "anna/model", folder)
        hub.python("from huggingface_hub import snapshot_download; snapshot_download('anna/model')")

repositories.py: what a Hub holds. server.py: HTTP. reading.py, writing.py: the answers. cards.py: what it
says of a card. processes.py: the client's side.
"""

from . import reading, writing  # noqa: F401  they register their answers
from .repositories import Repository
from .server import HubServer

__all__ = ["HubServer", "Repository"]
