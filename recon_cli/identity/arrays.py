"""What people call an array, as plain real numbers; or a sentence that says what it holds instead, with the way out."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy

from recon_cli.errors import ReconError, printable

if TYPE_CHECKING:
    from torch import Tensor

WAYS = {
    "c": "recon reads real numbers: give x.real, x.imag, or abs(x).",
    "M": "recon reads real numbers: give the time since a date, as in (x - x.min()) / numpy.timedelta64(1, 's').",
    "m": "recon reads real numbers: give them in seconds, as in x / numpy.timedelta64(1, 's').",
    "V": "recon reads real numbers: choose a field, x['name'], or numpy.lib.recfunctions.structured_to_unstructured(x).",
    "U": "recon reads real numbers, not text: x.astype(float) where it spells numbers; else leave it out.",
}
OTHERWISE = "recon reads real numbers: floats, integers, bools."


def as_array(values: Any, word: str) -> numpy.ndarray:
    """Return ``values`` as an array of numbers: tensors without their gradient, objects that are all numbers as floats.

    Raises ReconError, in which ``word`` names them, for masked and missing values, sparse matrices, rows of several
    lengths, and for what is no real number.
    """
    if hasattr(values, "detach") and hasattr(values, "layout"):
        values = numbered(dense(values)).detach().cpu().resolve_conj().resolve_neg()
        try:
            values = values.numpy()
        except TypeError:  # bfloat16
            values = values.float().numpy()
    if isinstance(values, (list, tuple)) and any(hasattr(part, "detach") for part in values):
        values = [as_array(part, word) for part in values]
    values = unmasked(values, word)
    if type(values).__module__.startswith("scipy.sparse"):
        raise ReconError(f"{word} is a sparse matrix, a {type(values).__name__}.", "Give it whole: x.toarray().")
    try:
        array = numpy.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        way = "Give an array or a tensor of real numbers, all rows of one length."
        raise ReconError(f"These are no numbers: {why}.", way) from error
    return real(array, word)


def dense(tensor: Tensor) -> Tensor:
    """Return a tensor of torch's with its numbers one beside another. Raises ReconError for one that is masked, or nested."""
    if tensor.is_nested:
        way = "Every sample must have the same shape: cut them, or give to_padded_tensor(value)."
        raise ReconError("This tensor is no plain one: it is nested, its samples of several shapes.", way)
    if type(tensor).__name__ == "MaskedTensor":
        way = "Give plain numbers, as of its get_data() or to_tensor(value)."
        raise ReconError("This tensor is no plain one: it is masked.", way)
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return tensor if str(tensor.layout) == "torch.strided" else tensor.to_dense()


def numbered(tensor: Tensor) -> Tensor:
    """Return a tensor of torch's that has numbers. Raises ReconError for one of the meta device."""
    if tensor.is_meta:
        raise ReconError("This tensor is on the meta device: it has a shape and no numbers.", "Give one that has numbers.")
    return tensor


def unmasked(values: Any, word: str) -> Any:
    """Return ``values`` without a mask that leaves nothing out. Raises ReconError where one does: nothing else would heed it."""
    if isinstance(values, (list, tuple)) and any(isinstance(part, numpy.ma.MaskedArray) for part in values):
        return [unmasked(part, word) for part in values]
    if not isinstance(values, numpy.ma.MaskedArray):
        return values
    count = int(numpy.ma.count_masked(values))
    if count:
        raise ReconError(
            f"{word} has {count:,} masked values of {values.size:,}, and recon knows no mask: what lies below would count.",
            "Leave those samples out, x[~x.mask.reshape(len(x), -1).any(axis=1)].data, or fill them in, x.filled(0).",
        )
    return values.data


def real(values: numpy.ndarray, word: str) -> numpy.ndarray:
    """Return ``values`` if they are real numbers; objects that all are, as floats. Raises ReconError, naming the first."""
    kind = values.dtype.kind
    if kind == "O" and values.size:
        odd = next((i for i, value in enumerate(values.flat) if not plain(value)), None)
        if odd is None:
            try:
                return values.astype(numpy.float64)
            except OverflowError as error:
                raise ReconError(f"{word} holds whole numbers that no float64 holds.", "Divide them first.") from error
        place = tuple(int(i) for i in numpy.unravel_index(odd, values.shape))
        what, way = described(values.flat[odd])
        raise ReconError(f"{word} holds values of type object, the first that is no number {what}, at index {place}.", way)
    if kind not in "fiub":
        way = WAYS.get("U" if kind in "SUT" else kind, OTHERWISE)
        raise ReconError(f"{word} holds values of type {values.dtype}.", way)
    return values


def plain(value: object) -> bool:
    """Return whether an object is a real number, and no missing one."""
    return isinstance(value, (Real, Decimal, numpy.bool_)) and type(value).__name__ not in ("NAType", "NaTType")


def described(value: object) -> tuple[str, str]:
    """Return what an object is that is no number, and what to do about it."""
    name = type(value).__name__
    if value is None or name in ("NAType", "NaTType"):
        return f"missing ({value})", "Leave out the samples with missing values (x.dropna()), or fill them in (x.fillna(0))."
    if isinstance(value, (str, bytes)):
        return f"the text {printable(repr(value), 40)}", WAYS["U"]
    if isinstance(value, complex):
        return f"the complex number {value}", WAYS["c"]
    if isinstance(value, (list, tuple, numpy.ndarray)):
        return f"a {name}", "Every sample must have the same shape: cut or pad them, then numpy.stack them."
    return f"a {name}", "Give an array or a tensor of real numbers, the first axis counting samples."
