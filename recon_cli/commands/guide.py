"""``recon guide``: one topic of the manual."""

from __future__ import annotations

import sys
from importlib import resources

import click

from recon_cli.commands import _options as options
from recon_cli.errors import unknown


def topics() -> dict[str, str]:
    """Return the text of each topic of the guide, by its name."""
    pages = (page for page in resources.files("recon_cli.guide").iterdir() if page.name.endswith(".md"))
    return {page.name.removesuffix(".md"): page.read_text(encoding="utf-8") for page in sorted(pages, key=lambda page: page.name)}


class Topic(options.Word[str]):
    """The name of a topic."""

    name = "topic"

    def read(self, word: str, option: str) -> str:
        del option
        if word not in topics():
            raise unknown("topic", word, topics())
        return word

    def known_words(self) -> list[str]:
        return [*topics()]


@click.command("guide", cls=options.Command)
@click.argument("topic", type=Topic(), required=False)
def command(topic: str | None) -> None:
    """Show a page of the guide; without a topic, list the pages.

    \b
      recon guide
      recon guide calibrate
    """
    pages = topics()
    if topic is None:
        width = max(map(len, pages))
        for name, text in pages.items():
            click.echo(f"{name:{width}}  {text.splitlines()[0].removeprefix('# ').replace('`', '')}")
    elif sys.stdout.isatty():
        from recon_cli.formats import _pages

        _pages.show(pages[topic])
    else:
        click.echo(pages[topic], nl=False)
