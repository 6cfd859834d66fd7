"""What a bare installation lacks is said in one sentence, with the way to it; what is bundled needs nothing more."""

from __future__ import annotations

import sys

import pytest

from recon_cli import sources
from recon_cli.cli import main


@pytest.mark.parametrize("library", ["pooch", "requests"])
@pytest.mark.parametrize("word", ["mnist", "fashion-mnist:train", "kmnist:test-labels"])
def test_a_download_says_what_to_install(
    word: str, library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "--data", word])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"Downloading this takes the library {library}, which is not installed." in err
    assert "pip install 'recon-loss[datasets]'" in err
    assert "Traceback" not in err


def test_the_bundled_digits_need_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("pooch", "requests", "pyarrow", "datasets"):
        monkeypatch.setitem(sys.modules, library, None)
    assert sources.read("digits").shape == (1797, 8, 8)
