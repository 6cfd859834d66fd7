"""Files that carry their own checksum, JSON and safetensors alike: read only as they were written, to the last bit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

KEY = "sha256"  # of all bytes of the file, these 64 digits themselves taken as zeros
ZEROS = "0" * 64
MARK = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')  # inside a string of JSON the quotes would be escaped


def json_file(content: Mapping[str, object]) -> bytes:
    """Return a JSON object as a file, the checksum its last entry."""
    return seal(json_text({**content, KEY: ZEROS}))


def json_text(content: Mapping[str, object]) -> bytes:
    """Return a JSON object as a file without a checksum. A path in it that is no UTF-8 stays what it is."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def tensor_file(saved: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return what ``safetensors.torch.save`` gave, with ``metadata`` and the checksum in its header, its keys sorted.

    The same tensors and metadata are the same bytes, which safetensors itself does not see to.
    """
    start = 8 + int.from_bytes(saved[:8], "little")
    tensors = json.loads(saved[8:start])
    header = {"__metadata__": {KEY: ZEROS, **dict(sorted(metadata.items()))}, **dict(sorted(tensors.items()))}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # where the numbers begin is a multiple of 8
    return seal(len(text).to_bytes(8, "little") + text, saved[start:])


def seal(head: bytes, rest: bytes = b"") -> bytes:
    """Return ``head`` and ``rest`` in one, with their checksum in the place that ``head`` has for it."""
    start, end = _place(head)
    return head[:start] + digest(head, rest).encode() + head[end:] + rest


def _place(content: bytes) -> tuple[int, int]:
    """Return from where to where in ``content`` its checksum stands. Raises ValueError where there is none."""
    mark = MARK.search(content)
    if mark is None:
        raise ValueError("it has no checksum, with which recon writes it; it is damaged, or of an earlier recon")
    return mark.span(1)


def digest(*parts: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes that come in parts."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.hexdigest()


def verify(content: bytes) -> bytes:
    """Return ``content``, if it is what recon wrote. Raises ValueError where a bit of it, or its checksum, is not."""
    start, end = _place(content)
    if digest(memoryview(content)[:start], ZEROS.encode(), memoryview(content)[end:]) != content[start:end].decode():
        raise ValueError("its checksum is another than when recon wrote it; it is damaged, or was edited by hand")
    return content


def metadata(content: bytes) -> dict[str, Any]:
    """Return what a safetensors file says of itself. Raises ValueError where it says nothing that can be read."""
    header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = header.get("__metadata__") if isinstance(header, dict) else None
    return about if isinstance(about, dict) else {}


def parse_json(text: bytes, constant: Callable[[str], Any] | None = None) -> Any:
    """Return what JSON says. Raises ValueError for NaN and Infinity, unless ``constant`` takes them, and for a repeated name."""
    try:
        return json.loads(text.decode("utf-8"), parse_constant=constant or _no_number, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"it holds {word}, which is no number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("it gives a name twice")
    return values
