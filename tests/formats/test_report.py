"""A table's columns are read off the dataclass of its rows."""

from __future__ import annotations

from dataclasses import dataclass

from recon_cli.report import Column, Table, column, columns_of


@dataclass(frozen=True)
class Figures:
    """Two figures, and one that no table shows."""

    nll: float = column("nll", "nats")
    secret: int = 7
    ratio: float | None = column("measured", None, default=None)


@dataclass(frozen=True)
class Epoch(Figures):
    """The figures of an epoch."""

    epoch: int = column("epoch", "*", default=0)


def test_columns_are_the_fields_that_have_a_title_and_those_of_every_panel_come_first() -> None:
    nll, ratio = Column("nll", "nll", "nats"), Column("ratio", "measured", None)
    assert columns_of(Figures) == [nll, ratio]
    assert columns_of(Epoch) == [Column("epoch", "epoch", "*"), nll, ratio]


def test_a_table_of_rows_has_their_values_by_the_names_of_the_columns() -> None:
    table = Table.of("epochs", Epoch, [Epoch(nll=1.5, epoch=3)], "so far", most=12)
    assert (table.name, table.title, table.most, table.columns) == ("epochs", "so far", 12, columns_of(Epoch))
    assert table.rows == [{"epoch": 3, "nll": 1.5, "ratio": None}]


def test_a_table_of_no_rows_has_its_columns_all_the_same() -> None:
    assert Table.of("epochs", Epoch, []).columns == columns_of(Epoch)
