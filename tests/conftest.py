"""Options for the whole suite, and what the tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would all that we start
os.environ["COLUMNS"] = "80"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network
collect_ignore = ["losses"]  # what people wrote: some of it must not be imported


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tensors live: cpu, cuda, cuda:1, mps")
    parser.addoption("--update-readme", action="store_true", help="write the outputs that the README shows anew")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device that the suite runs on."""
    return request.config.getoption("--device")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """``recon audit`` called in this process does its work here: a process for each would take minutes."""
    from recon_cli import supervising

    def work_here(work: str, given: Mapping[str, Any], timeout: float) -> Any:
        module, _, name = work.partition(":")
        return getattr(import_module(module), name)(**given)

    monkeypatch.setattr(supervising, "supervised", work_here)


@pytest.fixture
def mnist() -> Path:
    """The folder of real MNIST images, or a skip."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: a fresh clone has only the bundled digits")
    return folder
