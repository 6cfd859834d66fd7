"""Pages of Markdown on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markdown import Markdown

WIDEST = 100  # columns


def show(text: str) -> None:
    """Print a page of Markdown, no wider than is read well."""
    console = Console()
    console.print(Markdown(text), width=min(console.width, WIDEST))
