"""Make the description of the package from the README when the package is built.

A package index shows the description without the files of the checkout, so relative links and pictures would be broken
there. If ``pyproject.toml`` has an address ``Source`` under ``[project.urls]``, they become links to the files of this
version at that address. Otherwise links become plain text, and pictures are left out.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# A link or, with an exclamation mark, a picture, whose address is neither on the web nor on the page itself.
RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")
LINK = r"\[[^\]]*\]\((?!\w+:|#)[^)\s]+\)"
CODE = re.compile(r"(^```.*?^```$)", flags=re.DOTALL | re.MULTILINE)


def description(readme: str, *, source: str | None, version: str) -> str:
    """Return the text of the README for a package index.

    Args:
        readme: The README.
        source: Address of the repository on a code host, or ``None``.
        version: The version, whose tag is v and the version.
    """
    parts = CODE.split(readme)
    parts[::2] = [_linked(part, f"{source.rstrip('/')}", version) if source else _unlinked(part) for part in parts[::2]]
    return "".join(parts)


def _linked(text: str, source: str, version: str) -> str:
    def absolute(found: re.Match[str]) -> str:
        mark, words, path = found.groups()
        return f"{mark}[{words}]({source}/{'raw' if mark else 'blob'}/v{version}/{path})"

    return RELATIVE.sub(absolute, text)


def _unlinked(text: str) -> str:
    paragraphs = [paragraph for paragraph in text.split("\n\n") if not _only_links(paragraph)]
    text = "\n\n".join(paragraphs)
    text = re.sub(rf"\s\({LINK}(,\s{LINK})*\)", "", text)  # words such as "(how)" say nothing without their link
    return RELATIVE.sub(lambda found: "" if found[1] else found[2], text)


def _only_links(paragraph: str) -> bool:
    """Return whether a paragraph is a picture, or a list of links."""
    picture = RELATIVE.fullmatch(paragraph.strip())
    return (picture is not None and bool(picture[1])) or len(re.findall(r"\) ·\s\[", paragraph)) > 1


class ReadmeHook(MetadataHookInterface):
    """Set the description. The build finds this class by its base class."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add ``readme`` to the metadata of the project."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        text = description(readme, source=source, version=metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
