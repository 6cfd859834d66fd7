"""One finder of near names: what a registry offers and what a user's own file offers is found alike."""

from __future__ import annotations

import pytest

from recon_cli.errors import alike, nearest
from recon_cli.runtime.user_code import no_such_name

NAMES = ["Encoder", "Decoder.forward", "reconstruction_loss", "kl-divergence", "loss", "loss_fn"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [("encoder", "Encoder"), ("ENCODR", "Encoder"), ("forward", "Decoder.forward"), ("reconstruction-los", "reconstruction_loss"),
     ("kl_divergence", "kl-divergence"), ("kl", "kl-divergence"), ("los", "loss"), ("loss_f", "loss_fn"), ("xyzzy", None),
     ("", None)],
)  # fmt: skip
def test_a_name_is_found_in_either_case_by_its_beginning_or_its_last_part(word: str, meant: str | None) -> None:
    assert nearest(word, NAMES) == meant
    hint = no_such_name(word, NAMES, "model.py:x").hint
    assert (f"Did you mean {meant!r}?" in hint) == (meant is not None)


def test_among_many_names_the_near_one_is_found_and_no_more_than_asked_for() -> None:
    many = [f"column_{i}" for i in range(50_000)] + ["Price"]
    assert nearest("prices", many) == "Price"
    assert len(alike("column_4", many, 5)) == 5
