"""Words on a page of HTML."""

from __future__ import annotations

import html
import re

FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def text(value: object) -> str:
    """Return text that is no markup, whatever is in it; what HTML forbids as the sign for what cannot be shown."""
    return html.escape(FORBIDDEN.sub("\ufffd", str(value)))
