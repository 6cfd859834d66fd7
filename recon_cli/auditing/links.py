"""What people make of an output before the loss: the mean as a function of it, by a name; in words and as a line of torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Function: TypeAlias = Callable[[Tensor], Tensor]


class OutputLink(NamedTuple):
    """A mean as a function of an output r: in words, as a line of torch of ``{r}``; and what is done to the data beside."""

    mean: Function
    words: str = ""
    code: str = "{r}"
    data: Function = lambda x: x


class Meaning(NamedTuple):
    """What a scale s means: a standard deviation as a function of it and it of one, in words; and as lines of torch of ``{s}``.

    deviation, log, kl
        the deviation, its logarithm, and the KL of a mean ``{mu}`` and s from the standard normal, summed over all.
    """

    deviate: Function
    of: Function
    words: str
    deviation: str
    log: str
    kl: str = ""


MEANINGS = {  # the KL by Kingma & Welling 2014, appendix B
    "log_variance": Meaning(lambda s: (s / 2).exp(), lambda d: 2 * d.log(), "a log variance", "({s} / 2).exp()", "{s} / 2",
                            "0.5 * ({mu}**2 + {s}.exp() - {s} - 1).sum()"),
    "log_std": Meaning(torch.exp, torch.log, "a log standard deviation", "{s}.exp()", "{s}",
                       "0.5 * ({mu}**2 + (2 * {s}).exp() - 2 * {s} - 1).sum()"),
    "std": Meaning(lambda s: s, lambda d: d, "a standard deviation", "{s}", "{s}.log()",
                   "0.5 * ({mu}**2 + {s}**2 - 2 * {s}.log() - 1).sum()"),
    "variance": Meaning(torch.sqrt, torch.square, "a variance", "{s}.sqrt()", "{s}.log() / 2",
                        "0.5 * ({mu}**2 + {s} - {s}.log() - 1).sum()"),
    "precision": Meaning(torch.rsqrt, lambda d: d.pow(-2), "a precision", "{s}.rsqrt()", "-{s}.log() / 2"),
}  # fmt: skip
FORMS: dict[str, tuple[Function, str]] = {  # of which an output is so many times one, and a number more
    "r": (lambda r: r, "{r}"),
    "sigmoid(r)": (torch.sigmoid, "{r}.sigmoid()"),
    "tanh(r)": (torch.tanh, "{r}.tanh()"),
    "(tanh(r) + 1)": (lambda r: r.tanh() + 1, "({r}.tanh() + 1)"),
    "softplus(r)": (torch.nn.functional.softplus, "torch.nn.functional.softplus({r})"),
    "exp(r)": (torch.exp, "{r}.exp()"),
    "relu(r)": (torch.relu, "{r}.relu()"),
}
SCALED = re.compile(rf"([\d.e]+) ({'|'.join(map(re.escape, FORMS))})(?: ([+-]) ([\d.e]+))?")
USUAL = ("255 r", "255 sigmoid(r)", "127.5 (tanh(r) + 1)")


def scaled_name(times: float, form: str, more: float) -> str:
    """Return the name of a link that is so many times a form, and a number more."""
    return f"{times:.9g} {form}" + (f" {'+' if more > 0 else '-'} {abs(more):.9g}" if more else "")


def scaled(name: str) -> OutputLink | None:
    """Return the link that is so many times a form, and a number more, by its name; None of any other."""
    if (parts := SCALED.fullmatch(name)) is None:
        return None
    (function, code), times, more = FORMS[parts[2]], float(parts[1]), float(f"{parts[3] or '+'}{parts[4] or 0}")
    words, end = name.replace(" ", "·", 1).replace("(tanh(r) + 1)", "(tanh(r)+1)"), name[parts.end(2) :]
    return OutputLink(lambda r: times * function(r) + more, words, f"({parts[1]} * {code}{end})")


# The mean of x as a function of an output, the plainest first.
LINKS = {
    "": OutputLink(lambda r: r),
    "(x + 1)/2": OutputLink(lambda r: (r + 1) / 2, "", "(({r} + 1) / 2)", lambda x: (x + 1) / 2),
    "sigmoid": OutputLink(torch.sigmoid, "sigmoid(r)", "{r}.sigmoid()"),
    "tanh": OutputLink(torch.tanh, "tanh(r)", "{r}.tanh()"),
    "exp": OutputLink(torch.exp, "exp(r)", "{r}.exp()"),
    "softplus": OutputLink(torch.nn.functional.softplus, "softplus(r)", "torch.nn.functional.softplus({r})"),
    "(r + 1)/2": OutputLink(lambda r: (r + 1) / 2, "(r+1)/2", "(({r} + 1) / 2)"),
    **{name: link for name in USUAL if (link := scaled(name)) is not None},
    "r**2": OutputLink(torch.square, "r²", "{r}.square()"),
    "|r|": OutputLink(torch.abs, "|r|", "{r}.abs()"),
    "relu": OutputLink(torch.relu, "relu(r)", "{r}.relu()"),
    "clamp(r, 0, 1)": OutputLink(lambda r: r.clamp(0, 1), "clamp(r, 0, 1)", "{r}.clamp(0, 1)"),
}
# What makes of logits what a loss of logits is given: the plain two are links of an element too.
SQUASHING = {"softmax": OutputLink(lambda r: r.softmax(-1)), "sigmoid": LINKS["sigmoid"], "tanh": LINKS["tanh"]}
# What people make a decoder's scale of.
MADE: dict[str, Function] = {
    **{name: LINKS[name].mean for name in ("", "exp", "softplus", "sigmoid", "tanh", "r**2", "|r|", "relu")},
    "elu(r) + 1": lambda r: torch.nn.functional.elu(r) + 1,
}


def link_of(name: str) -> OutputLink | None:
    """Return a link by its name; None of what is none."""
    return LINKS.get(name) or SQUASHING.get(name) or scaled(name)


def words_of(name: str) -> str:
    """Return a link in words, of an output r; empty of the plain ones, and of what is none."""
    link = link_of(name)
    return link.words if link is not None else ""
