"""The losses that a training step derives, each cut out where it is derived; nothing else of the step is kept."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from recon_cli.auditing.limiting import OURS
from recon_cli.auditing.reach.cutting import Cut, behind, cut, trained
from recon_cli.auditing.reach.drawing import Drawing, drawing
from recon_cli.auditing.reach.recording import Recorder, derivation_site, frames, is_library, variables

PATIENCE = 12  # steps of a critic before one of its generator
MANY = 8  # losses of one line
CALLS = ((Tensor, "backward"), (torch.autograd, "backward"), (torch.autograd, "grad"), (torch, "compile"))


@dataclass(frozen=True)
class DerivedLoss:
    """A loss that was derived, at a line, cut out of its step; what is to be said of how, and whether torch.func did it.

    names
        what the code that derives it calls the step's tensors, by their numbers.
    drawing
        what the step makes of the outputs in it before weights take that in again.
    """

    cut: Cut
    site: str
    notes: tuple[str, ...] = ()
    functional: bool = False
    names: Mapping[int, str] = field(default_factory=dict)
    drawing: Drawing | None = None


class Finished(BaseException):
    """One iteration has shown every loss: no ``except Exception`` of the script's own catches this."""


class Watching:
    """Watches what runs within: the losses that it derives, until one iteration has shown each site once.

    ``stop`` ends the code by raising Finished when a site comes again; else it goes on, unwatched.
    """

    def __init__(self, iteration: int = 1, stop: bool = False) -> None:
        self.iteration, self.stop = iteration, stop
        self.losses: list[DerivedLoss] = []
        self.counts: dict[str, int] = {}
        self.recorder = Recorder()
        self.before: list[tuple[Any, str, Any]] = []
        self.stance: Any = None
        self.over = False
        self.raised = self.repeats = 0
        self.reached: set[int] = set()  # parameters that a loss derived, by identity
        self.idle: set[int] = set()  # and those that are used, and none did yet
        self.compiled = False
        self.thread, self.process = threading.get_ident(), os.getpid()
        self.elsewhere = False  # whether a loss was derived on another thread

    def __enter__(self) -> Watching:
        self.before = [(owner, name, getattr(owner, name)) for owner, name in CALLS]
        for owner, name, call in self.before:
            setattr(owner, name, self.uncompiled if name == "compile" else self.watched(call))
        if "torch._dynamo" in sys.modules:  # something may have been compiled before
            self.stance = torch.compiler.set_stance("force_eager")
        self.recorder.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        with contextlib.suppress(Exception):  # of a mode that the code itself left open
            self.recorder.__exit__(*error)  # type: ignore[no-untyped-call]
        for own in self.before:
            setattr(*own)
        if self.stance is not None:
            self.stance.__exit__(*error)
        self.recorder.forget()

    def watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that derives, which is recorded and itself records nothing."""

        def derive(*args: Any, **kwargs: Any) -> Any:
            if not self.recorder.recording and not (self.over and self.stop):
                return call(*args, **kwargs)
            if threading.get_ident() != self.thread or os.getpid() != self.process:
                self.elsewhere = True
                return call(*args, **kwargs)
            loss = args[0] if args else kwargs.get("tensors", kwargs.get("outputs"))
            for each in loss if isinstance(loss, (list, tuple)) and loss else [loss]:
                self.derived(each, *derivation_site(2))
            self.recorder.recording = False
            try:
                return call(*args, **kwargs)
            finally:
                self.recorder.recording = not self.over

        return derive

    def derived(self, loss: Any, where: str, direct: bool = True) -> None:
        """Keep a loss that is derived, at the iteration that is looked at; end when its site has been there before."""
        if not direct and isinstance(loss, Tensor):  # a library's trainer derives what is written elsewhere
            where = self.written(loss) or where
        self.counts[where] = self.counts.get(where, 0) + 1
        fresh = self.pending(loss)
        if self.counts[where] > self.iteration:
            if self.iteration == 1 and (fresh or self.another(loss, where)):  # one line, or a loop over losses
                self.keep(loss, where)
                return
            self.repeats += 1
            if self.idle and self.repeats < PATIENCE and not self.over:
                return
            self.over, self.recorder.recording = True, False
            self.recorder.forget()
            if self.stop:
                self.raised += 1
                if self.raised > 1:
                    insist()
                raise Finished
        elif self.counts[where] == self.iteration and isinstance(loss, Tensor):
            self.keep(loss, where)
        elif self.counts[where] < self.iteration:  # of another iteration: what was recorded is not needed
            self.recorder.forget()

    def keep(self, loss: Tensor, where: str) -> None:
        """Keep a loss, cut out of what was recorded."""
        with torch.no_grad():
            whole = cut(self.recorder.tape, self.recorder.number(loss))
            of_functorch = getattr(torch._C, "_functorch")  # noqa: B009  (which torch's types leave out)
            functional = of_functorch.is_gradtrackingtensor(loss)
            drawn = drawing(self.recorder.tape, whole) if len(whole.leaves) > 1 else None
            notes = ("What torch.compile was given ran as it is written.",) * self.compiled
            self.losses.append(DerivedLoss(whole, where, notes, functional, self.names(), drawn))

    def another(self, loss: Any, where: str) -> bool:
        """Whether a loss that is derived at a line is made by other operations than those that were derived there before."""
        if self.over or not isinstance(loss, Tensor):
            return False
        before = [[operation.name for operation in each.cut.path] for each in self.losses if each.site == where]
        with torch.no_grad():
            path = [operation.name for operation in cut(self.recorder.tape, self.recorder.number(loss)).path]
        return bool(path) and len(before) < MANY and path not in before

    def names(self) -> dict[int, str]:
        """Return what the user's code that is running calls tensors of the step, the innermost name of each."""
        names: dict[int, str] = {}
        for frame in frames(1):
            if not is_library(frame.f_code.co_filename):
                for name, identity in variables(frame):
                    if identity in self.recorder.numbers:
                        names.setdefault(self.recorder.numbers[identity], name)
        return names

    def written(self, loss: Tensor) -> str:
        """Return the last line of the user's own at which a loss was computed; empty where there is none."""
        tape = self.recorder.tape
        _, operations = behind(tape, self.recorder.number(loss), set())
        return next((op.site for op in reversed(operations) if op.site and not is_library(op.site)), "")

    def pending(self, loss: Any) -> set[int]:
        """Return the parameters that a loss is the first to derive.

        Where some are used that none did yet, another loss is to come, as a generator's.
        """
        tape = self.recorder.tape
        if self.over or not isinstance(loss, Tensor):
            return set()
        used = {id(tape.tensors[number]) for number in tape.parameters}
        derived = {id(tape.tensors[number]) for number in trained(tape, self.recorder.number(loss))}
        fresh = derived - self.reached
        self.reached |= derived
        self.idle = used - self.reached
        return fresh

    def uncompiled(self, model: Any = None, **_: Any) -> Any:
        """Return what torch.compile is given: a step is watched as it is written."""
        self.compiled = True
        return (lambda each: each) if model is None else model


def insist() -> None:
    """Have Finished raised at the next line that runs, wherever: the script has caught it once, and goes on."""

    def again(_frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line":
            sys.settrace(None)
            raise Finished
        return again

    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith((OURS, "<frozen")):
            frame.f_trace = again
        frame = frame.f_back
    sys.settrace(lambda *_: None)
