"""What expressions look like, read and not run: differences and their squares, the KL of Gaussians, distances that are ranked."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from recon_cli.auditing.reach.extracting import own_nodes

CALLS = {
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "cross_entropy", "nll_loss", "poisson_nll_loss", "gaussian_nll_loss", "log_prob", "kl_divergence",
}  # fmt: skip
OBJECTS = re.compile(r"(MSE|L1|SmoothL1|Huber|BCE|BCEWithLogits|CrossEntropy|NLL|PoissonNLL|GaussianNLL)Loss$")
POWERS = {"pow", "square", "abs", "absolute", "norm", "vector_norm", "pairwise_distance"}
SHAPING = {"exp", "log10", "softmax", "sigmoid", "tanh"}  # what a square within is no loss of, but a kernel or a measure
RANKING = {"argmin", "topk", "argsort"}  # what is asked of distances, which say what is nearest

TRAINS = ("backward", "manual_backward", "zero_grad")
OTHERS = {
    **dict.fromkeys(("jax", "optax", "haiku", "distrax", "numpyro", "equinox", "chex", "objax"), "JAX"), "flax": "Flax",
    **dict.fromkeys(("tensorflow", "tensorflow_probability"), "TensorFlow"), **dict.fromkeys(("keras", "keras_core"), "Keras"),
    "mlx": "MLX", "paddle": "PaddlePaddle", "mxnet": "MXNet", "mindspore": "MindSpore", "tinygrad": "tinygrad",
    **dict.fromkeys(("theano", "lasagne"), "Theano"), "aesara": "Aesara", "pytensor": "PyTensor", "chainer": "Chainer",
    "oneflow": "OneFlow", "jittor": "Jittor", "cupy": "CuPy", "autograd": "Autograd", "dynet": "DyNet", "cntk": "CNTK",
}  # fmt: skip


def step_of(tree: ast.AST) -> ast.Call | None:
    """Return the call by which a definition trains: of backward, of an optimizer's step."""
    for node in own_nodes(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value).lower()
            if node.func.attr in TRAINS or (node.func.attr == "step" and ("opt" in owner or "scaler" in owner)):
                return node
    return None


def imports(nodes: Iterable[ast.AST]) -> dict[str, ast.Import | ast.ImportFrom]:
    """Return the packages that statements import, each with the last that does."""
    lines = [each for node in nodes for each in ast.walk(node) if isinstance(each, (ast.Import, ast.ImportFrom))]
    named = [(line, [line.module or ""] if isinstance(line, ast.ImportFrom) else [a.name for a in line.names]) for line in lines]
    return {name.partition(".")[0]: line for line, names in named for name in names}


def plain_parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield an expression and those in it, but for what is inside a function that makes no loss of a square."""
    yield node
    for inner in ast.iter_child_nodes(node):
        if not (called(inner) in SHAPING or isinstance(inner, ast.Lambda)):
            yield from plain_parts(inner)


def called(node: ast.AST) -> str:
    """Return the last name of what is called; empty where that has none, or nothing is called."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


def assignments(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield what is assigned anywhere in a tree: (target, value), of several side by side each with its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.target, node.value
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):  # type: ignore[attr-defined]
                yield from zip(target.elts, node.value.elts, strict=False)  # type: ignore[attr-defined]
            else:
                yield target, node.value  # type: ignore[attr-defined]


def makes_loss(value: ast.AST) -> bool:
    """Whether a value is a loss of torch: an object, or a function by another name."""
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return bool(OBJECTS.search(called(value))) or name in CALLS


def is_module(value: ast.AST) -> bool:
    """Whether a value is made by calling a class, which is no loss's."""
    name = called(value)
    return name[:1].isupper() and not name.endswith(("Loss", "Criterion", "Parameter", "ELBO", "Elbo"))


def is_difference(node: ast.AST) -> bool:
    """Whether an expression is a difference of two values, neither a plain number nor the average of the other."""
    if isinstance(node, ast.Call) and called(node) in ("sub", "subtract"):
        return True
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)):
        return False
    left, right = ast.unparse(node.left), ast.unparse(node.right)
    plain = isinstance(node.left, ast.Constant) or isinstance(node.right, ast.Constant)
    return not plain and not right.startswith((f"{left}.mean(", f"torch.mean({left}", f"{left}.min("))


def is_power(node: ast.AST, differences: frozenset[str]) -> bool:
    """Whether an expression is the square, the absolute value or the norm of a difference, or of a name that has one."""
    inner: list[ast.AST] = []
    if isinstance(node, ast.BinOp) and is_square(node):
        inner = [node.left]
    elif isinstance(node, ast.Call) and called(node) in POWERS:
        inner = [*node.args[:1], *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
    found = [each for part in inner for each in peeled(part)]
    return any(is_difference(each) or (isinstance(each, ast.Name) and each.id in differences) for each in found)


def peeled(node: ast.AST) -> Iterator[ast.AST]:
    """Yield an expression and what is in it below factors and calls of its own methods: ``((x - y) / s).flatten(1)``."""
    yield node
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
        yield from peeled(node.left)
        yield from peeled(node.right)
    elif isinstance(node, ast.Call):
        for each in (*node.args[:1], *([node.func.value] if isinstance(node.func, ast.Attribute) else [])):
            yield from peeled(each)
    elif isinstance(node, ast.UnaryOp):
        yield from peeled(node.operand)


def is_kl(node: ast.AST) -> bool:
    """Whether an expression is the KL of two Gaussians: a sum with a number, a square, and a scale beside its exp or log."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub))):
        return False
    terms = [*summands(node)]
    inside = [each for term in terms for each in ast.walk(term)]
    calls = {called(each) for each in inside}
    squares = bool(calls & {"pow", "square"}) or any(isinstance(each, ast.BinOp) and is_square(each) for each in inside)
    scales = "exp" in calls or bool(calls & {"log", "log2"})
    return len(terms) >= 4 and squares and scales and any(is_number(term) for term in terms)


def is_number(node: ast.AST) -> bool:
    """Whether an expression is a number as it is written, with its sign."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and is_number(node.operand))


def is_square(node: ast.BinOp) -> bool:
    """Whether a product or a power is a square."""
    return isinstance(node.op, ast.Pow) or (isinstance(node.op, ast.Mult) and ast.dump(node.left) == ast.dump(node.right))


def summands(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the terms of a sum."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        yield from summands(node.left)
        yield from summands(node.right)
    else:
        yield node


def is_ranking(node: ast.AST) -> bool:
    """Whether a call asks which of some numbers is the least: ``argmin``, or ``.min(axis)``, ``.sort(axis)`` of one's own."""
    if not isinstance(node, ast.Call):
        return False
    own = isinstance(node.func, ast.Attribute) and called(node) in ("min", "sort") and bool(node.args or node.keywords)
    return called(node) in RANKING or (own and ast.unparse(node.func).partition(".")[0] not in ("torch", "np"))
