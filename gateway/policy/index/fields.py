"""The index of listed values, by field: it finds the rules that list a value, or something above or below it; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import chain

from gateway.policy.conditions import (
    ID_LISTS,
    MEMBERS,
    PAUSED,
    Condition,
    PathCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)

URL = "workflowUrl"
_LAST = "\U0010ffff"
"""The character that sorts after every character of a value."""

_FEW = 8
"""Up to this many rules it is as fast to go through all as to look one up."""

Places = Collection[int]
"""Rules by their place among all, each once and in order. Many are kept in a dictionary, where one is found at once."""

Values = Mapping[str, Sequence[str]]
"""The values to look up, by the wire names of their fields."""


class _Several:
    """The rules that are in one of several long lists; the lists are only searched for the few rules that are left."""

    __slots__ = ("_lists", "_number")

    def __init__(self, lists: Sequence[Collection[int]]) -> None:
        self._lists = lists
        self._number = sum(map(len, lists))

    def __len__(self) -> int:
        return self._number

    def common(self, places: AbstractSet[int]) -> AbstractSet[int]:
        """Return the given places that are in one of the lists."""
        return frozenset().union(*(common(places, one) for one in self._lists))


Found = Collection[int] | _Several
"""The rules that list what was looked up."""

Hits = Mapping[str, Sequence[Found]]
"""For each field, by its wire name, the rules that may apply to the values, among those that list values of the field.

A rule may apply only if it is in every part of the sequence.
"""


def common(places: AbstractSet[int], found: Found) -> AbstractSet[int]:
    """Return the places that were found, at the cost of the smaller set."""
    if isinstance(found, _Several):
        return found.common(places)
    if isinstance(found, dict):
        return found.keys() & places
    return frozenset(places).intersection(found)


def _one_of(lists: Sequence[Collection[int]]) -> Found:
    """Return the rules that are in at least one of the lists."""
    if len(lists) == 1:
        return lists[0]
    # Many values lead to the same few lists; each list is gone through once.
    every = [*{id(places): places for places in lists}.values()]
    several = _Several(every)
    # To join short lists costs no more than finding them did.
    return {*chain.from_iterable(every)} if len(several) <= _FEW * len(every) else several


class _Listed:
    """The values that rules list, each with the rules that list it."""

    def __init__(self) -> None:
        self._places: dict[str, Places] = {}

    def add(self, value: str, alone: tuple[int]) -> None:
        """Add the rule whose place is the one in `alone`."""
        found = self._places.get(value)
        if isinstance(found, dict):
            found[alone[0]] = None
            return
        # The values that only one rule lists share its tuple: there may be a million of them.
        more = alone if found is None else (*found, *alone)
        self._places[value] = more if len(more) <= _FEW else dict.fromkeys(more)

    def at(self, value: str) -> Places:
        """Return the rules that list the value."""
        return self._places.get(value, ())

    def pairs(self) -> Iterator[tuple[str, int]]:
        """Return pairs of a listed value and a rule that lists it, one for each rule."""
        return ((value, place) for value, places in self._places.items() for place in places)

    @cached_property
    def lengths(self) -> frozenset[int]:
        """The lengths of the values: other prefixes of a longer text need not be looked up."""
        return frozenset(map(len, self._places))


class Field:
    """The index of a field of plain values: which rules list which value."""

    def __init__(self) -> None:
        self.listed = _Listed()

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Add what the rule whose place is in `alone` lists for the field."""
        assert isinstance(condition, ValueCondition)
        for value in condition.any_of:
            self.listed.add(value, alone)

    def prepare(self) -> None:
        """Compute now what is otherwise computed on first use."""
        _ = self.listed.lengths

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """Yield the rules that list the value or what it lies under, the closest first."""
        yield self.listed.at(value)

    def touching(self, values: Sequence[str], *, exact: bool) -> Sequence[Found]:
        """Return the rules that may be about one of the values."""
        return (_one_of([places for value in values for places in self.about(value, exact=exact) if places]),)

    def admitting(self, values: Sequence[str], *, exact: bool) -> Sequence[Found]:
        """Return the rules that may admit all of the values."""
        each = [[*filter(None, self.about(value, exact=exact))] for value in values]
        if len(each) > 1:
            each = [*{tuple(map(id, found)): found for found in each}.values()]
        return [_one_of(found) for found in each]


class _Ids(Field):
    """The index of IDs: rules list their prefixes."""

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Add the prefixes that one rule lists."""
        assert isinstance(condition, RunIdCondition)
        for prefix in condition.prefix:
            self.listed.add(prefix, alone)

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """Yield the rules that list a prefix of the ID."""
        for length in self.listed.lengths:
            yield self.listed.at(value[:length])


class Urls(Field):
    """The index of URLs: exact ones, and pages listed with all that lies below them, kept without their final `/`."""

    shortest = len("https://")
    """How long a page is at least."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = _Listed()

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Add the URLs that one rule lists."""
        assert isinstance(condition, UrlCondition)
        for url in condition.exact:
            self.listed.add(url, alone)
        for url in condition.prefix:
            self.pages.add(url.rstrip("/"), alone)

    def prepare(self) -> None:
        """Compute how long the pages are."""
        _ = self.pages.lengths

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """Yield the rules that list the URL, then those that list it or what it lies below as a page, closest first."""
        if exact:
            yield self.listed.at(value)
        yield self.pages.at(value)
        lengths = self.pages.lengths
        at = value.rfind("/") if lengths else -1
        while at >= self.shortest:
            # Cut only where a page may end, so that a URL of 2,000 segments is not copied 2,000 times.
            if at in lengths:
                yield self.pages.at(value[:at])
            at = value.rfind("/", 0, at)


class _Paths(Urls):
    """The index of paths; the page `/` is kept as the empty text."""

    shortest = 0

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Add the paths that one rule lists."""
        assert isinstance(condition, PathCondition)
        for path in condition.any_of:
            self.listed.add(path, alone)
        for path in condition.prefix:
            self.pages.add(path.rstrip("/"), alone)

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """Yield the rules that list the path, whatever else the request names; each names a path exactly."""
        return super().about(value, exact=True)


class _DeniedUrls(Urls):
    """The index of URLs of `deny` rules, which reach further: to a page with a ?query, and to prefixes above a URL."""

    def prepare(self) -> None:
        """Compute how long the pages are, and sort everything that is listed."""
        super().prepare()
        _ = self._sorted

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """Yield the rules of `Urls.about`, then those that list the page before a ?query."""
        yield from super().about(value, exact=exact)
        yield self.pages.at(value.partition("?")[0])

    def touching(self, values: Sequence[str], *, exact: bool) -> Sequence[Found]:
        """Return the rules that may be about one of the URLs or, if these are prefixes, about what begins with one."""
        if exact:
            return super().touching(values, exact=exact)
        lists: list[Collection[int]] = [places for url in values for places in self.about(url, exact=exact) if places]
        # The gateway itself reads a prefix as a page and all below it.
        lists += [self.listed.at(url.removesuffix("/")) for url in values]
        texts, places = self._sorted
        for url in _shortest(values):
            begin = bisect_left(texts, url)
            lists.append(frozenset(places[begin : bisect_left(texts, url + _LAST, begin)]))
        return (_one_of(lists),)

    @cached_property
    def _sorted(self) -> tuple[list[str], list[int]]:
        """All listed texts, sorted, and the rule that lists each; a text that several rules list is repeated."""
        pairs = [pair for listed in (self.listed, self.pages) for pair in listed.pairs()]
        pairs.sort()
        return [text for text, _ in pairs], [place for _, place in pairs]


def _shortest(values: Iterable[str]) -> Iterator[str]:
    """Drop every value that begins with another one: what begins with the longer also begins with the shorter."""
    last = _LAST
    for value in sorted(values):
        if not value.startswith(last):
            last = value
            yield value


ALLOWED: Mapping[str, type[Field]] = {
    URL: Urls,
    **dict.fromkeys(ID_LISTS, _Ids),
    **dict.fromkeys((*MEMBERS, *PAUSED), Field),
    "path": _Paths,
}
"""The fields of `allow` rules whose values are looked up; conditions on other fields are cheap to try."""

DENIED: Mapping[str, type[Field]] = {**ALLOWED, URL: _DeniedUrls}
"""The same for `deny` rules."""


def takes_any(condition: Condition | None) -> bool:
    """Return whether a condition on a field that is looked up admits every value."""
    match condition:
        case RunIdCondition():
            return not condition.prefix
        case UrlCondition() | ValueCondition():
            return condition.any
    return False
