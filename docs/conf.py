"""How Sphinx builds the site: the repository's own Markdown, read where it lies.

The source directory is the repository, so every relative link means here what it means on a code host, those that leave
docs/ included. What is listed on docs/index.md becomes the navigation.
"""

from __future__ import annotations

import re
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "mindloom"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["README.md", "docs/**.md", "plugins/*/README.md"]
exclude_patterns = [".*", "build", "core", "data", "runs", "tests"]
html_theme = "furo"
html_title = "mindloom"
html_extra_path = ["site/index.html"]
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
myst_heading_anchors = 3
smartquotes = False  # "--config" is no dash


def navigation(text: str) -> str:
    """Hidden tables of contents for the links of an index page, one for each of its headings."""
    trees = []
    for section in re.split(r"(?m)^## ", text):
        title, _, body = section.partition("\n")
        pages = re.findall(r"(?m)^- \[([^]]+)\]\(([^)#]+)\)", body)
        if pages:
            lines = "\n".join(f"{name} <{page}>" for name, page in pages)
            trees.append(f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}\n```\n")
    return text + "".join(trees)


def add_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Extend the index when Sphinx reads it."""
    if name == root_doc:
        source[0] = navigation(source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the above, and a language that code hosts know and Pygments does not."""
    app.connect("source-read", add_navigation)
    app.add_lexer("csv", TextLexer)
    return {"parallel_read_safe": True}
