"""Signs that a person sees, and those that a terminal or a table could act on or hide; pure."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
"""What `str.isprintable` admits although it shows nothing, or a blank: with these for its spaces, the value of a caller
could pass for a line of ours where a terminal breaks it. They are the Default_Ignorable_Code_Point of Unicode that are
letters or marks, and the blanks of Braille, of the Khitan script and of music.
"""


def is_seen(text: str) -> bool:
    """Return whether every sign of the text is one that a person sees, or a space."""
    return text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None)
