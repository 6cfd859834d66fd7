"""What people give for a tensor, as one; and tensors in the precision that recon computes in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from recon_cli.errors import ReconError
from recon_cli.identity.arrays import as_array, dense, numbered

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike
    from torch import Generator, Tensor

Values: TypeAlias = "Tensor | ArrayLike"  # what people give for a tensor


def as_tensor(value: Values) -> Tensor:
    """Return a tensor as it is; numbers, lists and arrays in the precision they have (a float is float64), truths as 0 and 1.

    Raises ReconError for what is no real number.
    """
    import torch

    if isinstance(value, torch.Tensor):
        tensor = value
    elif isinstance(value, (list, tuple)) and any(isinstance(part, torch.Tensor) for part in value):
        parts = [as_tensor(part) for part in value]
        if len({part.shape for part in parts}) > 1:
            raise ReconError("These are no numbers: tensors of several shapes.", "Give one tensor of them.")
        tensor = torch.stack(parts)
    else:
        try:
            tensor = torch.from_numpy(as_array(value, "This array"))
        except (TypeError, ValueError) as error:
            raise ReconError(f"These are no numbers: {error}.", "Give an array or a tensor of real numbers.") from error
    if tensor.is_complex():
        raise ReconError("These are complex numbers.", "Give their parts, or their sizes, as real ones.")
    if torch.compiler.is_compiling():
        return tensor
    tensor = dense(tensor)
    if tensor.is_inference() and torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
        tensor = tensor.clone()  # autograd takes no tensor that came out of inference_mode
    return tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor


def plain(value: Values) -> Tensor:
    """Return ``as_tensor``, of no subclass and apart from the caller's graph, so that nothing is added to it."""
    import torch

    return numbered(as_tensor(value)).detach().as_subclass(torch.Tensor)


def standard_gamma(shape: Tensor, generator: Generator | None = None) -> Tensor:
    """Draw from the Gamma distribution of each ``shape``, of scale 1: torch's own, which is not exported."""
    import torch

    return torch._standard_gamma(shape, generator=generator)  # pyright: ignore[reportPrivateImportUsage]


def wide(value: Tensor) -> Tensor:
    """Return a tensor in float64 (in float32 on Apple's GPUs, which have no float64)."""
    import torch

    if value.dtype is torch.float64:
        return value
    return value.float() if value.device.type == "mps" else value.double()


def beside(like: Tensor, numbers: float | Sequence[Any]) -> Tensor:
    """Return plain numbers as a tensor of the dtype and on the device of ``like``.

    To a GPU nothing is copied, for which it would be waited: it writes them, one after another.
    """
    import torch

    if isinstance(numbers, (int, float)):
        return like.new_full((), numbers)
    if like.device.type == "cpu":
        return like.new_tensor(numbers)
    return torch.stack([beside(like, each) for each in numbers])


def times(values: Tensor, number: float | Tensor) -> Tensor:
    """Return values that nobody else has, times a number: in place by a plain one, for what is new goes through memory."""
    return values.mul_(number) if isinstance(number, (int, float)) else values * number


def line(values: Tensor, slope: float, intercept: float | Tensor) -> Tensor:
    """Return slope * values + intercept; in one pass, where the intercept is a plain number."""
    import torch

    return torch.rsub(values, intercept, alpha=-slope) if isinstance(intercept, (int, float)) else slope * values + intercept


def product(one: Tensor, other: Tensor, intercept: float | Tensor, factor: float = 1.0) -> Tensor:
    """Return factor * one * other + intercept, in one pass."""
    import torch

    if not isinstance(intercept, torch.Tensor):
        intercept = beside(one, intercept)
    return torch.addcmul(intercept, one, other, value=factor)


def none_below(values: Tensor, low: float, high: float | None = None) -> bool:
    """Return whether no value is below ``low``, or above ``high``; false where that cannot be asked, or takes long: of a GPU."""
    import torch

    if torch.compiler.is_compiling() or values.device.type != "cpu":
        return False
    try:
        if high is None or not values.numel():
            return values.numel() > 0 and bool(values.detach().amin().item() >= low)
        least, largest = values.detach().aminmax()
        return bool(least.item() >= low and largest.item() <= high)
    except RuntimeError:  # under vmap, and of tensors without values
        return False


def largest(values: Tensor) -> float:
    """Return the largest absolute value, NaN if there is one; infinity where that cannot be asked, or takes long: of a GPU."""
    import torch

    if torch.compiler.is_compiling() or values.device.type != "cpu":
        return math.inf
    try:
        least, largest = values.detach().aminmax() if values.numel() else (values.new_zeros(()),) * 2
        return max(-least.item(), largest.item())
    except RuntimeError:  # under vmap, and of tensors without values
        return math.inf


def but_one(values: Tensor, condition: Callable[[], Tensor]) -> Tensor:
    """Return values whose logarithm is finite wherever it counts: 1 for 0 where the condition holds, and it counts for nothing.

    As they are where no value is zero: a look takes less time than a choice for each, and so does the way back. NaN stays NaN.
    """
    import torch

    tiny = torch.finfo(values.dtype).tiny
    return values if none_below(values, tiny) else values.where(~(condition() & (values < tiny)), 1.0)


def at_least_one(values: Tensor, condition: Tensor) -> Tensor:
    """Return values, and where the condition holds 1 if they are less: torch's where takes seven times as long.

    What is below 0 stays so, gradient and all.
    """
    import torch

    held = condition.to(values.dtype)
    return values.maximum((held - 1).mul_(torch.finfo(values.dtype).max).add_(held))


def nobody_asks(*values: Tensor) -> bool:
    """Return whether no derivative by any of these is on its way; false while the compiler looks, which cannot know."""
    import torch

    return not torch.compiler.is_compiling() and not any(asks_gradient(value) for value in values)


def asks_gradient(value: Tensor) -> bool:
    """Return whether a derivative by ``value`` is on its way, in reverse mode or forwards."""
    import torch

    if value.requires_grad and torch.is_grad_enabled():
        return True
    return not torch.compiler.is_compiling() and torch.autograd.forward_ad.unpack_dual(value).tangent is not None
