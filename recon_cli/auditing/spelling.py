"""What the registry says of a loss or of an nll, as a line of torch: of the formulas that people write for them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping

import torch
from torch.nn import functional

from recon_cli.identity.likelihood import Likelihood

MEANS = ("mu", "r")
PLACES = {"torch": "torch", "distributions": "torch.distributions", "F": "torch.nn.functional"}


def line_of(text: str, recon: str, target: str, own: Mapping[str, float]) -> str:
    """Return ``text``, an expression in x, mu or r and the loss's own numbers, summed over everything; empty where it is none.

    Its functions are torch's or those of ``torch.nn.functional``, as they are called there without their module.
    """
    try:
        tree = ast.parse(text, mode="eval").body
        spelled = Spelling(recon, target, own).visit(tree)
    except (SyntaxError, KeyError):
        return ""
    return f"({ast.unparse(ast.fix_missing_locations(spelled))}).sum()"


def call_of(kind: type[Likelihood], method: str) -> str:
    """Return what people call for an nll of the mean, or of the raw output; empty where torch has nothing."""
    every = [text for text in kind.calls if "stats." not in text]
    own = [text for text in every if re.search(r"\br\b" if method == "nll_raw" else r"\bmu\b", text)]
    if own or method != "nll_raw":
        return own[0] if own else ""
    return of_output(every[0], kind.link.name) if every else ""


def of_output(text: str, link: str) -> str:
    """Return a formula of the mean as one of the raw output; empty under a link that is no one function of torch's."""
    means = {"logit": "sigmoid(r)", "log": "exp(r)", "identity": "mu"}
    return re.sub(r"\bmu\b", means.get(link, "mu"), text) if link in means or not re.search(r"\bmu\b", text) else ""


class Spelling(ast.NodeTransformer):
    """Puts names and numbers in their places. Raises KeyError for a name that means nothing here."""

    def __init__(self, recon: str, target: str, own: Mapping[str, float]) -> None:
        self.names = {**dict.fromkeys(MEANS, recon), "x": target, **PLACES}
        self.own = own

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Return what a name stands for."""
        if node.id in self.own:
            value = self.own[node.id]
            return ast.Constant(int(value) if value.is_integer() else value)
        return ast.parse(self.names[node.id], mode="eval").body

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Return a call with its function's module; of numbers alone, what it comes to."""
        arguments = [self.visit(argument) for argument in node.args]
        keywords = [ast.keyword(each.arg, self.visit(each.value)) for each in node.keywords]
        if not isinstance(node.func, ast.Name):
            return ast.Call(self.visit(node.func), arguments, keywords)
        name = node.func.id
        numbers = [value for value in map(number_of, arguments) if value is not None]
        if len(numbers) == len(arguments) and hasattr(math, name):
            return ast.Constant(getattr(math, name)(*numbers))
        if not hasattr(torch, name) and not hasattr(functional, name):
            raise KeyError(name)
        if not hasattr(torch, name):
            keywords.append(ast.keyword("reduction", ast.Constant("none")))
        module = "torch" if hasattr(torch, name) else "torch.nn.functional"
        return ast.Call(ast.parse(f"{module}.{name}", mode="eval").body, arguments, keywords)


def number_of(node: ast.AST) -> float | None:
    """Return the number that an expression without names is; None for any other."""
    if any(isinstance(part, (ast.Name, ast.Call, ast.Attribute)) for part in ast.walk(node)):
        return None
    expression = ast.fix_missing_locations(ast.Expression(node))  # type: ignore[arg-type]
    return float(eval(compile(expression, "<number>", "eval"), {"__builtins__": {}}))
