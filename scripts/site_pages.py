"""Hooks of mkdocs: one site of README.md, CHANGELOG.md and docs/, and of the files that their links lead to.

In the repository a link is a path from the file that holds it, and leads out of docs/ where it has to. On the
site README.md is the front page, and what lies outside docs/ is a page too: a text file as a code block.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

FRONT_PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")  # the relative path in [text](path#anchor)
LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml"}
sources: dict[str, str] = {}  # page of the site -> file of the repository


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    root = Path(config.docs_dir).parent
    waiting = [*FRONT_PAGES, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    sources.clear()
    while waiting:
        path = waiting.pop()
        page = place(path)
        if page in sources or not (root / path).is_file():  # mkdocs itself names a link that leads nowhere
            continue
        sources[page] = path
        text = (root / path).read_text(encoding="utf-8") if page.endswith(".md") else ""
        if not path.startswith("docs/"):
            files.append(
                File.generated(config, page, content=text if path.endswith(".md") else listing(path, text))
            )
        if path.endswith(".md"):
            waiting += targets(path, text)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links lead to where their targets are on the site."""
    here = page.file.src_uri
    path = sources[here]
    if not path.endswith(".md"):
        return markdown

    def moved(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[0]))
        return posixpath.relpath(place(target), posixpath.dirname(here) or ".")

    return LINK.sub(moved, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """In docstrings [`Name`] is transformers' link to a class, which mkdocs does not know."""
    return re.sub(r"\[(<code>\w+</code>)\]", r"\1", html)


def place(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path in FRONT_PAGES:
        return FRONT_PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"files/{path}" if path.endswith(".md") else f"files/{path}.md"


def targets(path: str, text: str) -> Iterator[str]:
    for link in LINK.findall(text):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def listing(path: str, text: str) -> str:
    """A page that shows a text file."""
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n````{language}\n{text.rstrip()}\n````\n"
