"""The options of a run: each declared once, with its default, its domain and its help.

The command line, the Python signatures, the checks and what may stand in a ``config.json`` are read off these fields. Nothing
here loads torch, so that ``recon train --help`` does not.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

from recon_cli.errors import ReconError


class Domain(NamedTuple):
    """What a value must be: in words, as a test, and an example."""

    words: str
    contains: Callable[[Any], bool]
    example: str = ""


MOST = 1 << 63
WIDEST = 1 << 32  # of a layer: more is no network
TYPES: dict[str, tuple[type, str, str]] = {
    "int": (numbers.Integral, "a whole number", "1"),
    "float": (numbers.Real, "a number", "0.5"),
    "bool": (bool, "true or false", "or leave it out"),
    "str": (str, "a word", "with one"),
}  # what an option of a type may be, in words, and an example


def whole(least: int, example: str = "", most: int = MOST) -> Domain:
    """Return the domain of whole numbers from ``least`` up, below ``most`` + 1."""
    upper = "" if most == MOST else f" to {most:,}"
    words = f"a whole number from {least}{upper or ' up'}"
    return Domain(words, lambda value: is_whole(value) and least <= value < most + 1, example)


def number(words: str, inside: Callable[[float], bool], example: str = "") -> Domain:
    """Return the domain of the finite numbers that are ``inside`` a range."""

    def contains(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e308 and inside(value)

    return Domain(words, contains, example)


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, and no truth."""
    return isinstance(value, int) and not isinstance(value, bool)


FROM_0 = number("a number from 0 up", lambda value: value >= 0, "0")
FRACTION = "at least 0 and below 1"
TRUTH = Domain("true or false", lambda value: isinstance(value, bool))
WORD = Domain("a word", lambda value: isinstance(value, str) and len(value) > 0 and "\0" not in value)


def option(
    default: Any, help: str, domain: Domain = WORD, *, metavar: str | None = None, usual: str | None = None,
    flags: tuple[str, ...] = (), shown: bool = True,
) -> Any:  # fmt: skip
    """Return a dataclass field that is an option: its default, what it means, and where its value may lie.

    usual
        in the help, what is taken where it is left out, if that is not the same for every model.
    flags
        how the command line spells it, where that is not its name alone.
    shown
        whether the help says the default.
    """
    about = {"help": help, "domain": domain, "metavar": metavar, "usual": usual, "flags": flags, "shown": shown}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class Options:
    """The numbers of a run. Raises ReconError for one that no run can have.

    latent, hidden
        widths of the latent layer and of the one hidden layer on each side; a regression has no latents and two hidden
        layers, or at 0 none.
    beta
        weight on the KL; 1, the usual one, makes the objective the negative ELBO. 0 leaves no noise on the codes: a
        deterministic autoencoder.
    holdout
        fraction of the samples kept back for the result, from 0 up to, not including, 1; with 0 it is on the training rows.
    model
        ``mlp``, ``linear`` (whose optimum is PPCA), ``conv`` (of images), ``ae``, the mlp with a beta of 0, or ``regression``
        from some columns to others; or
        ``FILE.py:Class`` (``package.module:Class``), a torch module of one's own: see
        :class:`recon_cli.models._user.Own`. In Python the
        module itself may be given, of which a copy is trained, or its class.
    target
        which columns a regression predicts: names, or numbers from 0, with commas; None is the last one.
    loss
        trained on instead of the likelihood's own nll, as in ``beta-nll:beta=0.5``; the nll is measured all the same.
    exact
        of a linear model under a Gaussian: the expectation over z in closed form, minimised by L-BFGS in float64.
    validation, patience
        fraction of the training samples that is cut off them and looked at after each epoch, in no gradient; and after how
        many epochs without a better negative ELBO of those (nll, at beta 0) training stops, back at the best; 0 is never.
    schedule
        of the learning rate over all steps: ``constant``, ``linear`` or ``cosine``, both down to 0; or torch's, by name and
        parameters, ``exponential:gamma=0.97``. Its lengths are epochs, those of onecycle and cyclic steps; the run's own
        where they are left out.
    average
        the weights of the result are the mean of those after each of the last steps, this fraction of all: Polyak and Juditsky
        (1992). Figures of epochs are of the weights as they then are.
    momentum, nesterov, weight_decay, eps
        the optimizer's own, where it has them; None leaves torch's default. No weight decay pulls the noise.
    sigma_floor
        what a learned or optimal noise (sigma or scale) never goes below: sigma = floor + exp(free), or at least the floor;
        the network's too (a variance: the floor's square + exp(free)).
    compile, bf16
        the step through torch's compiler (some seconds the first time; it is kept), and its matrix products in bfloat16; the
        likelihood is not.
    kl_warmup
        epochs over which the weight on the KL rises from 0 to beta, step by step. Bowman and others (2016).
    free_bits
        nats of KL that each latent may have, on average over a batch, for nothing: the sum of max(free_bits, KL) is
        minimised. Kingma and others (2016), equation 15.
    tensorboard
        event files in the run folder, too.
    iwae
        bounds on log p(x) of the result's rows with up to so many samples of z, a power of two; 0 for none.
    checkpoint_every
        seconds between two checkpoints of a run folder; 0 is after every step.
    """

    holdout: float = option(
        0.2, "Fraction of the samples held out for the test.",
        number(FRACTION, lambda value: 0 <= value < 1, "0.2; 0 keeps nothing back"),
        metavar="FRACTION",
    )  # fmt: skip
    epochs: int = option(100, "Number of passes over the training samples.", whole(1, "100"))
    batch_size: int = option(128, "Number of samples in a step.", whole(1, "128"), usual="128; of a regression 16")
    latent: int = option(24, "Number of latents, K.", whole(0, "24", WIDEST), usual="24; a regression has none")
    hidden: int = option(
        256, "Width of the hidden layers; 0 makes a regression linear.", whole(0, "256", WIDEST), usual="256; of a regression 64"
    )
    lr: float = option(
        0.002, "Learning rate of the optimizer.", number("a positive number", lambda value: value > 0, "0.002"),
        usual="0.002; of a regression 0.005",
    )  # fmt: skip
    optimizer: str = option("adam", "Optimizer of torch: adam, adamw, sgd, ...", metavar="NAME")
    beta: float = option(
        None, "Weight on the KL; 0 trains a deterministic autoencoder.", FROM_0._replace(example="1"), usual="1",
        flags=("--beta", "--kl-weight"),
    )  # fmt: skip
    seed: int = option(0, "Seed of every random draw.", whole(0, "0"), metavar="NUMBER")
    model: str = option(
        "mlp",
        "Architecture of the encoder and decoder, or of a regression.",
        metavar="mlp|linear|conv|ae|regression|FILE.py:Class",
    )
    target: str | None = option(
        None, "Columns that a regression predicts: names, or numbers from 0.", metavar="COLUMN[,...]", usual="the last"
    )
    loss: str | None = option(
        None, "Loss to train on instead, as in beta-nll:beta=0.5.", metavar="LOSS", usual="the likelihood's nll"
    )
    exact: bool = option(False, "Train a linear Gaussian model by L-BFGS, without sampling, to the last digit.", TRUTH)
    validation: float = option(
        0.0, "Fraction of the training samples used for validation, not for training.",
        number(FRACTION, lambda value: 0 <= value < 1, "0.1; 0 takes nothing away"), metavar="FRACTION",
    )  # fmt: skip
    patience: int = option(
        0, "Stop after so many epochs without a better validation result; 0 never stops.", whole(0, "10"), metavar="EPOCHS"
    )
    schedule: str = option(
        "constant", "Schedule of the learning rate: one of these three, or one of torch's, as in exponential:gamma=0.97.",
        metavar="constant|linear|cosine|NAME[:PARAM=VALUE,...]",
    )  # fmt: skip
    average: float = option(
        0.0, "Average the weights over this last fraction of the steps.",
        number(FRACTION, lambda value: 0 <= value < 1, "0.25; 0 takes those of the last step"), metavar="FRACTION",
    )  # fmt: skip
    momentum: float | None = option(None, "Momentum, if the optimizer has one.", FROM_0)
    nesterov: bool = option(False, "Use Nesterov's momentum.", TRUTH)
    weight_decay: float | None = option(None, "Weight decay of the network's weights; the noise has none.", FROM_0)
    eps: float | None = option(None, "The optimizer's eps; Adam adds it to the root of the second moment.", FROM_0)
    sigma_floor: float = option(0.0, "Lower bound of a sigma (or scale) that is trained or fitted.", FROM_0)
    checkpoint_every: float = option(
        30.0, "Seconds between two checkpoints; 0 writes one after every step.", FROM_0, metavar="SECONDS"
    )
    compile: bool = option(False, "Compile the training step; the first time takes longer, and it is kept.", TRUTH)
    bf16: bool = option(False, "Compute matrix products in bfloat16; the likelihood is not.", TRUTH)
    iwae: int = option(
        0, "Importance-weighted bounds (IWAE) on log p(x) with up to K samples of z; 0 for none.", whole(0, "64"), metavar="K"
    )
    tensorboard: bool = option(False, "Write TensorBoard event files into the run folder too.", TRUTH)
    kl_warmup: int = option(0, "Epochs over which the weight on the KL rises from 0.", whole(0, "10"), metavar="EPOCHS")
    free_bits: float = option(0.0, "KL in nats that each latent may have at no cost.", FROM_0, metavar="NATS")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != "beta" or self.beta is not None:  # its default is the model's
                value = of_type(field.name, str(field.type), getattr(self, field.name))
                object.__setattr__(self, field.name, value)

    def check(self) -> None:
        """Raise ReconError for the first value that lies outside the domain of its option."""
        for field in dataclasses.fields(self):
            value, domain = getattr(self, field.name), field.metadata["domain"]
            if value is not None and domain is not WORD and not domain.contains(value):
                raise outside(field.name, value, domain)

    def require(self, name: str, least: int) -> None:
        """Raise ReconError where a whole number is below ``least``."""
        (domain,) = (field.metadata["domain"] for field in dataclasses.fields(self) if field.name == name)
        if getattr(self, name) < least:
            raise outside(name, getattr(self, name), whole(least, domain.example))


class Keywords(TypedDict, total=False):
    """The same, as keyword arguments: for type checkers, which read no dataclass as such."""

    holdout: float
    epochs: int
    batch_size: int
    latent: int
    hidden: int
    lr: float
    optimizer: str
    beta: float | None
    seed: int
    model: Any  # a word, a torch module, or its class
    target: str | None
    loss: str | None
    exact: bool
    validation: float
    patience: int
    schedule: str
    average: float
    momentum: float | None
    nesterov: bool
    weight_decay: float | None
    eps: float | None
    sigma_floor: float
    checkpoint_every: float
    compile: bool
    bf16: bool
    iwae: int
    tensorboard: bool
    kl_warmup: int
    free_bits: float


class Asked(Keywords, total=False):
    """All that a run that is gone on with may be asked for again."""

    likelihood: Any
    sigma: float | str | None
    device: str
    binarize: str | None
    scale: float | None
    offset: float
    size: tuple[int, int] | None
    colour: str | None
    skip_bad: bool
    columns: str
    drop: str
    missing: str | None
    mask: Any
    weights: Any
    totals: Any
    out: Any


def domains() -> Iterator[tuple[str, Domain]]:
    """Yield what each option may be in a ``config.json``, by its name."""
    for field in dataclasses.fields(Options):
        domain: Domain = field.metadata["domain"]
        yield field.name, either(NOTHING, domain) if "None" in str(field.type) else domain


NOTHING = Domain("null", lambda value: value is None)


def either(*choices: Domain) -> Domain:
    """Return the domain of what lies in one of some."""
    return Domain(" or ".join(each.words for each in choices), lambda value: any(each.contains(value) for each in choices))


def choice(*words: str) -> Domain:
    """Return the domain of some words."""
    return Domain(" or ".join(words), lambda value: value in words)


def spelled(name: str) -> str:
    """Return an option as the command line spells it."""
    return "--" + name.replace("_", "-")


def of_type(name: str, kind: str, value: Any) -> Any:
    """Return ``value``, if an option of that annotation can have it; numpy's numbers as Python's. Raises ReconError if not."""
    if value is None and "None" in kind:
        return value
    wanted = kind.partition(" ")[0]
    types, words, example = TYPES[wanted]
    if isinstance(value, bool) != (wanted == "bool") or not isinstance(value, types):
        raise ReconError(f"{spelled(name)} must be {words}; found {value!r}.", f"Try {spelled(name)} {example}.")
    if isinstance(value, numbers.Integral) and wanted != "bool":
        return int(value)
    return float(value) if isinstance(value, numbers.Real) and wanted == "float" else value


def outside(name: str, value: Any, domain: Domain) -> ReconError:
    """Return the error for a value that its option cannot have."""
    return ReconError(f"{spelled(name)} must be {domain.words}; found {value!r}.", f"Try {spelled(name)} {domain.example}.")


def is_own(model: str) -> bool:
    """Whether a word names a model of the user's own."""
    return ":" in model or model.endswith(".py")
