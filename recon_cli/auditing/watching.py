"""What goes on inside a call: on the CPU and in float64 whatever the code asks for, literals and broadcasts seen."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ADDING = {"add", "sub", "rsub", "__add__", "__radd__", "__sub__", "__rsub__", "__iadd__", "add_", "subtract"}
MEETING = ADDING | {
    "mul",
    "__mul__",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "pow",
    "binary_cross_entropy_with_logits",
}
NOISE = {"randn_like": 0, "randn": None, "normal_": 0, "normal": None}


class Watch(TorchFunctionMode):
    """Sees every torch call of the audited code.

    dtype
        what every floating type becomes.
    sizes
        literals in ``view`` and ``reshape`` that stand for a size, and what that size is now.
    leaves
        where given, two groups of tensors: sums of one that depends on the first with one on the second, of
        shapes that differ, are kept in ``broadcasts``.
    noise
        where given, what every standard normal draw is.
    """

    def __init__(
        self, dtype: Any = torch.float64, sizes: dict[object, Any] | None = None, leaves: Any = None, noise: Any = None
    ) -> None:
        super().__init__()
        self.dtype, self.sizes, self.leaves, self.noise = dtype, sizes or {}, leaves, noise
        self.literals: set[object] = set()
        self.broadcasts: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self.uneven: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "cuda":
            return args[0]
        if name == "backward":  # a whole step, whose loss comes back all the same, to be derived here
            return None
        if name in ("float", "half", "bfloat16", "double"):
            return args[0].to(self.dtype)
        if name in ("to", "type"):
            args, kwargs = self.moved(args, kwargs)
        if kwargs.get("device") is not None:
            kwargs["device"] = "cpu"
        if kwargs.get("dtype") in FLOATS:
            kwargs["dtype"] = self.dtype
        if name in ("view", "reshape", "view_as") and args and isinstance(args[0], Tensor):
            args = self.resized(args)
        if self.noise is not None and name in NOISE:
            draw = func(*args, **kwargs)
            if name == "normal" and isinstance(args[0], Tensor):  # of a mean and a deviation, without a gradient by them
                return (args[0] + self.noise * args[1]).detach() if len(args) > 1 else torch.full_like(draw, self.noise)
            return torch.full_like(draw, self.noise) if name != "normal_" else args[0].fill_(self.noise)
        if name in MEETING:
            self.meet(name, args, kwargs)
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if not re.search(r"dtype|scalar type|same type|[Ii]nference tensor", str(error)):
                raise
            return func(*map(self.widened, args), **{key: self.widened(value) for key, value in kwargs.items()})

    def widened(self, value: object) -> object:
        """Return a float tensor in the audit's own type, that autograd takes: a kernel made at import, in a convolution."""
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.widened, value)) if type(value) in (list, tuple) else value
        if not isinstance(value, Tensor) or value.dtype not in FLOATS:
            return value
        return value.to(self.dtype).clone() if value.is_inference() else value.to(self.dtype)

    def moved(self, args: Any, kwargs: Any) -> Any:
        """Return ``.to(device)`` and ``.to(float32)`` as what this machine and this audit have."""
        new_args = [args[0]]
        for word in args[1:]:
            if isinstance(word, torch.device) or (isinstance(word, str) and word.split(":")[0] in ("cuda", "cpu", "mps")):
                continue
            if word in FLOATS if isinstance(word, torch.dtype) else False:
                word = self.dtype
            new_args.append(word)
        if isinstance(new_args[-1], str) and "Float" in new_args[-1]:
            new_args[-1] = self.dtype
        return (*new_args, torch.device("cpu")) if len(new_args) == 1 and not kwargs else tuple(new_args), kwargs

    def resized(self, args: Any) -> object:
        """Return a literal size in a view, as the size is now."""
        sizes = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list, torch.Size)) else args[1:]
        if not all(isinstance(size, int) for size in sizes) or isinstance(sizes, torch.Size):
            return args
        new = list(sizes)
        for old, now in self.sizes.items():
            if isinstance(old, int) and old in new and old > 1:
                self.literals.add(old)
                new = [now if size == old else size for size in new]
            if isinstance(old, tuple) and len(old) > 1 and tuple(new[-len(old) :]) == old:
                self.literals.add(old)
                new[-len(old) :] = now
        return (args[0], *new)

    def meet(self, name: str, args: Any, kwargs: Any) -> None:
        """Record two tensors of shapes that differ, in one sum."""
        pair = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)][:2]
        with torch._C.DisableTorchFunction():
            alike = len(pair) < 2 or pair[0].shape == pair[1].shape or not all(p.ndim and p.numel() > 1 for p in pair)
        if alike or self.leaves is None:
            return
        first, second = ([depends(part, group) for group in self.leaves] for part in pair)
        shapes = tuple(pair[0].shape), tuple(pair[1].shape)
        laid = pair[0].ndim == pair[1].ndim and torch.broadcast_shapes(*shapes) in shapes  # a length, a mean kept as an axis of 1
        if name in ADDING and ((first[0] and second[1] and not second[0]) or (second[0] and first[1] and not first[0])):
            self.broadcasts.append(shapes)
        if len(self.leaves) > 2 and not laid and ((first[0] and second[2]) or (second[0] and first[2])):
            recon, target = pair if first[0] else pair[::-1]
            reduced = [part.numel() < max(leaf.numel() for leaf in self.leaves[n]) for part, n in ((recon, 0), (target, 2))]
            if reduced != [False, True]:  # a mean that is taken of the target alone is meant so, as that with an axis of 1 is
                self.uneven.append(shapes)


def depends(value: Tensor, leaves: Any) -> bool:
    """Whether ``value`` has a gradient by any of ``leaves``."""
    if not value.requires_grad or not leaves:
        return False
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        grads = torch.autograd.grad(value.sum(), list(leaves), retain_graph=True, allow_unused=True)
    return any(grad is not None for grad in grads)


def seed(number: int = 0) -> None:
    """Put every generator that code draws from, at the same place."""
    random.seed(number)
    numpy.random.seed(number)
    torch.default_generator.manual_seed(number)
