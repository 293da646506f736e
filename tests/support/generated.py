"""How many cases a law looks at that needs more of them, or fewer, than most."""

from __future__ import annotations

from hypothesis import settings


def cases(in_ci: int) -> int:
    """Returns the number under the profile in use: `in_ci` under `ci`, in proportion under `quick` and `deep`."""
    return max(1, in_ci * settings().max_examples // settings.get_profile("ci").max_examples)
