"""Options for the whole suite, and what the tests share."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import slowness
from hypothesis import HealthCheck, settings

settings.register_profile("recon", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no test fails by a clock
settings.load_profile("recon")
os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would all that we start
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup's does: a run that is told to stop by it would go on for ever
os.environ["COLUMNS"] = "80"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network
collect_ignore = ["losses", "steps"]  # what people wrote: some of it must not be imported
os.fsync = lambda handle: None  # nobody switches the machine off meanwhile, and each waits for the disk
gc.disable()  # until all is collected: a quarter of that time is spent looking through what stays


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tensors live: cpu, cuda, cuda:1, mps")
    parser.addoption("--update-readme", action="store_true", help="write the outputs that the README shows anew")
    parser.addoption("--update-slow", action="store_true", help="run what is slow too, and write the list of it anew")


def pytest_configure(config: pytest.Config) -> None:
    """Measure the tests where the list of the slow ones is to be written."""
    if config.getoption("--update-slow"):
        config.option.markexpr = config.option.markexpr.replace(" and not slow", "")  # of each worker too
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(slowness.Measured())


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device that the suite runs on."""
    return request.config.getoption("--device")


@pytest.fixture(scope="module")
def no_gpu() -> Iterator[None]:
    """For tests whose children are copies of their process: one that has used a GPU has none that can."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        yield


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """``recon audit`` called in this process does its work here: a process for each would take minutes."""
    from recon_cli.runtime import supervisor

    def work_here(work: str, given: Mapping[str, Any], timeout: float, subject: str = "") -> Any:
        module, _, name = work.partition(":")
        return getattr(import_module(module), name)(**given)

    monkeypatch.setattr(supervisor, "run_supervised", work_here)
    monkeypatch.setattr(supervisor, "run_in_parts", work_here)


@pytest.fixture(autouse=True)
def no_kept_kernels(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:  # fmt: skip
    """Kernels that somebody has kept on this machine are not taken: each test has a folder of its own, made when it is used."""
    own = re.sub(r"\W", "_", request.node.nodeid)[-120:]
    monkeypatch.setattr("recon_cli.runtime.kernels.folder", lambda: tmp_path_factory.getbasetemp() / "kernels" / own)


@pytest.fixture
def mnist() -> Path:
    """The folder of real MNIST images, or a skip."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: a fresh clone has only the bundled digits")
    return folder


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: it is not looked through again."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # what the tests leave is looked through seldom
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow."""
    left = slowness.slow()
    for item in items:
        if slowness.named(item.path, item.nodeid).startswith(left):
            item.add_marker(pytest.mark.slow)
