"""The loss cut out of a step: a pure function of what the network gives, by walking back from the loss.

A tensor that an operation with a weight makes (a matrix product, a convolution, an embedding, a normalisation) is an output of
the network: there the loss begins. What only rearranges it (chunk, reshape) is the network's side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recon_cli.auditing.lines import Operation as Line
from recon_cli.auditing.reach.recording import Derived, Operation, Tape, Value

WEIGHTED = {
    "addmm", "mm", "bmm", "baddbmm", "matmul", "linear", "convolution", "_convolution", "mkldnn_convolution", "embedding",
    "native_layer_norm", "native_batch_norm", "_native_batch_norm_legit", "native_group_norm", "cudnn_batch_norm",
    "_batch_norm_with_update", "mkldnn_linear", "_embedding_bag", "lstm", "gru", "mkldnn_rnn_layer", "_thnn_fused_lstm_cell",
    "_fused_rms_norm", "cudnn_convolution", "addmv", "mv", "dot",
}  # fmt: skip
REARRANGING = {
    "view", "_unsafe_view", "reshape", "split", "split_with_sizes", "chunk", "select", "slice", "transpose", "permute", "t",
    "squeeze", "unsqueeze", "unbind", "alias", "clone", "_to_copy", "lift_fresh", "view_as", "_reshape_alias", "expand",
}  # fmt: skip
JOINING = {"add", "sub"}  # of two outputs: a residual connection
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass
class Cut:
    """A loss as a function of the network's outputs (``leaves``): the operations behind them, and the step's other tensors."""

    tape: Tape
    loss: int
    leaves: list[int]
    path: list[Operation]
    constants: list[int] = field(default_factory=list)

    def replay(self, values: Mapping[int, Tensor]) -> Tensor:
        """Return the loss with these values for leaves and constants, those of the step for the others, in their dtype."""
        dtype = next((value.dtype for value in values.values() if value.is_floating_point()), torch.float64)
        known: dict[int, Any] = dict(values)

        def given(part: Any) -> Any:
            if isinstance(part, Value):
                if part.number not in known:
                    known[part.number] = self.constant(part.number, dtype)
                return known[part.number]
            if isinstance(part, list):
                return [given(each) for each in part]
            return dtype if isinstance(part, torch.dtype) and part in FLOATS else part

        for operation in self.path:
            arguments = [given(part) for part in operation.arguments]
            keywords = {key: given(part) for key, part in operation.keywords.items()}
            if operation.name in ("_log_softmax", "_softmax"):
                arguments[2] = False  # half to float: here all are of one kind
            if operation.name == "_to_copy":
                result = arguments[0].to(keywords.get("dtype") or arguments[0].dtype)
            else:
                result = operation.function(*arguments, **keywords)
            made = result if isinstance(result, (list, tuple)) else (result,)
            known.update(zip(operation.made, [part for part in made if isinstance(part, Tensor)], strict=False))
        loss: Tensor = known[self.loss]
        return loss

    def constant(self, number: int, dtype: Any) -> Tensor:
        """Return a tensor of the step that is none of the leaves; standard normal noise is drawn anew, as the step drew it."""
        tensor = self.tape.tensors[number].detach()
        tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
        return torch.randn_like(tensor) if number in self.tape.noise else tensor

    def lines(self, names: Mapping[int, str]) -> tuple[Line, ...]:
        """Return which of the named leaves each operation takes in, and its line."""
        reads = {number: frozenset({name}) for number, name in names.items()}
        lines = []
        for operation in self.path:
            taken = frozenset().union(*(reads.get(n, frozenset()) for n in numbers((operation.arguments, operation.keywords))))
            reads.update((number, taken) for number in operation.made)
            lines.append(Line(operation.name, taken, operation.site))
        return tuple(lines)


def numbers(part: Any) -> Iterator[int]:
    """Yield the numbers of the tensors in an argument."""
    if isinstance(part, Value):
        yield part.number
    elif isinstance(part, dict):
        yield from numbers(list(part.values()))
    elif isinstance(part, (list, tuple)):
        for each in part:
            yield from numbers(each)


def inputs_of(operation: Operation) -> list[int]:
    """Return the numbers of the tensors that an operation takes."""
    return [*numbers((operation.arguments, operation.keywords))]


def cut(derived: Derived) -> Cut:
    """Return the loss as a function of the network's outputs."""
    tape = derived.tape
    of_weights = weights(tape)
    outputs = {
        number
        for operation in tape.operations
        if operation.name in WEIGHTED and any(each in of_weights for each in inputs_of(operation))
        for number in operation.made
    }
    outputs |= {number for op in tape.operations if is_joint(op, outputs) for number in op.made}
    leaves, path = behind(tape, derived.loss, outputs)
    if not leaves:  # no network: parameters are what is trained
        outputs = of_weights
        leaves, path = behind(tape, derived.loss, outputs)
    while moved := rearranged(leaves, path):
        outputs = (outputs - {moved[0]}) | set(moved[1])
        leaves, path = behind(tape, derived.loss, outputs)
    inside = {number for operation in path for number in operation.made} | set(leaves)
    constants = dict.fromkeys(n for op in path for n in inputs_of(op) if n not in inside and n not in tape.parameters)
    return Cut(tape, derived.loss, leaves, path, [*constants])


def weights(tape: Tape) -> set[int]:
    """Return parameters, and what is made of parameters alone."""
    own = set(tape.parameters)
    for operation in tape.operations:
        if all(number in own for number in inputs_of(operation)):
            own.update(operation.made)
    return own


def is_joint(operation: Operation, outputs: set[int]) -> bool:
    """Whether an operation adds two outputs of the network, of one shape."""
    taken = inputs_of(operation)
    return operation.name in JOINING and len(taken) == 2 and all(number in outputs for number in taken)


def behind(tape: Tape, loss: int, outputs: set[int]) -> tuple[list[int], list[Operation]]:
    """Return the outputs that a loss is made of, and the operations that make it of them, both in order."""
    todo, leaves, indices = [loss], set(), set()
    while todo:
        number = todo.pop()
        if number in outputs and number != loss:
            leaves.add(number)
        elif number in tape.maker and tape.maker[number] not in indices:
            indices.add(tape.maker[number])
            todo += inputs_of(tape.operations[tape.maker[number]])
    return sorted(leaves), [tape.operations[index] for index in sorted(indices)]


def rearranged(leaves: list[int], path: list[Operation]) -> tuple[int, list[int]] | None:
    """Return a leaf that is only rearranged on the way to the loss, and what it becomes; None if there is none."""
    for leaf in leaves:
        takers = [operation for operation in path if leaf in inputs_of(operation)]
        if takers and all(taker.name in REARRANGING and len(inputs_of(taker)) == 1 for taker in takers):
            return leaf, [number for taker in takers for number in taker.made]
    return None
