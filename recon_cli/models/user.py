"""A user's own network as the model: made, tried before anything is trained, and spoken to as to recon's own."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recon_cli.errors import ReconError, from_system
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.shapes import spell
from recon_cli.models.vae import Vae
from recon_cli.runtime.checksums import digest
from recon_cli.runtime.user_code import import_file, nearest_names, no_such_name

if TYPE_CHECKING:
    from torch import Tensor

PROBES = 3  # rows that a module is tried on
FAR = (1.0, 10.0, 100.0, 1000.0)  # how far z goes where it is asked whether a decoder ends in a sigmoid
GIVEN = ("latent", "hidden", "shape")
CONTRACT = (
    "It needs encode(x) -> (mean, log_variance) of shape (B, K) each, and decode(z) -> the raw output; see recon train --help."
)


class Own(Vae):
    """A module with ``encode(x) -> (mean, log_variance)``, (B, K) each, and ``decode(z) -> raw``, in the data's own units.

    x is (B, ...) in the samples' own shape; raw has as many numbers as a sample has elements, in any shape, or as many times
    more as the likelihood takes of each element, along a last axis. It is in training mode while a step is computed, and in
    evaluation mode whenever something is measured; what it draws from torch's global generator (dropout) is seeded by the
    step, and the caller's generator stays.
    """

    closed = False

    def __init__(
        self, module: nn.Module, rows: Tensor, claim: Likelihood, latent: int, shape: tuple[int, ...], deterministic: bool
    ) -> None:
        nn.Module.__init__(self)
        self.kind, self.deterministic, self.latent, self.shape = "own", deterministic, latent, shape
        self.speaks(claim, shape[-1])
        self.module = module
        self.register_buffer("mean", rows.mean(dim=0))
        self.eval()

    def encode(self, x: Tensor) -> tuple[Tensor, Any]:
        found = self.module.encode(x.reshape(len(x), *self.shape))  # type: ignore[operator]
        mean, log_variance = (found, None) if isinstance(found, torch.Tensor) else found
        return mean, None if self.deterministic else log_variance

    def decode(self, z: Tensor) -> Tensor:
        return self.module.decode(z).reshape(len(z), -1, *self.tail)  # type: ignore[operator]

    @property
    def decoder(self) -> nn.ParameterList:  # type: ignore[override]
        """The parameters that ``decode`` depends on."""
        parts = [part for part in self.module.parameters() if part.requires_grad]
        with torch.enable_grad():
            made = self.module.decode(self.mean.new_zeros(2, self.latent)).sum()  # type: ignore[operator]
            slopes = torch.autograd.grad(made, parts, allow_unused=True) if made.requires_grad else [None] * len(parts)
        return nn.ParameterList(part for part, slope in zip(parts, slopes, strict=True) if slope is not None)

    @contextmanager
    def stepping(self, seed: int) -> Iterator[None]:
        self.train()
        try:
            with seeded(seed, self.mean.device):
                yield
        finally:
            self.eval()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators (of the CPU, and of ``device``) begun at ``seed``, and as they were afterwards."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if cuda else []):
        torch.default_generator.manual_seed(seed % (1 << 63))
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed % (1 << 63))
        yield


def spelled(model: Any) -> str:
    """A module or class as ``config.json`` has it; a word as it is."""
    kind = model if inspect.isclass(model) or inspect.isfunction(model) else type(model)
    return model if isinstance(model, str) else f"{kind.__module__}:{kind.__qualname__}"


def looked_up(word: str, taker: str = "--model") -> tuple[Path, str]:
    """The file that ``FILE.py:Class`` or ``package.module:Class`` names, and its SHA-256; not a line of it is run.

    Raises ReconError where it is not to be had.
    """
    place, _, name = word.rpartition(":")
    path = Path(place)
    if not place or not name:
        raise ReconError(f"{word!r} names no class.", "Write FILE.py:Class or package.module:Class.")
    if path.suffix != ".py":
        path = module_path(place)
    try:
        return path, digest(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ReconError(
            f"The file {str(path)!r}, of which {taker} takes {name}, cannot be read: {getattr(error, 'strerror', error)}.",
            f"recon looked in {Path.cwd()}.",
        ) from error


def find(word: str, taker: str = "--model") -> tuple[Callable[..., Any], str]:
    """The class that ``FILE.py:Class`` or ``package.module:Class`` names, and the SHA-256 of its file.

    Raises ReconError where it is not to be had.
    """
    path, checksum = looked_up(word, taker)
    place, _, name = word.rpartition(":")
    try:
        names = import_file(path) if path == Path(place) else vars(importlib.import_module(place))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ReconError(f"{place} cannot be imported: {named(error)}.", "Mend it, or what it imports, first.") from error
    found: Any = names
    for part in name.split("."):
        known = found if isinstance(found, dict) else getattr(found, "__dict__", {})
        if part not in known:
            raise no_such_name(part, [key for key, value in known.items() if inspect.isclass(value)], word)
        found = known[part]
    return found, checksum


def module_path(place: str) -> Path:
    """The file of ``package.module``, found without importing the package. Raises ReconError for one that is not there."""
    spec, within, parts = None, None, place.split(".")
    try:
        for end in range(len(parts)):
            found = (finder.find_spec(".".join(parts[: end + 1]), within) for finder in sys.meta_path)
            spec = next(filter(None, found), None)
            within = spec and spec.submodule_search_locations
            if within is None and end + 1 < len(parts):
                raise ImportError(f"there is no package {'.'.join(parts[: end + 1])!r}")
    except (ImportError, ValueError, AttributeError, TypeError) as error:
        raise ReconError(f"{place} cannot be imported: {error}.", "Write FILE.py:Class to read a file.") from error
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise ReconError(f"There is no module {place!r}.", "Write FILE.py:Class to read a file.")
    return Path(spec.origin)


def made(kind: Any, who: str, seed: int, device: torch.device, **sizes: Any) -> nn.Module:
    """A module of a class (or from a function), told those of ``sizes`` that it takes; or a copy of one that is there already.

    Its weights are drawn under ``seed``. Raises ReconError where it cannot be made, or is no module.
    """
    if isinstance(kind, nn.Module):
        found = attempt(f"Copying {who}", copy.deepcopy, kind)
        return found.to(device)
    if not callable(kind) or (inspect.isclass(kind) and not issubclass(kind, nn.Module)):
        raise ReconError(f"{who} is no torch.nn.Module.", CONTRACT)
    takes = attempt(who, inspect.signature, kind).parameters.values()
    needed = [
        one.name for one in takes
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) and one.name not in GIVEN
    ]  # fmt: skip
    if needed:
        raise ReconError(
            f"{who} cannot be made without {', '.join(needed)}: recon gives latent, hidden and shape, where they are asked for.",
            "Give the others defaults, or make it in Python: recon_cli.train(data, model=MyModel(...)).",
        )
    with seeded(seed, device):
        found = attempt(f"{who}()", kind, **{one.name: sizes[one.name] for one in takes if one.name in GIVEN})
    if not isinstance(found, nn.Module):
        raise ReconError(f"{who} makes a {type(found).__name__}, which is no torch.nn.Module.", CONTRACT)
    return found.to(device)


def attempt(what: str, work: Any, *values: Any, hint: str = CONTRACT, **named_values: Any) -> Any:
    """What a user's code gives; any exception of its own as a ReconError."""
    try:
        return work(*values, **named_values)
    except Exception as error:
        if isinstance(error, ReconError) or from_system(error):
            raise
        raise ReconError(f"{what} raised {named(error)}.", hint) from error


def named(error: BaseException) -> str:
    """An exception in one line, without its full stop."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(".: ")


def own(
    kind: Any, who: str, rows: Tensor, claim: Likelihood, shape: tuple[int, ...], deterministic: bool,
    *, latent: int, hidden: int, seed: int, batch: int,
) -> Own:  # fmt: skip
    """The model that ``kind`` is or makes, after it was tried on a few of ``rows``, (N, D).

    K is what its ``encode`` gives. Raises ReconError for one that does not keep to the contract.
    """
    module = made(kind, who, seed, rows.device, latent=latent, hidden=hidden, shape=shape)
    for name in ("encode", "decode"):
        if not callable(getattr(module, name, None)):
            close = nearest_names(name, [key for key in dir(type(module)) if key[0] != "_" and key not in dir(nn.Module)])
            said = f"It has {close[0]}; rename that, or add one. " if close else ""
            raise ReconError(f"{who} has no method {name}.", f"{said}{CONTRACT}")
    module.eval()
    with seeded(seed, rows.device), torch.no_grad():
        x = rows[:PROBES].reshape(-1, *shape).clone()
        own_shape = f"x is given in the samples' own shape, here {(*x.shape,)}: no axis is added for channels."
        codes = coded(attempt(f"{who}.encode", module.encode, x, hint=own_shape), who, len(x), deterministic)
        if not torch.equal(x, rows[:PROBES].reshape(x.shape)):
            raise ReconError(
                f"{who}.encode changes the x that it is given.", "Compute on a copy: no x.sub_(...), no inplace=True."
            )
        count = codes.shape[1]
        if not isinstance(kind, nn.Module) and "latent" in inspect.signature(kind).parameters and count != latent:
            raise ReconError(
                f"{who} was made with latent={latent}, and its encode gives {count} numbers for each mean.",
                "Return mean and log variance apart, of `latent` numbers each.",
            )
        found = Own(module, rows, claim, count, shape, deterministic)
        raw = decoded(found, codes, who, claim, shape)
        far = torch.cat([size * torch.randn(32, count, device=rows.device) for size in FAR])
        spread = attempt(f"{who}.decode", module.decode, far)
        if (
            claim.link.name in ("logit", "softmax")
            and 0 <= spread.min() < spread.max() <= 1
            and raw.min() >= 0
            and raw.max() <= 1
        ):
            raise ReconError(
                f"{who}.decode gives values between 0 and 1 however far z goes, so it ends in a sigmoid or softmax; the raw "
                f"output that {claim.name} takes is logits.",
                "Return the logits: drop the last sigmoid or softmax, which recon applies itself.",
            )
    if not len(attempt(f"{who}.decode", lambda: found.decoder)):
        raise ReconError(f"{who}.decode depends on no parameter of the module that could be trained.", CONTRACT)
    odd = [name for name, value in module.state_dict().items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise ReconError(f"{who} keeps {odd[0]} in its state_dict, which is no tensor.", "Keep it elsewhere: runs store tensors.")
    rehearsed(found, who, rows, batch, seed)
    return found


def coded(found: Any, who: str, count: int, deterministic: bool) -> Tensor:
    """The means among what ``encode`` gave for ``count`` rows. Raises ReconError for anything else than the contract's."""
    alone = isinstance(found, torch.Tensor)
    parts = [found] if alone else [*found] if isinstance(found, (tuple, list)) else []
    if not (len(parts) == 2 or (alone and deterministic)) or not all(isinstance(part, torch.Tensor) for part in parts):
        what = f"{type(found).__name__} of {len(parts)}" if isinstance(found, (tuple, list)) else type(found).__name__
        raise ReconError(
            f"{who}.encode gives a {what}, and must give (mean, log_variance), two tensors.",
            "Split one that has both by .chunk(2, dim=1); one that gives codes alone goes with --kl-weight 0.",
        )
    for word, part in zip(("mean", "log_variance"), parts, strict=False):
        if (
            part.ndim != 2
            or len(part) != count
            or part.shape != parts[0].shape
            or not part.is_floating_point()
            or not part.shape[1]
        ):
            raise ReconError(
                f"{who}.encode gives a {word} of shape {spell(part.shape)} for {count} samples, and must give ({count}, K).",
                "Return mean and log_variance of one number for each sample and latent, .flatten(1) if need be.",
            )
        if not part.isfinite().all():
            raise ReconError(
                f"{who}.encode gives a {word} that is not finite.", "Look at its first weights, and at the data's scale."
            )
    return parts[0]


def decoded(model: Own, codes: Tensor, who: str, claim: Likelihood, shape: tuple[int, ...]) -> Tensor:
    """What ``decode`` gives for ``codes``. Raises ReconError for another size, or values that are not finite."""
    raw = attempt(f"{who}.decode", model.module.decode, codes)  # type: ignore[arg-type]
    takes = math.prod(shape) * max(1, len(claim.head))
    many = f" ({' and '.join(claim.head)} of each element, along a last axis)" if model.several else ""
    if not isinstance(raw, torch.Tensor) or not raw.is_floating_point():
        raise ReconError(f"{who}.decode gives a {type(raw).__name__}, and must give a tensor of floats.", CONTRACT)
    if raw.numel() != len(codes) * takes or (raw.ndim and len(raw) != len(codes)):
        raise ReconError(
            f"{who}.decode gives {spell(raw.shape)} for {len(codes)} codes, and {claim.name} takes {takes} numbers for each "
            f"sample of shape {spell(shape)}{many}.",
            f"Return ({len(codes)}, {takes}), or the same number of elements in another shape.",
        )
    if not raw.isfinite().all():
        raise ReconError(f"{who}.decode gives values that are not finite.", "Look at its first weights.")
    return raw


def rehearsed(model: Own, who: str, rows: Tensor, batch: int, seed: int) -> None:
    """A step's values, on a copy in training mode, of a whole batch and of the last one of an epoch. Raises ReconError."""
    trial = attempt(f"Copying {who}", copy.deepcopy, model)
    eps = torch.zeros(batch, model.latent, device=rows.device)
    for size in {min(batch, len(rows)), len(rows) % batch} - {0}:
        try:
            with trial.stepping(seed), torch.no_grad():
                raw = trial(rows[:size], eps[:size])[0]
        except (ReconError, KeyboardInterrupt):
            raise
        except Exception as error:
            if from_system(error):
                raise
            raise ReconError(
                f"{who}, in training mode, raised {named(error)} on a batch of {size}.",
                "Give another --batch-size, so that no batch has one sample alone." if size == 1 else CONTRACT,
            ) from error
        if len(raw) != size or not raw.isfinite().all():
            raise ReconError(f"{who}, in training mode, gives values that are not finite on a batch of {size}.", CONTRACT)


def load(
    tensors: dict[str, Tensor], claim: Likelihood, word: str, shape: tuple[int, ...],
    deterministic: bool, latent: int, hidden: int,
) -> Own:  # fmt: skip
    """The trained network of a run, from its file once more. Raises ReconError where that is gone or has changed."""
    kind, _ = find(word)
    device = torch.device("cpu")
    module = made(kind, word, 0, device, latent=latent, hidden=hidden, shape=shape)
    model = Own(module, torch.zeros(1, math.prod(shape)), claim, latent, shape, deterministic)
    try:
        model.load_state_dict({name: value for name, value in tensors.items() if name in model.state_dict()})
    except RuntimeError as error:
        raise ReconError(f"its weights are not those of {word}: {named(error)}.", "Train it again.") from error
    return model


def allowed(word: str, checksum: str | None, trust: bool, folder: str) -> None:
    """Raise ReconError, before a line of it is run, where the file of a run's model has changed, or nobody says that it may run.

    A path that the user gave in this call is trusted; one that comes out of the folder alone is somebody's word.
    """
    if checksum is None:
        raise ReconError(
            f"The model of the run in {folder}, {word}, was given from Python as an object: no file says how to make it again.",
            "Give it again: resume(folder, model=...); train with --model FILE.py:Class to use a run by its folder.",
        )
    path, now = looked_up(word)
    unchanged(word, checksum, now)
    if not trust:
        raise ReconError(
            f"The run in {folder} brings code for its model, {path}, and nobody has said that it may run.",
            "If you wrote it, or have read it, add --trust (in Python trust=True).",
        )


def unchanged(word: str, was: str | None, now: str | None) -> None:
    """Raise ReconError where the file of a run's model is another than it was."""
    if was != now:
        raise ReconError(
            f"{word} has changed since the run was trained: its file is another.",
            "Give back the file that it had, or train again.",
        )
