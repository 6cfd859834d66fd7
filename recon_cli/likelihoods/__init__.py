"""One noise model per file; the file's name is the name on the command line. Its loss is there too, or in ``losses``."""

from __future__ import annotations

from recon_cli import registry
from recon_cli.errors import unknown
from recon_cli.likelihood import Likelihood
from recon_cli.losses import Loss


def names() -> list[str]:
    """Every likelihood there is, by listing this folder."""
    return registry.names("likelihoods")


def find(name: str) -> type[Likelihood]:
    """The class called ``name`` (``student-t``). Raises ReconError naming the nearest."""
    return registry.only_class(registry.load("likelihoods", name.replace("_", "-")), Likelihood)


def parse(word: str) -> Likelihood:
    """From the command line's spelling, ``laplace:scale=0.2``, to the object."""
    name, _, parameters = word.partition(":")
    return find(name).parse(parameters)


def kind_or_side(word: str | type[Likelihood] | Likelihood) -> type[Likelihood] | Likelihood:
    """``laplace`` is the class, no noise chosen; ``laplace:scale=0.2`` the object; what is either already stays."""
    if not isinstance(word, str):
        return word
    return parse(word) if ":" in word else find(word)


def losses() -> dict[str, type[Loss]]:
    """Every loss that some likelihood claims, or that is taken for its own, by name and by alias."""
    kinds = {type(loss) for name in names() for loss in (*find(name)().losses, *find(name).impostors)}
    return {word: kind for kind in sorted(kinds, key=lambda kind: kind.name) for word in (kind.name, *kind.aliases)}


def loss(word: str) -> Loss:
    """From the command line's spelling, ``mse`` or ``huber:delta=0.5``, to the loss. Raises ReconError naming the nearest."""
    name, _, parameters = word.partition(":")
    known, spelled = losses(), name.lower().replace("_", "-")
    if spelled not in known:
        raise unknown("loss", name, known)
    return known[spelled].parse(parameters)
