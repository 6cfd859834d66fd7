"""A page is one file that nothing can break out of, that asks nobody for anything, and that says all without JavaScript too."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import pytest

from recon_cli import formats
from recon_cli.calibration import calibrate_sources
from recon_cli.comparison import compare_sources
from recon_cli.formats.html import PARTS
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.report import Block, Chart, Column, Diagram, Excerpt, Picture, Report, Series, Table

HOSTILE = "</script><script>alert(1)</script> <!-- ]]> \u2028\u2029 \"'><img src=x onerror=alert(2)> &amp; \\u003c \x00\x1b[31m"
LEFT_OUT = dict.fromkeys((0, 0x1B), "\ufffd")  # what a page cannot have in it


class Elements(HTMLParser):
    """The elements of a page, in order: name, attributes, and text directly inside."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.every: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.every.append((tag, dict(attrs), []))
        if tag not in ("meta", "link", "img", "br", "input"):
            self.open.append(self.every[-1][2])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.every.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("p", "li") or self.open:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1].append(data)

    def texts(self, name: str) -> list[str]:
        return ["".join(text) for tag, _, text in self.every if tag == name]


def page(report: Report) -> str:
    file = io.StringIO()
    formats.write(report, "html", file)
    return file.getvalue()


def hostile() -> Report:
    """A report with what breaks pages wherever there are words."""
    columns = [Column("name", HOSTILE, "*"), Column("value", "v", HOSTILE, brief=True)]
    steps = [
        {"likelihood": HOSTILE, "step": 1, "statement": HOSTILE, "because": HOSTILE, "checked": False},
        {"likelihood": HOSTILE, "step": 2, "statement": "s", "because": "b", "checked": None},
    ]
    return Report(
        "compare",
        [
            Table(HOSTILE, columns, [{"name": HOSTILE, "value": 1.5}], HOSTILE),
            Table("steps", [Column("step", "step")], steps, layout="steps"),
            Table("lines", columns, [{"name": HOSTILE, "value": HOSTILE}], layout="lines"),
        ],
        [HOSTILE],
        HOSTILE,
        False,
        [Picture(HOSTILE, [(HOSTILE, [[[0.0, 1.0]] * 2])])],
        charts=[Chart(HOSTILE, [1.0, 2.0], [Series(HOSTILE, [float("nan"), None])], HOSTILE, note=HOSTILE)],
        lead=[HOSTILE],
        arguments={HOSTILE: HOSTILE},
        exhibits=[
            Diagram(HOSTILE, [Block(HOSTILE, HOSTILE, HOSTILE, HOSTILE)], [HOSTILE]),
            Excerpt(HOSTILE, [(1, HOSTILE)], [(1, HOSTILE, HOSTILE)]),
        ],
    )


def test_no_value_breaks_out_of_the_page() -> None:
    written = page(hostile())
    assert written.isascii()
    elements = Elements(written)
    scripts = [attributes for tag, attributes, _ in elements.every if tag == "script"]
    assert scripts == [{"id": "data", "type": "application/json"}, {}, {}]
    assert [attributes["src"][:15] for tag, attributes, _ in elements.every if tag == "img"] == ["data:image/png;"]
    assert not any(name.startswith("on") for _, attributes, _ in elements.every for name in attributes)
    data = json.loads(elements.texts("script")[0])
    assert data["notes"] == [HOSTILE, HOSTILE]
    assert data["charts"][0]["series"][0]["values"] == ["nan", None]
    assert "<!--" not in written
    seen = HOSTILE.translate(LEFT_OUT)
    assert seen in elements.texts("h1")[0] + elements.texts("p")[1]
    for name in ("p", "td", "dt", "b", "caption", "figcaption", "text", "code"):
        assert seen in "".join(elements.texts(name)), name


def test_only_its_own_scripts_and_styles_may_run_and_nothing_may_be_loaded() -> None:
    elements = Elements(page(hostile()))
    (policy,) = [each["content"] or "" for _, each, _ in elements.every if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for name in ("script", "style"):
        parts = [text for (tag, each, _), text in zip(elements.every, map("".join, (e[2] for e in elements.every)), strict=True)
                 if tag == name and each.get("id") != "data"]  # fmt: skip
        digests = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts]
        assert re.search(rf"{name}-src ([^;]*)", policy)[1].split() == [f"'sha256-{each}'" for each in digests]  # type: ignore[index]
    links = [each.get(key) for _, each, _ in elements.every for key in ("src", "href") if key in each]
    assert all((link or "").startswith("data:") for link in links)
    assert not any(re.search(r"fetch\(|XMLHttpRequest|import\(|WebSocket|sendBeacon", part) for part in elements.texts("script"))


def test_pages_are_small_and_say_all_without_javascript() -> None:
    gaussian = [Gaussian(sigma=0.5)]
    for report in (calibrate_sources("digits").report(), compare_sources(noise_models=gaussian, device="cpu").report()):
        written = page(report)
        elements = Elements(written)
        assert len(written) - len(elements.texts("script")[0]) < 150_000
        cells = [text for tag, _, parts in elements.every if tag in ("td", "span") for text in ["".join(parts)]]
        for table in report.tables:
            visible = [column.key for column in table.columns if column.panel is not None]
            for row in table.rows:
                for key in visible:
                    if isinstance(row[key], float):
                        assert formats.spell(row[key], 6) in cells, (table.name, key, row[key])


def test_a_long_table_is_thinned_on_the_page_and_whole_in_its_data() -> None:
    rows = [{"name": f"n{at}", "value": at / 2} for at in range(2500)]
    table = Table("long", [Column("name", "name", "*"), Column("value", "value")], rows)
    elements = Elements(page(Report("data", [table])))
    assert elements.texts("caption") == ["long (1,000 of 2,500 rows)"]
    assert len(json.loads(elements.texts("script")[0])["tables"]["long"]) == 2500


def test_what_is_not_ours_comes_with_its_licence_and_only_where_it_is_used() -> None:
    drawn, bare = page(hostile()), page(Report("data", []))
    notice = "Copyright (c) 2022 Leon Sorokin"
    assert drawn.index(notice) < drawn.index("Permission is hereby granted") < drawn.index("var uPlot=")
    assert notice not in bare
    assert "var uPlot=" not in bare


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("at", [0, 1], ids=["light", "dark"])
def test_words_stand_out_in_light_and_dark(at: int) -> None:
    """At 4.5 to 1, as WCAG 2.1 AA asks."""
    schemes = re.findall(r"\{\s*(?:color-scheme: light dark;\s*)?(--bg:[^}]*)\}", (PARTS / "page.css").read_text())
    assert len(schemes) == 2
    colours = dict(re.findall(r"--(\w+): (#\w{6})", schemes[at]))
    for ground in ("bg", "card"):
        for ink in ("fg", "muted", "a", "b", "c", "d", "e", "ok", "no"):
            light, dark = sorted((luminance(colours[ground]), luminance(colours[ink])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, ink)
