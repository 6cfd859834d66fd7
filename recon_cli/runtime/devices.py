"""Where and in which precision to compute: words to torch's objects, and what is not there."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from recon_cli.errors import ReconError
from recon_cli.runtime import processes

if TYPE_CHECKING:
    import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
MANY = 1 << 12  # compilations
WIDTH = 1 << 7  # times: as much as a GPU computes of its own accord while a core of a CPU computes one
DTYPES = ("auto", "float64", "float32", "bfloat16", "float16")


def device(word: str = "auto") -> torch.device:
    """Return the device that a word names: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Of several processes each has a GPU of its own. Raises ReconError for a device that this machine, or this build of torch,
    does not have.
    """
    import torch

    cuda, mps = torch.cuda.device_count() if torch.cuda.is_available() else 0, torch.backends.mps.is_available()
    kind, colon, index = str(word).partition(":")
    if word == "cpu:0":
        return torch.device("cpu")
    if word in ("auto", "cuda") and cuda and processes.count() > 1:
        return torch.device("cuda", processes.local_rank() % cuda)
    if word == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    here = ["cpu", *(f"cuda:{i}" for i in range(cuda)), *["mps"] * mps]
    if kind not in ("cpu", "cuda", "mps") or (colon and not index.isdecimal()):
        raise ReconError(f"There is no kind of device named {word!r}.", "Allowed: auto, cpu, cuda, cuda:N, mps.")
    if word not in here and not (word == "cuda" and cuda):
        raise ReconError(
            f"This machine has no {word} that torch {torch.__version__} can use.",
            f"It has {', '.join(here)}; --device auto takes the best of them.",
        )
    return torch.device(word)


def width(device: torch.device) -> int:
    """Return how many times as much as on a CPU is to be computed at a time, so that ``device`` has enough to do."""
    return 1 if device.type == "cpu" else WIDTH


def dtype(word: str = "auto", of: object = None) -> torch.dtype:
    """Return a floating dtype by name; ``auto`` is that of the data where they are floats, else float32."""
    import torch

    if word not in DTYPES:
        raise ReconError(f"There is no precision named {word!r}.", f"Allowed: {', '.join(DTYPES)}.")
    name = str(getattr(of, "dtype", "")).rpartition(".")[2] if word == "auto" else word
    floating: torch.dtype = getattr(torch, name if name in DTYPES else "float32")
    return floating


class Uncompiled(ReconError):
    """The compiler failed; ``reason`` is the first line of what it said, and that which says what is wrong with the C++."""

    def __init__(self, error: Exception) -> None:
        first, *rest = str(error).strip().splitlines() or [type(error).__name__]
        cause = next((line.strip() for line in rest if re.search(r"\berror: |\bKilled\b|No space left", line)), "")
        reason = f"{first[:120]}{': ' * bool(cause)}{cause[:200]}"
        super().__init__(f"The compiler failed here: {reason}", "Leave it out (--compile); the numbers are the same.", reason)


def vector_options() -> dict[str, str | int | bool | Callable[..., Any]]:
    """Return options for torch's compiler: on a CPU vectors of half the width there are.

    A conversion from float32 to float64 then stays in the registers, instead of going through memory.
    """
    import torch

    return {"cpp.simdlen": 256} if torch.backends.cpu.get_cpu_capability() == "AVX512" else {}


def loading_options() -> dict[str, str | int | bool | Callable[..., Any]]:
    """Return options for it with which what it once made is loaded sooner.

    No processes that wait for work; torch's headers are not read anew to find compiled ones, though there is nothing to
    compile; and what torch knows of the processor's vectors is not found out once more, by nine processes.
    """
    import torch
    from torch._inductor import config

    quick: dict[str, str | int | bool | Callable[..., Any]] = {"compile_threads": 1, "cpp_cache_precompile_headers": False}
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        quick["cpp.vec_isa_ok"] = True
    known = config.get_config_copy()
    return {name: value for name, value in quick.items() if name in known}


def compiled(function: Callable[Arguments, Result], whole: bool = True) -> Callable[Arguments, Result]:
    """Return ``function`` through torch's compiler, once for every size; ``whole``: as one graph, or not at all.

    It raises :class:`Uncompiled` where the compiler fails. The compiler is imported at the first call.
    """

    @functools.cache
    def inner() -> Callable[Arguments, Result]:
        import torch

        # One compilation for each object, noise and size: as many as are asked for, not the eight that are usual.
        config = torch._dynamo.config
        limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # until torch 2.6
        options = {**vector_options(), **loading_options()}
        through: Callable[Arguments, Result]
        through = config.patch({limit: MANY})(torch.compile(function, fullgraph=whole, dynamic=False, options=options))
        return through

    def outer(*values: Arguments.args, **named: Arguments.kwargs) -> Result:
        from torch._dynamo.exc import TorchDynamoException

        try:
            return inner()(*values, **named)
        except TorchDynamoException as error:
            raise Uncompiled(error) from error

    return outer
