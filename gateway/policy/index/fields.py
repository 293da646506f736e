"""The values that rules list, by field: which rules list a value, or what it lies under or above; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import chain

from gateway.policy.model import Condition, RunIdCondition, UrlCondition, ValueCondition

URL, RUN_IDS = "workflowUrl", "workflowRunIds"
_LAST = "\U0010ffff"
"""Sorts behind every character of a value."""

_FEW = 8
"""Up to so many rules it is as fast to go through all as to ask for one."""

Places = Collection[int]
"""Rules by their place among all, each once and in order. Many are a dictionary, which can be asked for one."""

Values = Mapping[str, Sequence[str]]
"""What is asked about: values by the wire names of the fields that are looked up."""


class _Several:
    """The rules that stand in one of several long lists; which these are is asked only of the few that are left."""

    __slots__ = ("_lists", "_number")

    def __init__(self, lists: Sequence[Collection[int]]) -> None:
        self._lists = lists
        self._number = sum(map(len, lists))

    def __len__(self) -> int:
        return self._number

    def common(self, places: AbstractSet[int]) -> AbstractSet[int]:
        """Those of the places that stand in one of the lists."""
        return frozenset().union(*(common(places, one) for one in self._lists))


Found = Collection[int] | _Several
"""The rules that list what was asked about."""

Hits = Mapping[str, Sequence[Found]]
"""The rules that may speak about such values, of those that list any, by the field's wire name: who is in all of it."""


def common(places: AbstractSet[int], found: Found) -> AbstractSet[int]:
    """Those of the places that were found, at the cost of the fewer."""
    if isinstance(found, _Several):
        return found.common(places)
    if isinstance(found, dict):
        return found.keys() & places
    return frozenset(places).intersection(found)


def _one_of(lists: Sequence[Collection[int]]) -> Found:
    """Whatever stands in one of the lists."""
    if len(lists) == 1:
        return lists[0]
    # The same few lists are found for many values; each is looked through once.
    every = [*{id(places): places for places in lists}.values()]
    several = _Several(every)
    # To join short ones costs no more than to have found them.
    return {*chain.from_iterable(every)} if len(several) <= _FEW * len(every) else several


class _Listed:
    """Which rules list a value."""

    def __init__(self) -> None:
        self._places: dict[str, Places] = {}

    def add(self, value: str, alone: tuple[int]) -> None:
        """Adds the rule at the one place of `alone`."""
        found = self._places.get(value)
        if isinstance(found, dict):
            found[alone[0]] = None
            return
        # The values that one rule alone lists share its tuple: there may be a million of them.
        more = alone if found is None else (*found, *alone)
        self._places[value] = more if len(more) <= _FEW else dict.fromkeys(more)

    def at(self, value: str) -> Places:
        """The rules that list the value."""
        return self._places.get(value, ())

    def pairs(self) -> Iterator[tuple[str, int]]:
        """Every value that is listed, with each rule that lists it."""
        return ((value, place) for value, places in self._places.items() for place in places)

    @cached_property
    def lengths(self) -> frozenset[int]:
        """How long the values are: of a longer text no other beginning has to be looked up."""
        return frozenset(map(len, self._places))


class Field:
    """Which rules list which values of a field of plain values."""

    def __init__(self) -> None:
        self.listed = _Listed()

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Takes in what the rule at the one place of `alone` lists of the field."""
        assert isinstance(condition, ValueCondition)
        for value in condition.any_of:
            self.listed.add(value, alone)

    def prepare(self) -> None:
        """Finds now what is looked at later."""
        _ = self.listed.lengths

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """The rules that list the value, or what it lies under; the closest first."""
        yield self.listed.at(value)

    def touching(self, values: Sequence[str], *, exact: bool) -> Sequence[Found]:
        """The rules that may be about one of the values."""
        return (_one_of([places for value in values for places in self.about(value, exact=exact) if places]),)

    def admitting(self, values: Sequence[str], *, exact: bool) -> Sequence[Found]:
        """The rules that may admit all of the values."""
        each = [[*filter(None, self.about(value, exact=exact))] for value in values]
        if len(each) > 1:
            each = [*{tuple(map(id, found)): found for found in each}.values()]
        return [_one_of(found) for found in each]


class _RunIds(Field):
    """Run IDs: rules list how they begin."""

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Takes in what one rule says of run IDs."""
        assert isinstance(condition, RunIdCondition)
        for prefix in condition.prefix:
            self.listed.add(prefix, alone)

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """The rules that list a beginning of the run ID."""
        for length in self.listed.lengths:
            yield self.listed.at(value[:length])


class Urls(Field):
    """URLs: exact ones, and pages that are listed with all that lies below them, without their final `/`."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = _Listed()

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Takes in what one rule says of URLs."""
        assert isinstance(condition, UrlCondition)
        for url in condition.exact:
            self.listed.add(url, alone)
        for url in condition.prefix:
            self.pages.add(url.rstrip("/"), alone)

    def prepare(self) -> None:
        """Finds how long the pages are."""
        _ = self.pages.lengths

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """The rules that list the URL, then those that list a page which it is or lies below, the closest first."""
        if exact:
            yield self.listed.at(value)
        yield self.pages.at(value)
        at = value.rfind("/")
        while at >= len("https://"):
            # Only where a page may end, so that a URL of 2,000 segments is not cut out of itself 2,000 times.
            if at in self.pages.lengths:
                yield self.pages.at(value[:at])
            at = value.rfind("/", 0, at)


class _DeniedUrls(Urls):
    """URLs of `deny` rules, which reach further: to a page with a ?query, and up to whatever may lie above them."""

    def prepare(self) -> None:
        """Sorts everything that is listed, too."""
        super().prepare()
        _ = self._sorted

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """As above, and the rules that list the page before a ?query."""
        yield from super().about(value, exact=exact)
        yield self.pages.at(value.partition("?")[0])

    def touching(self, values: Sequence[str], *, exact: bool) -> Sequence[Found]:
        """The rules that may be about one of the URLs, or where those are prefixes, about what begins with one."""
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
        """Everything that is listed, and beside each text the rule that lists it: once for each of several."""
        pairs = [pair for listed in (self.listed, self.pages) for pair in listed.pairs()]
        pairs.sort()
        return [text for text, _ in pairs], [place for _, place in pairs]


def _shortest(values: Iterable[str]) -> Iterator[str]:
    """The values that begin with none of the others: what begins with a longer one begins with the shorter, too."""
    last = _LAST
    for value in sorted(values):
        if not value.startswith(last):
            last = value
            yield value


ALLOWED: Mapping[str, type[Field]] = {
    URL: Urls,
    RUN_IDS: _RunIds,
    "label": Field,
    "flowControlKey": Field,
    "callerIp": Field,
}
"""The fields of `allow` rules whose values are looked up; what rules say of others is cheap to try."""

DENIED: Mapping[str, type[Field]] = {**ALLOWED, URL: _DeniedUrls}
"""Those of `deny` rules."""


def takes_any(condition: Condition | None) -> bool:
    """Whether every value lies inside what a rule says of a field that is looked up."""
    match condition:
        case RunIdCondition():
            return not condition.prefix
        case UrlCondition() | ValueCondition():
            return condition.any
    return False
