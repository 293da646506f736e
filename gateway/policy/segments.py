"""Where a URL lies under another: at the segment boundaries of its path, the end of the value or `/`."""

from __future__ import annotations

from collections.abc import Callable


def at_or_below(url: str, prefix: str) -> bool:
    """Whether `url` is the prefix itself or lies under it at a segment boundary; a final `/` of the prefix counts."""
    if not url.startswith(prefix):
        return False
    return prefix.endswith("/") or url[len(prefix) : len(prefix) + 1] in ("", "/")


def lies_under(url: str, tops: tuple[str, ...], lies: Callable[[str, str], bool]) -> bool:
    """Whether `url` lies, as `lies` has it, under one of many; they have no ?query. Most are ruled out in one look."""
    page = url.partition("?")[0]
    return f"{page}/".startswith(tops) and any(lies(url, top) for top in tops)


def in_subtree(url: str, top: str) -> bool:
    """Whether `url` is the page `top` or lies below it; a final `/` of `top` makes no difference."""
    page = top.removesuffix("/")
    return url == page or url.startswith(page + "/")


def denied_below(url: str, prefix: str) -> bool:
    """As `at_or_below` for a `deny`: the page with or without a closing `/` or a ?query counts; when in doubt, yes."""
    page = prefix.rstrip("/")
    return at_or_below(url, page) or url.startswith(page + "?")
