"""Tracing: a call with stand-ins that only record what the code asks of them, so that what to pass is known, not guessed.

A stand-in takes every operation of torch and of Python and answers with another one; no shape is ever wrong. What it was
asked for tells a tensor from a tuple, a dictionary, an object, a model or a number; who met whom, what is compared.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CoroutineType, GeneratorType
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from recon_cli.auditing.limiting import InterruptedLoss, OutOfTime, alone
from recon_cli.auditing.reach.objects import replace_attribute
from recon_cli.auditing.reach.questions import SIZES, Node, TracedSizes
from recon_cli.auditing.reach.stand_ins import Traced, stand_in, within
from recon_cli.auditing.restoring import lent, quiet
from recon_cli.auditing.watching import Watch

LABELLED = {"cross_entropy": 1, "nll_loss": 1, "one_hot": 0, "embedding": 0, "gather": 2, "take_along_dim": 1, "long": 0}
NUMBERS = {"reduction", "dim", "delta", "beta", "p", "ignore_index", "label_smoothing"}  # of torch's losses, that are no tensors
FILLING = {"full", "full_like", "fill_", "masked_fill", "masked_fill_", "clamp", "clamp_min", "clamp_max"}
FIRST = FILLING | {"__setitem__", "__getitem__"}  # of which the first argument alone must be a tensor
SHAPING = {"view", "reshape", "permute", "transpose", "expand", "repeat", "unsqueeze", "squeeze", "flatten", "split", "chunk"}
CREATING = {"zeros", "ones", "empty", "full", "rand", "randn", "arange", "eye"}
PATIENCE = 40  # truths told in one way, before a loop that waits for the other gets it


class Trace(TorchFunctionMode):
    """Records one call: a node for each argument, and which met which.

    met
        pairs of keys that one operation took together, before anything was summed.
    ignored
        labels that a loss leaves out.
    reduced
        keys of what was summed over an axis that is counted.
    given
        values of parts, by their keys.
    result, error
        what the call returned; what it raised.
    """

    def __init__(self, truth: bool) -> None:
        super().__init__()
        self.truth, self.told = truth, 0
        self.nodes: dict[str, Node] = {}
        self.met: set[frozenset[str]] = set()
        self.reduced: set[str] = set()
        self.ignored: set[int] = set()
        self.most = MOST
        self.given: Mapping[str, object] = {}
        self.result: Any = None
        self.error: BaseException | None = None

    def complete(self, owner: Any, models: Iterable[str]) -> None:
        """Have an object answer with stand-ins for attributes that it does not have, and for ``models``."""
        kind = type(owner)
        if owner is None or not hasattr(owner, "__dict__") or isinstance(owner, type):
            return

        def missing(own: Any, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            with contextlib.suppress(AttributeError):
                return super(filling, own).__getattr__(name)  # type: ignore[misc, arg-type]
            return self.stand_in(f"self.{name}")

        filling = type(kind.__name__, (kind,), {"__getattr__": missing, "__module__": kind.__module__})
        with contextlib.suppress(TypeError):
            object.__setattr__(owner, "__class__", filling)
        for name in models:
            model, given = self.stand_in(f"self.{name}"), getattr(vars(owner).get(name), "__dict__", {})
            vars(model)["_given"] = given
            replace_attribute(owner, name, model)

    def stand_in(self, name: str) -> Traced:
        """Return a stand-in for the argument called ``name``."""
        node = self.nodes.setdefault(name, Node(name, [name.rpartition(".")[2]]))
        return stand_in(self, node)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        inside = [*within((args, kwargs))]
        if not inside:
            return func(*args, **kwargs)
        return self.operate(getattr(func, "__name__", ""), args, kwargs, inside)

    def operate(self, name: str, args: Any, kwargs: Mapping[str, Any], inside: Sequence[Traced] | None = None) -> Any:
        """Record an operation of torch and return its stand-in."""
        inside = [*within((args, kwargs))] if inside is None else inside
        settings = [*within(args[name in SHAPING :])] if name in SHAPING | CREATING else []
        for each in settings:
            each._count()
        for each in within(args[:1]) if settings or name in FIRST else inside:
            each._use("tensor")
            if len(each._origins) == 1:
                each._origins[0].uses.add("tensor")
        self.mark(name, args, kwargs)
        sums = name in ("sum", "mean", "nansum", "nanmean", "norm", "logsumexp") or "reduction" in kwargs
        axes = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 and name in ("sum", "mean") else None))
        if sums and axes is not None:
            self.reduced |= {origin.key for each in inside for origin in each._origins}
        whole = name.endswith("_loss") or "entropy" in name or sums and axes is None
        summed = (whole and str(kwargs.get("reduction")) != "none") or all(each._summed for each in inside)
        self.meet(inside)
        if name in ("size", "shape"):
            return TracedSizes(SIZES) if len(args) < 2 and "dim" not in kwargs else SIZES[0]
        if name in ("dim", "ndimension"):
            return len(SIZES)
        if name in ("numel", "nelement", "__len__"):
            return math.prod(SIZES)
        if name in ("item", "tolist"):
            return 1.0
        if name[:3] == "is_":
            return name in ("is_floating_point", "is_contiguous", "is_tensor")
        if name in ("backward", "__setitem__"):
            return None
        return stand_in(self, None, inside, summed, torch_made=True)

    def mark(self, name: str, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Record what an operation takes its arguments for: labels, positions, truths, settings."""
        for key in NUMBERS & kwargs.keys():
            if isinstance(kwargs[key], Traced) and kwargs[key]._node is not None:
                kwargs[key]._node.uses = {"words" if key == "reduction" else "number"}
                kwargs[key]._node.constants |= {"sum"} if key == "reduction" else set()
        looked_up = self.looks_up(name, args, kwargs)
        if (position := LABELLED.get(name)) is not None and not looked_up:
            label = kwargs.get("target", kwargs.get("index", args[position] if len(args) > position else None))
            if isinstance(label, Traced) and len(label._origins) == 1:
                label._origins[0].uses.add("labels")
        if name in ("chunk", "unbind", "split") and isinstance(args[0], Traced) and args[0]._node is not None:
            axis = kwargs.get("dim", args[-1] if len(args) > 1 + (name == "chunk") else 0)
            if name == "unbind" and axis == -1:
                args[0]._node.halves |= {("stacked", 0), ("stacked", 1)}
            elif name == "split":
                size = kwargs.get("split_size_or_sections", kwargs.get("split_size", args[1] if len(args) > 1 else 0))
                size = size[0] if isinstance(size, (list, tuple)) and len(size) == 2 and size[0] == size[1] else size
                axis = kwargs.get("dim", args[2] if len(args) > 2 else 0)
                args[0]._node.cuts |= {(axis, 0, size), (axis, size, None)} if isinstance(size, int) else set()
            elif name == "chunk" and kwargs.get("chunks", args[1] if len(args) > 1 else 0) == 2:
                args[0]._node.halves.add(("joined", axis))
        if name == "select" and isinstance(args[0], Traced) and args[0]._node is not None and args[1:] in ((1, 0), (1, 1)):
            args[0]._node.cuts.add((1, args[2], args[2] + 1))
        if name in ("softmax", "log_softmax") and isinstance(args[0], Traced):
            args[0]._use("softmax")
        if name == "index_select" and isinstance(args[-1], Traced) and args[-1]._node is not None:
            args[-1]._node.uses.add("index")
            args[-1]._node.axes.add(args[1])
        if name in ("cross_entropy", "nll_loss") and isinstance(ignored := kwargs.get("ignore_index"), int):
            self.ignored.add(ignored)
        marks = {"masked_fill": 1, "masked_select": 1, "where": 0, "logical_not": 0, "bitwise_not": 0, "bool": 0}
        if (position := marks.get(name)) is not None and len(args) > position and isinstance(args[position], Traced):
            args[position]._use("mask")

    @staticmethod
    def looks_up(name: str, args: Any, kwargs: Mapping[str, Any]) -> bool:
        """Whether an operation reads a table of constants at steps that are arguments, which is recorded."""
        if name not in ("__getitem__", "gather", "index_select", "take") or not isinstance(args[0], Tensor):
            return False
        steps = [] if isinstance(args[0], Traced) else [*within((args[1:], kwargs))]
        for origin in (origin for step in steps for origin in step._origins):
            origin.uses.add("steps")
        return bool(steps)

    def meet(self, inside: Sequence[Traced]) -> None:
        """Record who meets whom."""
        for first, second in itertools.combinations([each for each in inside if not each._summed], 2):
            for one, other in itertools.product(first._origins, second._origins):
                if one is not other:
                    self.met.add(frozenset((one.key, other.key)))

    def next_truth(self) -> bool:
        """Return a truth, the other one where the code goes on asking."""
        self.told += 1
        return self.truth if self.told % PATIENCE else not self.truth


TOO_MANY = re.compile(r"too many values to unpack \(expected (\d+)\)")
MOST = 8  # parts of ``*parts``


def traced(call: Callable[[Trace], Any], given: Mapping[str, object] | None = None) -> Trace:
    """Return what a call does with stand-ins: with every truth true, and with every truth false where that raises."""
    traces: list[Trace] = []
    most = MOST
    for truth in (True, True, False):
        trace = Trace(truth)
        trace.most, trace.given = most, given or {}
        try:
            with lent(), Watch(), trace, quiet():
                trace.result = call(trace)
        except BaseException as error:
            if isinstance(error, (OutOfTime, InterruptedLoss)):
                raise
            trace.error = error
            for key in within(error.args) if isinstance(error, KeyError) else ():
                key._use("words")
            counts = TOO_MANY.search(str(error)) if isinstance(error, ValueError) else None
            if counts and most == MOST:
                most = int(counts[1])
                continue
        finally:
            alone()
        if type(trace.result) in (CoroutineType, GeneratorType):
            trace.result.close()
        traces.append(trace)
        if trace.error is None:
            break
    return traces[-1] if traces[-1].error is None else traces[0]
