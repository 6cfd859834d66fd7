"""The folder of one run: created before the work, never over anything, gone again if nothing came of it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from recon_cli import __version__, processes
from recon_cli.errors import ReconError
from recon_cli.formats.json import plain
from recon_cli.pictures import png
from recon_cli.training.settings import exactly

if TYPE_CHECKING:
    from recon_cli.report import Picture
    from recon_cli.training.result import Training

METRICS, CONFIG = "metrics.jsonl", "config.json"


@processes.by_the_first
def fresh(name: str) -> Path:
    """The first of ``runs/<name>``, ``runs/<name>-2``, ... that is not there yet.

    Raises ReconError where torchrun may start the run anew, which then would not find it.
    """
    if processes.may_restart():
        raise ReconError(
            "Started anew (torchrun --max-restarts), a run must find its folder again, and it was given none.", "Add --out DIR."
        )
    taken, count = Path("runs") / name, 1
    while os.path.lexists(taken):
        count += 1
        taken = Path("runs") / f"{name}-{count}"
    return taken


@processes.by_the_first
def begun(path: Path | str | None, config: Mapping[str, Any]) -> bool:
    """Whether ``path`` holds this very run, which processes that torchrun started left behind when one of them died."""
    if path is None or not processes.launched() or not (folder := Path(path)).is_dir():
        return False
    anew, files = processes.restarts() > 0, {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    if CONFIG not in files:
        return anew and files == {METRICS}
    try:
        same = json.loads((folder / CONFIG).read_text(encoding="utf-8")) == json.loads(json.dumps(plain(config)))
    except (OSError, ValueError):
        return False
    return same and (anew or "result.json" not in files)


class Run:
    """Writes a run's files, whole or not at all; with path None it writes nothing.

    ``with Run(path) as run:`` creates the folder, its parents and an empty ``metrics.jsonl``, or raises
    ReconError. Where the work then fails before anything is kept (metrics, a checkpoint), all of that is removed again.

    again
        the folder is there, and its run is gone on with.

    Of several processes the first writes, and an error there is everybody's.
    """

    def __init__(self, path: Path | str | None, again: bool = False) -> None:
        self.path = None if path is None else Path(path)
        self.made: list[Path] = []
        self.written: list[Path] = []
        self.again = self.kept = again

    def __enter__(self) -> Run:
        if self.path is not None:
            try:
                if self.again:
                    self._tidy(self.path)
                else:
                    self._create(self.path)
            except (OSError, ValueError) as error:
                self._remove()
                raise unwritable(self.path, error) from error
        return self

    @processes.by_the_first
    def _tidy(self, path: Path) -> None:
        """Remove what a process that was killed had half written."""
        for file in path.glob(".*.*.[0-9]*"):
            if file.suffix[1:].isdecimal():
                file.unlink(missing_ok=True)

    @processes.by_the_first
    def _create(self, path: Path) -> None:
        if path.is_dir() and any(path.iterdir()):
            raise ReconError(
                f"The folder {path} is not empty, and a run never overwrites another.",
                f"Give another --out, or none: recon then takes the next free one under runs. --resume {path} goes on with it.",
            )
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self.made.append(folder)
        (path / METRICS).touch(exist_ok=False)
        self.written.append(path / METRICS)

    @processes.by_the_first
    def put(self, name: str, content: bytes) -> None:
        """Write a file under a temporary name, then give it its own: there is the old one or the new one, never a part."""
        if self.path is None:
            return
        temporary = self.path / f".{name}.{os.getpid()}"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path / name)
            self.written.append(self.path / name)
        except OSError as error:
            raise unwritable(self.path, error, self.kept) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def put_json(self, name: str, content: Mapping[str, Any]) -> None:
        """A JSON object as a file."""
        self.put(name, (json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n").encode())

    def finish(self, found: Training, generated: Mapping[str, Picture]) -> None:
        """Everything that there is at the end: the result, the model, and the pictures if there are any."""
        if self.path is None:
            return
        from safetensors.torch import save

        likelihood = exactly(found.likelihood)
        self.put_json("result.json", {"likelihood": likelihood, **vars(found.result)})
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.model.state_dict().items()}
        numbers = found.likelihood.parameters
        tensors |= {f"likelihood.{name}": each.cpu() for name, each in numbers.items() if getattr(each, "ndim", 0)}  # type: ignore[union-attr]
        self.put("model.safetensors", save(tensors, {"likelihood": likelihood, "version": __version__}))
        if found.picture is not None:
            self.put("reconstructions.png", png(found.picture))
        for name, shown in generated.items():
            self.put(name, png(shown))

    @processes.by_the_first
    def record(self, line: Mapping[str, Any]) -> None:
        """Append one JSON object to the metrics, on disk when this returns."""
        if self.path is None:
            return
        try:
            with open(self.path / METRICS, "a", encoding="utf-8") as file:
                file.write(json.dumps(plain(line), allow_nan=False) + "\n")
            self.kept = True
        except OSError as error:
            raise unwritable(self.path, error, self.kept) from error

    @processes.by_the_first
    def recall(self, epochs: int) -> list[dict[str, Any]]:
        """The metrics of the first so many epochs; any after them are dropped. Raises ReconError where they are not all there."""
        if self.path is None or not epochs:
            lines = []
        else:
            path = self.path / METRICS
            try:
                text = path.read_text(encoding="utf-8").splitlines()[:epochs]
                lines = [json.loads(line) for line in text]
                if [line["epoch"] for line in lines] != [*range(1, epochs + 1)]:
                    raise ValueError("the epochs do not follow one another")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ReconError(
                    f"{path} lacks some of the {epochs:,} epochs that the checkpoint has behind it.",
                    "The run cannot be gone on with as it was: train it again.",
                ) from error
        self.put(METRICS, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())
        return lines

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and not self.kept:
            self._remove()

    def _remove(self) -> None:
        """What this run created, as far as it is still there and holds nothing else."""
        for file in self.written:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        for folder in reversed(self.made):
            with suppress(OSError):
                folder.rmdir()


def unwritable(path: Path, error: Exception, kept: bool = False) -> ReconError:
    """The error for a folder that the system will not have; ``kept`` where there is something in it to go on from."""
    reason = getattr(error, "strerror", None) or str(error)
    way_out = "Give an --out that can be made and written."
    if kept and getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        way_out = f"Free some space, then go on from the last checkpoint: recon train --resume {path}."
    return ReconError(f"The run folder {path} cannot be written: {reason}.", way_out)
