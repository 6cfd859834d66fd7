"""Several numbers that a decoder gives for an element, each kind by itself: what the compiler takes eight elements of at a time.

Side by side, (n, 2), numbers of a kind are two apart in memory, and the compiler goes element by element. So a kernel takes
them one kind after another, (2, n), and what its graph stacks is never made: who asks it for one of the numbers gets that.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, cast

import numpy
import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.detach.default, torch.ops.aten.clone.default)


def apart(mu: Tensor) -> Tensor:
    """Return numbers (..., k), on the CPU, as (k, ...): numpy copies them in a third of the time that torch takes."""
    return torch.from_numpy(numpy.ascontiguousarray(numpy.moveaxis(mu.numpy(), -1, 0)))


def together(numbers: Tensor) -> Tensor:
    """Return numbers (k, ...) as (..., k): a stack, whose parts :func:`unstack` sees."""
    return torch.stack(numbers.unbind(0), dim=-1)


def unstack(graph: GraphModule) -> None:
    """Have every number that is taken from a stack, or from what is computed from stacks element by element, computed alone."""
    parts = NumbersApart(graph)
    if any(node.meta["val"].ndim > 1 for node in parts.changed):  # in place: who shares its memory is not known
        return
    for node in list(graph.graph.nodes):
        asked = taken(node)
        if asked is not None and (new := parts.part(*asked)) is not None:
            node.replace_all_uses_with(new)
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()


def taken(node: Node) -> tuple[Node, int] | None:
    """Return of which stack, and at which place of its last axis, a node is the numbers; None where it is no such."""
    args: Any = node.args
    if node.target is operator.getitem and args[0].target is torch.ops.aten.unbind.int:
        args = *(*args[0].args, 0)[:2], args[1]
    elif node.target is not torch.ops.aten.select.int:
        return None
    stack, axis, at = args
    return (stack, at) if axis in (-1, stack.meta["val"].ndim - 1) else None


class NumbersApart:
    """The nodes of a graph by the places of their last axis: each computed by itself, once it is asked for."""

    def __init__(self, graph: GraphModule) -> None:
        self.graph = graph.graph
        self.known: dict[tuple[Node, int], Node | None] = {}
        mutable = [node for node in self.graph.nodes if getattr(getattr(node.target, "_schema", None), "is_mutable", False)]
        self.changed = {node.args[0] for node in mutable}

    def part(self, node: Node, at: int) -> Node | None:
        """Return the numbers at ``at`` of the last axis of a node; None where they are not known by themselves."""
        if (node, at) not in self.known:
            value = node.meta.get("val")
            part = self.computed(node, value, at) if isinstance(value, torch.Tensor) and value.ndim else None
            self.known[node, at] = None if part in self.changed else part
        return self.known[node, at]

    def computed(self, node: Node, value: Tensor, at: int) -> Node | None:
        """Return the same, computed from what the node, of this value, is computed from."""
        args: Any = node.args
        if node.target is torch.ops.aten.stack.default:
            return cast("Node", args[0][at]) if (*args, 0)[1] in (-1, value.ndim - 1) else None
        if node.target is torch.ops.aten.select_backward.default:  # zero but at one place
            if args[2] not in (-1, value.ndim - 1):
                return None
            return (
                cast("Node", args[0]) if args[3] == at else self.after(node, at, torch.ops.aten.zeros_like.default, args[:1], {})
            )
        if node.target not in COPIES and torch.Tag.pointwise not in getattr(node.target, "tags", ()):
            return None
        others = []
        for arg in args:
            of: Any = arg.meta.get("val") if isinstance(arg, torch.fx.Node) else None
            whole = isinstance(of, torch.Tensor) and of.ndim > 0
            others.append(self.part(arg, at) if whole and of.shape == value.shape else arg)
            if whole and (others[-1] is None or of.shape != value.shape):
                return None
        return self.after(node, at, node.target, tuple(others), node.kwargs)

    def after(self, node: Node, at: int, target: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Node:
        """Return a new node, of a part of what another one is."""
        with self.graph.inserting_after(node):
            new = self.graph.call_function(target, args, named)
        new.meta["val"] = node.meta["val"].select(-1, at)
        return new
