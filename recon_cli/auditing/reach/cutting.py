"""The loss cut out of a step: a pure function of what the network gives, by walking back from the loss.

A tensor that an operation with a weight makes (a matrix product, a convolution, an embedding, a normalisation) is an output of
the network: there the loss begins. What only rearranges it (chunk, reshape) is the network's side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon_cli.auditing.reach.recording import Operation, Recorded, Tape, Value, operations
from recon_cli.auditing.watching import FLOATS

WEIGHTED = {
    "addmm", "mm", "bmm", "baddbmm", "matmul", "linear", "convolution", "_convolution", "mkldnn_convolution", "embedding",
    "native_layer_norm", "native_batch_norm", "_native_batch_norm_legit", "native_group_norm", "cudnn_batch_norm",
    "_batch_norm_with_update", "mkldnn_linear", "_embedding_bag", "lstm", "gru", "mkldnn_rnn_layer", "_thnn_fused_lstm_cell",
    "_fused_rms_norm", "cudnn_convolution", "addmv", "mv", "dot", "index", "index_select",
}  # fmt: skip
REARRANGING = {
    "view", "_unsafe_view", "reshape", "split", "split_with_sizes", "chunk", "select", "slice", "transpose", "permute", "t",
    "squeeze", "unsqueeze", "unbind", "alias", "clone", "_to_copy", "lift_fresh", "view_as", "_reshape_alias", "expand",
}  # fmt: skip
FACTORING = {"linalg_cholesky_ex", "linalg_cholesky", "cholesky"}  # what a covariance is given to
JOINING = {"add", "sub", "add_", "sub_"}  # of two outputs: a residual connection
TOGETHER = {"cat", "stack"}
ADDING = {"add", "sub", "rsub", "add_", "sub_"}
SCALING = {"mul", "div", "neg", "mul_", "div_", "neg_"}
COMPARING = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}


@dataclass
class Cut:
    """A loss as a function of the network's outputs (``leaves``): the operations behind them, and the step's other tensors.

    foreign
        leaves that were computed before the step was watched.
    constants
        the other tensors, of data; values has them, the leaves and the parameters, as they were.
    shapes
        of every tensor on the way; dtypes, those that they were computed in.
    loss, recorded
        its number, and its value in the step.
    behind
        of each leaf, the other leaves that it is made of.
    """

    loss: int
    leaves: list[int]
    path: list[Recorded]
    constants: list[int]
    parameters: list[int]
    noise: frozenset[int]
    foreign: frozenset[int]
    values: dict[int, Tensor]
    shapes: dict[int, tuple[int, ...]]
    dtypes: frozenset[torch.dtype]
    recorded: Tensor
    behind: Mapping[int, frozenset[int]]

    def replay(self, values: Mapping[int, Tensor]) -> Tensor:
        """Return the loss with these values for leaves and constants, those of the step for the others, in their dtype."""
        dtype = next((value.dtype for value in values.values() if value.is_floating_point()), torch.float64)
        known: dict[int, Any] = {number: value.clone() for number, value in values.items()}  # some are written to

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
            elif keywords or operation.derives != torch.is_grad_enabled():
                with torch.set_grad_enabled(operation.derives):
                    result = operation.function(*arguments, **keywords)
            else:
                result = without_modes(operation.function, arguments)
            made = result if isinstance(result, (list, tuple)) else (result,)
            known.update(zip(operation.made, [part for part in made if isinstance(part, Tensor)], strict=False))
            known.update((new, given(Value(old))) for new, old in operation.aliases)
        loss: Tensor = known[self.loss]
        return loss

    def constant(self, number: int, dtype: Any) -> Tensor:
        """Return a tensor of the step that is none of the leaves; standard normal noise is drawn anew, as the step drew it."""
        tensor = self.values[number]
        tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor.clone()
        return torch.randn_like(tensor) if number in self.noise else tensor

    def lines(self, names: Mapping[int, str]) -> tuple[Operation, ...]:
        """Return which of the named leaves each operation takes in, and its line."""
        return tuple(operations(self.path, names))


def without_modes(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Return what an operation makes of arguments that are no device and no dtype: nothing is asked of how it is called."""
    try:
        with torch._C.DisableTorchFunction():
            return function(*arguments)
    except RuntimeError:  # of two dtypes, say
        return function(*arguments)


def cut(tape: Tape, loss: int) -> Cut:
    """Return the loss as a function of the network's outputs."""
    of_weights = weights(tape)
    outputs = {*tape.foreign}
    laid = {*tape.foreign}  # outputs, and what only rearranges them
    for op in tape.operations:
        weighed = op.name in WEIGHTED and any(each in of_weights for each in op.inputs)
        joined = op.name in TOGETHER and all(each in laid for each in op.inputs)
        if weighed or joined or is_joint(op, laid, of_weights):
            outputs.update(op.made)
            laid.update(op.made)
        elif op.name in REARRANGING and all(each in laid for each in op.inputs):
            laid.update(op.made)
    leaves, path = behind(tape, loss, outputs)
    if not leaves:  # no network: parameters are what is trained
        outputs = set(tape.parameters)
        leaves, path = behind(tape, loss, outputs)
    while moved := subtracted(tape, leaves) or rearranged(tape, leaves, path) or rescaled(tape, leaves, path):
        outputs = (outputs - {moved[0]}) | set(moved[1])
        leaves, path = behind(tape, loss, outputs)
    return between(tape, loss, leaves, path)


def between(tape: Tape, loss: int, leaves: Sequence[int], path: Sequence[Recorded]) -> Cut:
    """Return the operations of a step that lead from some tensors to another one, as a function of these."""
    made = {number for operation in path for number in operation.made} | {*leaves}
    others = [*dict.fromkeys(n for op in path for n in op.inputs if n not in made)]
    tensors, origins = tape.tensors, made_of(tape.operations, {*leaves})
    on_the_way = made.union(others)
    return Cut(
        loss, [*leaves], [*path],
        constants=[n for n in others if n not in tape.parameters], parameters=[n for n in others if n in tape.parameters],
        noise=frozenset(tape.noise & {*others}), foreign=frozenset(tape.foreign & {*leaves}),
        values={n: tensors[n].detach().clone() for n in (*leaves, *others)},
        shapes={n: tuple(tensors[n].shape) for n in on_the_way},
        dtypes=frozenset(tensors[n].dtype for n in on_the_way if tensors[n].is_floating_point()),
        recorded=tensors[loss].detach().clone(), behind={leaf: origins.get(leaf, frozenset()) for leaf in leaves},
    )  # fmt: skip


def trained(tape: Tape, loss: int) -> set[int]:
    """Return the parameters that a loss derives."""
    todo, known = [loss], {loss}
    while todo:
        maker = tape.maker.get(todo.pop())
        if maker is not None and tape.operations[maker].derives and tape.operations[maker].name != "detach":
            fresh = {*tape.operations[maker].inputs} - known
            known |= fresh
            todo += fresh
    return known & tape.parameters


def weights(tape: Tape) -> set[int]:
    """Return parameters, and what is made of parameters alone, but for those of a covariance, which are the loss's own."""
    own = together(tape, tape.parameters)
    factored = {n for op in tape.operations if op.name in FACTORING for n in op.inputs}
    if not factored:
        return own
    live = tape.maker.keys() | tape.parameters | tape.foreign
    still = {n for n, tensor in [*tape.tensors.items()] if n not in live and is_still(tensor)}
    factored &= together(tape, tape.parameters | still)
    origins = made_of(tape.operations, tape.parameters)
    of_loss = factored.union(*(origins.get(n, frozenset()) for n in factored))
    return {n for n in own if n not in of_loss and not origins.get(n, frozenset()) & of_loss}


def together(tape: Tape, numbers: set[int]) -> set[int]:
    """Return some tensors, and what is made of them alone."""
    own = {*numbers}
    for operation in tape.operations:
        if all(number in own for number in operation.inputs):
            own.update(operation.made)
    return own


def is_still(tensor: Tensor) -> bool:
    """Whether a tensor is one number, or a diagonal of some: no data."""
    square = tensor.ndim == 2 and tensor.shape[0] == tensor.shape[1]
    return not varied(tensor) or (square and bool((tensor == tensor.diag().diag()).all()))


def is_joint(operation: Recorded, outputs: set[int], of_weights: set[int]) -> bool:
    """Whether an operation adds two outputs of the network, or a weight to one (a residual connection, a bias)."""
    taken = operation.inputs
    if operation.name not in JOINING or len(taken) != 2 or not any(number in outputs for number in taken):
        return False
    return all(number in outputs or number in of_weights for number in taken)


def behind(tape: Tape, loss: int, outputs: set[int]) -> tuple[list[int], list[Recorded]]:
    """Return the outputs that a loss is made of, and the operations that make it of them, both in order."""
    todo, leaves, indices = [loss], set(), set()
    while todo:
        number = todo.pop()
        if number in outputs and number != loss:
            leaves.add(number)
        elif number in tape.maker and tape.maker[number] not in indices:
            indices.add(tape.maker[number])
            todo += tape.operations[tape.maker[number]].inputs
    return sorted(leaves), [tape.operations[index] for index in sorted(indices)]


def made_of(path: Iterable[Recorded], own: Collection[int]) -> dict[int, frozenset[int]]:
    """Return of which of some tensors each one is made that operations make of them."""
    of: dict[int, frozenset[int]] = {}
    for operation in path:
        taken = operation.inputs
        if behind := frozenset().union(*(of.get(n, frozenset()) for n in taken), {*own}.intersection(taken)):
            of.update(dict.fromkeys(operation.made, behind))
    return of


def rearranged(tape: Tape, leaves: list[int], path: list[Recorded]) -> tuple[int, list[int]] | None:
    """Return a leaf that is only rearranged on the way to the loss, and what it becomes; None if there is none."""
    for leaf in leaves:
        takers = [operation for operation in path if leaf in operation.inputs]
        if takers and all(taker.name in REARRANGING and len(taker.inputs) == 1 for taker in takers):
            made = [number for taker in takers for number in taker.made]
            alike = len({f"{taker.name} {taker.arguments}" for taker in takers}) < len(takers)
            if alike or sum(tape.tensors[n].numel() for n in made) > tape.tensors[leaf].numel():
                continue  # spread over others, or taken several times: each alone would be a part of it
            return leaf, made
    return None


def subtracted(tape: Tape, leaves: list[int]) -> tuple[int, list[int]] | None:
    """Return a leaf that is the difference of two outputs, one of which the loss takes in otherwise too: it is the loss's own.

    So are two logarithms of scales, as in the KL of two Gaussians.
    """
    for leaf in leaves:
        maker = tape.operations[tape.maker[leaf]] if leaf in tape.maker else None
        if maker is not None and maker.name in ("sub", "sub_", "rsub") and any(n in leaves for n in maker.inputs):
            return leaf, []
    return None


def rescaled(tape: Tape, leaves: list[int], path: list[Recorded]) -> tuple[int, list[int]] | None:
    """Return a leaf that data are added to, or that is multiplied, before it is compared with data, and what it becomes.

    So the noise that a diffusion model predicts becomes the image that is compared.
    """
    made = {number for operation in path for number in operation.made} | set(leaves)
    for leaf in leaves:
        number, last = leaf, leaf
        while True:
            takers = [operation for operation in path if number in operation.inputs]
            others = [n for n in takers[0].inputs if n != number] if len(takers) == 1 else []
            name = takers[0].name if takers else ""
            if len(takers) != 1 or any(n in made or n in tape.parameters for n in others):
                break
            if name in (*ADDING, *COMPARING) and any(varied(tape.tensors[n]) for n in others):
                last = number
            if name not in (*ADDING, *SCALING) or tape.tensors[takers[0].made[0]].shape != tape.tensors[number].shape:
                break
            number = takers[0].made[0]
        if last != leaf:
            return leaf, [last]
    return None


def varied(tensor: Tensor) -> bool:
    """Whether a tensor has elements, and they differ."""
    return tensor.numel() > 1 and bool((tensor != tensor.flatten()[0]).any())
