"""Hooks of mkdocs: one site of README.md, CHANGELOG.md and docs/, and of the files that their links lead to.

In the repository a link is a path from the file that holds it, and leads out of docs/ where it has to. On the
site what lies outside docs/ is there too: a text file as a page that shows it, a folder as its README.md, any
other file as it is. Links to sound and video become players, and the command line has a page.
"""

import argparse
import functools
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
FRONT_PAGES = {"README.md": "readme.md", "CHANGELOG.md": "changelog.md"}
COMMAND_LINE = "cli.md"  # made of the commands' own help
VIDEO = re.compile(r'<a href="([^"]+\.mp4)"[^>]*><img alt="([^"]*)" src="([^"]+)"\s*/?></a>')
SOUND = re.compile(r'<a href="([^"]+\.(?:flac|wav))"[^>]*>(.*?)</a>')
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")  # the relative path in [text](path#anchor)
LANGUAGES = {"": "text", ".cff": "yaml", ".py": "python", ".sh": "bash", ".txt": "text", ".yaml": "yaml"}
sources: dict[str, str] = {}  # page of the site -> file of the repository


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    waiting = [*FRONT_PAGES, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    sources.clear()
    while waiting:
        path = waiting.pop()
        page = place(path)
        if (
            page in sources or page == COMMAND_LINE or not (ROOT / path).is_file()
        ):  # mkdocs itself names a link that leads nowhere
            continue
        sources[page] = path
        file = ROOT / path
        if not page.endswith(".md"):
            if not path.startswith("docs/"):
                files.append(File.generated(config, page, abs_src_path=str(file)))
            continue
        text = file.read_text(encoding="utf-8")
        if not path.startswith("docs/"):
            shown = text if path.endswith(".md") else listing(path, text)
            files.append(File.generated(config, page, content=shown))
        if path.endswith(".md"):
            waiting += [target(path, link) for link in LINK.findall(text)]
    files.append(File.generated(config, COMMAND_LINE, content=command_line()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links lead to where their targets are on the site."""
    here = page.file.src_uri
    if here == COMMAND_LINE:
        return markdown
    path = sources[here]
    if not path.endswith(".md"):
        return markdown

    def moved(match: re.Match) -> str:
        return posixpath.relpath(place(target(path, match[0])), posixpath.dirname(here) or ".")

    return LINK.sub(moved, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """In docstrings [`Name`] is transformers' link to a class, which mkdocs does not know."""
    html = re.sub(
        r'<audio[^>]* src="https:[^>]*></audio>', "", html
    )  # of a card, for the Hub: a link is beside it
    html = re.sub(r"\[(<code>\w+</code>)\]", r"\1", html)
    video = r'<video controls preload="none" poster="\3" title="\2" src="\1"></video>'
    return SOUND.sub(r'<audio controls preload="none" title="\2" src="\1"></audio>', VIDEO.sub(video, html))


def command_line() -> str:
    """The page of the command line."""
    sys.path.insert(0, str(ROOT / "src"))
    from hf_lip2speech_cli import make_parser

    parser = make_parser()
    (commands,) = (action.choices for action in parser._actions if action.dest == "command")
    text = "# Command line\n\nWhat `hf-lip2speech COMMAND --help` says, for every command.\n"
    for name, command in {"": parser, **commands}.items():
        command.formatter_class = functools.partial(argparse.HelpFormatter, width=100)
        text += f"\n## {name or 'hf-lip2speech'}\n\n```text\n{command.format_help().rstrip()}\n```\n"
    return text


def place(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path in FRONT_PAGES:
        return FRONT_PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"files/{path}.md" if Path(path).suffix in LANGUAGES else f"files/{path}"


def target(path: str, link: str) -> str:
    """The file of the repository that a link in the file `path` leads to."""
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return f"{found}/README.md" if (ROOT / found).is_dir() else found


def listing(path: str, text: str) -> str:
    """A page that shows a text file."""
    language = LANGUAGES[Path(path).suffix]
    return f"---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n````{language}\n{text.rstrip()}\n````\n"
