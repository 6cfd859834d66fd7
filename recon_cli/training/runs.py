"""The folder of one run: created before the work, never over anything, gone again if nothing came of it."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from recon_cli.errors import ReconError
from recon_cli.formats._content import plain
from recon_cli.models import _saved as saved
from recon_cli.report import version
from recon_cli.runtime import checksums, processes
from recon_cli.runtime.curves import sketch
from recon_cli.runtime.images import png
from recon_cli.training.figures import Epoch
from recon_cli.training.locks import LOCK, Lock

if TYPE_CHECKING:
    from recon_cli.training.result import Training

METRICS, CONFIG = "metrics.jsonl", "config.json"
BEYOND = ("nan", "inf", "-inf")  # as a file has what is no finite number


@processes.on_first_process
def fresh(name: str) -> Path:
    """Return the first of ``runs/<name>``, ``runs/<name>-2``, ... that is not there yet.

    Raises ReconError where torchrun may start the run anew, which then would not find it.
    """
    if processes.may_restart():
        raise ReconError(
            "Started anew (torchrun --max-restarts), a run must find its folder again, and it was given none.", "Add --out DIR."
        )
    name = name.replace("*", "x")  # of a product of families: no letter of a pattern
    path, count = Path("runs") / name, 1
    while os.path.lexists(path):
        count += 1
        path = Path("runs") / f"{name}-{count}"
    return path


@processes.on_first_process
def begun(path: Path | str | None, config: Mapping[str, Any]) -> bool:
    """Return whether ``path`` holds this very run, which processes that torchrun started left behind when one of them died."""
    if path is None or not processes.is_launched() or not (folder := Path(path)).is_dir():
        return False
    anew, files = processes.restarts() > 0, {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    if CONFIG not in files:
        return anew and files == {METRICS}
    try:
        theirs = checksums.parse_json(checksums.verify((folder / CONFIG).read_bytes()))
        same = {**theirs, checksums.KEY: None} == {**json.loads(json.dumps(plain(config))), checksums.KEY: None}
    except (OSError, ValueError, TypeError):
        return False
    return same and (anew or "result.json" not in files)


class RunFolder:
    """Writes a run's files, whole or not at all; with path None it writes nothing.

    ``with RunFolder(path) as run:`` creates the folder, its parents and an empty ``metrics.jsonl``, or raises
    ReconError. Where the work then fails before anything is kept (metrics, a checkpoint), all of that is removed again.

    again
        the folder is there, and its run is gone on with.
    config
        what ``config.json`` says.
    digest
        that of the metrics so far, which a checkpoint takes with it.

    Of several processes the first writes, and an error there is everybody's. It alone has the folder meanwhile: raises
    ReconError where another process has.
    """

    def __init__(self, path: Path | str | None, again: bool = False, config: Mapping[str, Any] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.identity = saved.identity(plain(config or {}))
        self.lock = None if self.path is None else Lock(self.path)
        self.digest = hashlib.sha256()
        self.created: list[Path] = []
        self.written: list[Path] = []
        self.again = self.has_work = again

    def __enter__(self) -> RunFolder:
        if self.path is not None:
            try:
                if self.again:
                    self._tidy(self.path)
                else:
                    self._create(self.path)
            except BaseException as error:
                self._end(lasting=False)
                if isinstance(error, (OSError, ValueError)):
                    raise unwritable(self.path, error) from error
                raise
        return self

    @processes.on_first_process
    def _tidy(self, path: Path) -> None:
        """Take the folder, and remove what a process that was killed had half written."""
        self._take()
        for file in path.glob(".*.*.[0-9]*"):
            if file.suffix[1:].isdecimal():
                file.unlink(missing_ok=True)

    @processes.on_first_process
    def _create(self, path: Path) -> None:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self.created.append(folder)
        if not any(path.iterdir()) or (path / LOCK).exists():
            self._take()
        if any(file.name != LOCK for file in path.iterdir()):
            raise ReconError(
                f"The folder {path} is not empty, and a run never overwrites another.",
                f"Give another --out, or none: recon then takes the next free one under runs. --resume {path} goes on with it.",
            )
        (path / METRICS).touch(exist_ok=False)
        self.written.append(path / METRICS)

    def _take(self) -> None:
        if self.lock is not None:
            self.lock.take()

    @processes.on_first_process
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
            raise unwritable(self.path, error, self.has_work) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def put_config(self, config: Mapping[str, Any]) -> None:
        """Write what the run was asked to do, with its checksum."""
        self.put(CONFIG, checksums.json_file(plain(config)))

    def finish(self, training: Training) -> None:
        """Write everything that there is at the end: the result, the model, and the pictures if there are any."""
        if self.path is None:
            return
        from safetensors.torch import save

        likelihood = training.likelihood.spelled(exact=True)
        self.put("result.json", checksums.json_text(plain({"likelihood": likelihood, **vars(training.result)})))
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in training.model.state_dict().items()}
        for name, value in training.likelihood.parameters.items():
            if isinstance(value, Tensor) and value.ndim:
                tensors[f"likelihood.{name}"] = value.cpu()
        about = {"likelihood": likelihood, "run": self.identity, "version": version()}
        self.put("model.safetensors", checksums.tensor_file(save(tensors), about))
        if len(training.epochs) > 1:
            self.put("curves.png", sketch([*training.curves()]))
        for name, picture in training.pictures.items():
            self.put(name, png(picture))

    @processes.on_first_process
    def record(self, line: Mapping[str, Any]) -> None:
        """Append one JSON object to the metrics, on disk when this returns."""
        if self.path is None:
            return
        text = f"{json.dumps(plain(line), allow_nan=False)}\n".encode()
        try:
            with open(self.path / METRICS, "ab") as file:
                file.write(text)
            self.digest.update(text)
            self.has_work = True
        except OSError as error:
            raise unwritable(self.path, error, self.has_work) from error

    @processes.on_first_process
    def recall(self, epochs: int, digest: str) -> list[dict[str, Any]]:
        """Return the metrics of the first so many epochs, whose digest is this; any after them are dropped.

        Raises ReconError where they are not all there, or not as they were written.
        """
        if self.path is None:
            return []
        path, lines = self.path / METRICS, []
        try:
            text = b"".join(path.read_bytes().splitlines(keepends=True)[:epochs]) if epochs else b""
        except OSError:
            text = b""
        if text.count(b"\n") < epochs:
            raise ReconError(
                f"{path} lacks some of the {epochs:,} epochs that the checkpoint has behind it.",
                "The run cannot be gone on with as it was: train it again.",
            )
        try:
            if epochs and checksums.digest(text) != digest:
                raise ValueError("it was damaged, or edited by hand")
            lines = [figures_of(checksums.parse_json(line), at + 1) for at, line in enumerate(text.splitlines())]
        except ValueError as error:
            raise ReconError(
                f"{path} is not what recon wrote: {error}.",
                "Give back the file that recon wrote; or train it again.",
            ) from error
        self.put(METRICS, text)
        self.digest = hashlib.sha256(text)
        return lines

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(lasting=kind is None or self.has_work)

    def _end(self, lasting: bool) -> None:
        """Let go of the folder; unless it is ``lasting``, without what this run created, as far as it holds nothing else."""
        for file in () if lasting else self.written:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        if self.lock is not None:
            self.lock.release()
        for folder in () if lasting else reversed(self.created):
            with suppress(OSError):
                folder.rmdir()


def figures_of(line: object, epoch: int) -> dict[str, Any]:
    """Return a line of the metrics, if it is of that epoch and has its figures. Raises ValueError."""
    fields = [*Epoch.__dataclass_fields__]
    if not isinstance(line, dict) or {*line} != {*fields} or line["epoch"] != epoch:
        raise ValueError(f"line {epoch:,} is not the figures of epoch {epoch:,}")
    for name, value in line.items():
        if value not in (None, *BEYOND) and (type(value) not in (int, float) or not math.isfinite(value)):
            raise ValueError(f"line {epoch:,} has a {name} that is no number")
    return {name: float(value) if value in BEYOND else value for name, value in line.items()}


def unwritable(path: Path, error: Exception, has_work: bool = False) -> ReconError:
    """Return the error for a folder that the system will not have; ``has_work`` where there is something in it to go on from."""
    reason = getattr(error, "strerror", None) or str(error)
    way_out = "Give an --out that can be made and written."
    if has_work and getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        way_out = f"Free some space, then go on from the last checkpoint: recon train --resume {path}."
    return ReconError(f"The run folder {path} cannot be written: {reason}.", way_out)
