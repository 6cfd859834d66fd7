"""The caller's torch and numpy, and recon's own: a result is the same whatever state they are in, and that state stays.

An evaluation loop runs under ``no_grad``, a notebook has set its default dtype or device, a training step is inside
``autocast``. The engines' faces are decorated with :func:`in_default_state`: inside, everything is as it is out of the box.
What torch has for each thread apart is simply set; what it has once for the process (:class:`ProcessSetting`) is put back by
the last thread that leaves; and the default dtype, which every thread would see, is not touched but overruled
(:func:`local_default_dtype`).
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar

import numpy

from recon_cli.runtime import garbage

if TYPE_CHECKING:
    import torch
    from torch.overrides import TorchFunctionMode

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Value = TypeVar("Value")

FACTORIES = (
    "empty", "zeros", "ones", "rand", "randn", "eye", "linspace", "logspace", "empty_permuted", "empty_strided", "scalar_tensor",
    "bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window",
)  # fmt: skip
FROM_VALUES = ("tensor", "as_tensor", "asarray", "full", "arange", "range")
FROM_WHOLE = {  # of whole numbers, or of a condition and numbers, these make numbers in the default dtype
    name
    for word in ("add", "sub", "mul", "div", "truediv", "pow")
    for name in (word, f"__{word}__", f"__r{word}__", f"__i{word}__")
} | {
    "true_divide", "divide", "subtract", "multiply", "rsub", "where", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "log2",
    "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sigmoid", "erf", "erfc", "lgamma", "digamma", "reciprocal", "atan",
}  # fmt: skip


class ProcessSetting(Generic[Value]):
    """A setting of the whole process. The first thread that wants it changed notes what it was, the last puts that back."""

    before: Value

    def __init__(self, read: Callable[[], Value], write: Callable[[Value], object]) -> None:
        self.read, self.write = read, write
        self.lock, self.users = threading.Lock(), 0

    @contextlib.contextmanager
    def at(self, value: Value, each: bool = False) -> Iterator[None]:
        """Set it to ``value`` meanwhile; ``each``: every thread has its own, which is put back as it leaves."""
        with self.lock:
            if not self.users:
                self.before = self.read()
            self.users += 1
            if self.read() != value:
                self.write(value)
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if (each or not self.users) and self.read() != self.before:
                    self.write(self.before)


class ProcessSettings(NamedTuple):
    """What torch has once for the process: anomaly detection, the precision of matrix products, its number of threads."""

    anomaly: ProcessSetting[bool]
    products: ProcessSetting[str | None]
    threads: ProcessSetting[int]


@functools.cache
def process_settings() -> ProcessSettings:
    """Return what torch has once for the process."""
    import torch

    def precision() -> str | None:
        try:
            return torch.get_float32_matmul_precision()
        except RuntimeError:  # set in torch's newer words, which it does not translate back
            return None

    def set_precision(value: str | None) -> None:
        if value is not None and precision() is not None:
            torch.set_float32_matmul_precision(value)

    return ProcessSettings(
        ProcessSetting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        ProcessSetting(precision, set_precision),
        ProcessSetting(torch.get_num_threads, torch.set_num_threads),
    )


class DefaultState:
    """A context in which torch and numpy are as out of the box, and afterwards as the caller had them.

    dtype
        torch's name of what floats are made in, where nothing else is said.
    """

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype, self.stack = dtype, contextlib.ExitStack()

    def __enter__(self) -> DefaultState:
        garbage.search_as_usual()  # all is imported that the work takes
        self.stack.enter_context(numpy.errstate(all="ignore"))
        if hasattr(sys.modules.get("torch"), "autograd"):  # else there is no state to be in
            for context in default_contexts(self.dtype):
                self.stack.enter_context(context)
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def outside(self, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """Return a function of the caller's that is called in the caller's state."""

        @functools.wraps(function, updated=())
        def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            self.__exit__()
            try:
                return function(*args, **kwargs)
            finally:
                self.__enter__()

        return called


def in_default_state(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make ``function`` the same whatever state its caller is in; its ``progress`` is called in the caller's."""

    @functools.wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with DefaultState() as inside:
            progress = kwargs.get("progress")
            if callable(progress):
                kwargs["progress"] = inside.outside(progress)
            return function(*args, **kwargs)

    return called


def default_contexts(dtype: str) -> Iterator[contextlib.AbstractContextManager[object]]:
    """Yield the contexts that make torch what it is out of the box, each to be entered before the next is asked for."""
    import torch

    yield torch.inference_mode(False)
    yield torch.enable_grad()
    for kind in ("cpu", "cuda", "mps", "xpu"):
        if torch.is_autocast_enabled(kind):
            yield torch.autocast(kind, enabled=False)
    yield without_function_modes()
    if torch._C._len_torch_dispatch_stack():
        from torch.utils._python_dispatch import _disable_current_modes

        yield _disable_current_modes()
    yield process_settings().anomaly.at(False)
    yield process_settings().products.at("highest")
    if flushes_denormals():
        yield exact_denormals()
    if torch.get_default_dtype() != getattr(torch, dtype):
        yield local_default_dtype(getattr(torch, dtype))


def flushes_denormals() -> bool:
    """Whether this thread's processor takes the smallest numbers for zeros (``torch.set_flush_denormal``)."""
    return sys.float_info.min / 2 == 0


@contextlib.contextmanager
def exact_denormals() -> Iterator[None]:
    """Keep the smallest numbers as they are; in this thread alone, for torch's others are out of reach."""
    import torch

    torch.set_flush_denormal(False)
    try:
        with process_settings().threads.at(1, each=True):
            yield
    finally:
        torch.set_flush_denormal(True)


@contextlib.contextmanager
def without_function_modes() -> Iterator[None]:
    """Leave the caller's torch function modes aside, of which the default device is one."""
    import torch

    def swap(modes: list[TorchFunctionMode]) -> list[TorchFunctionMode]:
        removed = [torch._C._pop_torch_function_stack() for _ in range(torch._C._len_torch_function_stack())]
        for mode in reversed(modes):
            torch._C._push_on_torch_function_stack(mode)
        return removed

    place: Any = getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None)
    device, before = None, swap([])
    if hasattr(place, "device_context"):
        device = place.device_context
        del place.device_context
    try:
        yield
    finally:
        swap(before)
        if device is not None:
            place.device_context = device
        elif hasattr(place, "device_context"):
            del place.device_context


@functools.cache
def default_dtype_mode() -> Callable[[torch.dtype], TorchFunctionMode]:
    """Return the mode of :func:`local_default_dtype`, a class that cannot be made before torch is there."""
    import torch
    from torch.overrides import TorchFunctionMode

    factories = {getattr(torch, name) for name in FACTORIES}
    from_values = {getattr(torch, name) for name in FROM_VALUES}

    def has_floats(values: object) -> bool:
        """Whether there is a tensor or array of floats among arguments, which says what comes of them."""
        if isinstance(values, torch.Tensor):
            return values.is_floating_point() or values.is_complex()
        if isinstance(values, (numpy.ndarray, numpy.generic)):
            return True
        return isinstance(values, (tuple, list)) and any(map(has_floats, values[:8]))

    class DefaultDtypeMode(TorchFunctionMode):
        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__()
            self.dtype = dtype

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            default = torch.get_default_dtype()
            if default == self.dtype:
                return func(*args, **kwargs)
            if func in factories and kwargs.get("dtype") is None:
                return func(*args, **{**kwargs, "dtype": self.dtype})
            result = func(*args, **kwargs)
            if not isinstance(result, torch.Tensor) or result.dtype != default or has_floats((*args, *kwargs.values())):
                return result
            if func in from_values and kwargs.get("dtype") is None:
                return func(*args, **{**kwargs, "dtype": self.dtype})
            if getattr(func, "__name__", "") in FROM_WHOLE:
                return func(*map(self.as_floats, args), **kwargs)
            return result

        def as_floats(self, value: object) -> object:
            """Return whole numbers as floats; of a condition and two numbers, the numbers."""
            if isinstance(value, torch.Tensor):
                return value if value.dtype == torch.bool else value.to(self.dtype)
            return torch.tensor(value, dtype=self.dtype) if isinstance(value, float) else value

    return DefaultDtypeMode


def local_default_dtype(dtype: torch.dtype) -> TorchFunctionMode:
    """Have torch make in ``dtype`` what it would make in its default dtype, in this thread and in no other."""
    return default_dtype_mode()(dtype)
