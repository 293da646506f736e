"""Finds the rules that may speak about a request, so that a judgement costs the same with ten rules or 10,000.

Every value that a rule lists stands in a dictionary. What a URL lies under is found there at its segment boundaries,
what begins with it side by side in a sorted list; rules on the same fields lie together. What is left is tried rule by
rule. An index never leaves out a rule that would hold: it may only give too many.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import merge

from gateway.cancel import ByFilter, ByRunIds, EveryRun, Selection
from gateway.policy.model import Condition, Rule, RunIdCondition, UrlCondition, ValueCondition
from gateway.run import Run

URL, RUN_IDS = "workflowUrl", "workflowRunIds"
_LAST = "\U0010ffff"
"""Sorts behind every character of a value."""

Places = Sequence[int]
"""Rules by their place among all."""

Values = Mapping[str, Sequence[str]]
"""What is asked about: values by the wire names of the fields that are looked up."""

Hits = Mapping[str, set[int]]
"""The rules that may speak about such values, of those that mention the field, by its wire name."""


class _Listed:
    """Which rules list a value."""

    def __init__(self) -> None:
        self._places: dict[str, Places] = {}

    def add(self, value: str, alone: tuple[int]) -> None:
        """Adds the rule at the one place of `alone`."""
        found = self._places.get(value)
        if isinstance(found, list):
            found.append(*alone)
        else:
            # The values that one rule alone lists share its tuple: there may be a million of them.
            self._places[value] = alone if found is None else [*found, *alone]

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


class _Field:
    """What rules say of a field of plain values: which of them list one, and which take any."""

    def __init__(self) -> None:
        self.listed = _Listed()
        self.any: list[int] = []

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Takes in what the rule at the one place of `alone` says of the field."""
        assert isinstance(condition, ValueCondition)
        self.any += alone if condition.any else ()
        for value in condition.any_of:
            self.listed.add(value, alone)

    def prepare(self) -> None:
        """Finds now what is looked at later."""
        _ = self.listed.lengths

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """The rules that list the value, or what it lies under; the closest first."""
        yield self.listed.at(value)

    def touching(self, values: Iterable[str], *, exact: bool) -> set[int]:
        """The rules that may be about one of the values."""
        # The same few lists are found for many values; each is looked through once.
        found = {id(places): places for value in values for places in self.about(value, exact=exact)}
        return {*self.any}.union(*found.values())

    def admitting(self, values: Iterable[str], *, exact: bool) -> set[int]:
        """The rules that may admit all of the values."""
        each = ([*filter(None, self.about(value, exact=exact))] for value in values)
        left: set[int] | None = None
        for found in {tuple(map(id, found)): found for found in each}.values():
            one = {*self.any}.union(*found)
            left = one if left is None else left & one
            if not left:
                break
        return left or set()


class _RunIds(_Field):
    """Run IDs: rules list how they begin."""

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Takes in what one rule says of run IDs."""
        assert isinstance(condition, RunIdCondition)
        self.any += () if condition.prefix else alone
        for prefix in condition.prefix:
            self.listed.add(prefix, alone)

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """The rules that list a beginning of the run ID."""
        for length in self.listed.lengths:
            yield self.listed.at(value[:length])


class _Urls(_Field):
    """URLs: exact ones, and pages that are listed with all that lies below them, without their final `/`."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = _Listed()

    def place(self, condition: Condition, alone: tuple[int]) -> None:
        """Takes in what one rule says of URLs."""
        assert isinstance(condition, UrlCondition)
        self.any += alone if condition.any else ()
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


class _DeniedUrls(_Urls):
    """URLs of `deny` rules, which reach further: to a page with a ?query, and up to whatever may lie above them."""

    def prepare(self) -> None:
        """Sorts everything that is listed, too."""
        super().prepare()
        _ = self._sorted

    def about(self, value: str, *, exact: bool) -> Iterator[Places]:
        """As above, and the rules that list the page before a ?query."""
        yield from super().about(value, exact=exact)
        yield self.pages.at(value.partition("?")[0])

    def touching(self, values: Iterable[str], *, exact: bool) -> set[int]:
        """The rules that may be about one of the URLs, or where those are prefixes, about what begins with one."""
        values = tuple(values)
        found = super().touching(values, exact=exact)
        for url in () if exact else values:
            # The gateway itself reads a prefix as a page and all below it.
            found.update(self.listed.at(url.removesuffix("/")))
        texts, places = self._sorted
        for url in () if exact else _shortest(values):
            begin = bisect_left(texts, url)
            found.update(places[begin : bisect_left(texts, url + _LAST, begin)])
        return found

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


_FIELDS: Mapping[str, type[_Field]] = {
    URL: _Urls,
    RUN_IDS: _RunIds,
    "label": _Field,
    "flowControlKey": _Field,
    "callerIp": _Field,
}
"""The fields whose values are looked up; what rules say of others is cheap to try."""

_DENIED: Mapping[str, type[_Field]] = {**_FIELDS, URL: _DeniedUrls}


@dataclass(frozen=True, slots=True)
class _Group:
    """The rules that mention the same fields, and of these let a request leave out the same."""

    fields: frozenset[str]
    needed: frozenset[str]
    places: Places
    members: frozenset[int]

    def among(self, hits: Hits, fields: Iterable[str]) -> Places:
        """Those of the rules that are hit on each of the fields, in their order."""
        found = [hits[name] for name in fields if name in hits]
        return sorted(self.members.intersection(*found)) if found else self.places


class _Index:
    """Rules in the order given: by the values that they list, and by the fields that they mention."""

    def __init__(self, rules: Iterable[Rule], fields: Mapping[str, type[_Field]]) -> None:
        self._rules = tuple(rules)
        # Only of fields that a rule mentions: nobody looks where nothing can be found.
        named = frozenset().union(*(rule.conditions for rule in self._rules))
        self._fields = {name: field() for name, field in fields.items() if name in named}
        groups: dict[tuple[frozenset[str], frozenset[str]], list[int]] = defaultdict(list)
        for place, rule in enumerate(self._rules):
            alone = (place,)
            for name in rule.conditions.keys() & self._fields.keys():
                self._fields[name].place(rule.conditions[name], alone)
            needed = (name for name, condition in rule.conditions.items() if not condition.optional)
            groups[frozenset(rule.conditions), frozenset(needed)].append(place)
        self._groups = tuple(_Group(*kind, tuple(places), frozenset(places)) for kind, places in groups.items())

    def prepare(self) -> None:
        """Sorts now what is sorted on the first use otherwise."""
        for field in self._fields.values():
            field.prepare()

    def _at(self, places: Iterable[int]) -> Iterator[Rule]:
        return (self._rules[place] for place in places)

    def _touching(self, values: Values, *, exact: bool = True) -> Hits:
        return {
            name: self._fields[name].touching(found, exact=exact)
            for name, found in values.items()
            if name in self._fields
        }


class AllowIndex(_Index):
    """`allow` rules; built once, never changed."""

    def __init__(self, allows: Iterable[Rule]) -> None:
        super().__init__(allows, _FIELDS)

    def candidates(self, selection: Selection) -> Iterator[Rule]:
        """Every rule that shares something with the selection, be it the first URL; each once, the closest first.

        No other rule could admit the selection.
        """
        match selection:
            case ByRunIds():
                return self._at(self._by_ids)
            case ByFilter(workflow_urls=[first, *_]):
                return self._at(self._near(first))
            case ByFilter():
                return self._at(self._without_url)
        return self._at(self._everything)

    def admitting(self, selection: Selection) -> Iterator[Rule]:
        """Every rule that could admit the selection, and perhaps some that do not; each once, in their order."""
        if isinstance(selection, EveryRun):
            return self._at(self._everything)
        by_ids, carried = isinstance(selection, ByRunIds), selection.carried
        fitting = [
            group
            for group in self._groups
            if carried <= group.fields and (by_ids or (group.needed <= carried and RUN_IDS not in group.fields))
        ]
        if not fitting:
            return iter(())
        exact = isinstance(selection, ByFilter) and selection.exact
        hits = {name: self._fields[name].admitting(values, exact=exact) for name, values in asked(selection).items()}
        return self._at(_in_order(group.among(hits, carried) for group in fitting))

    def about(self, url: str, others: Values | None = None) -> Iterator[Rule]:
        """Every rule that could cover a run of this URL, and perhaps some that do not; each once, in their order.

        `others` are the run's values of other fields.
        """
        hits = self._touching({URL: (url,), **(others or {})})
        return self._at(_in_order(group.among(hits, group.needed) for group in self._groups))

    def _near(self, url: str) -> Iterable[int]:
        urls = self._fields.get(URL) or _Urls()
        exactly, *above = urls.about(url, exact=True)
        found = dict.fromkeys([*exactly, *urls.any, *(place for places in above for place in places)])
        return (place for place in found if RUN_IDS not in self._rules[place].conditions)

    @cached_property
    def _by_ids(self) -> Places:
        return [place for place, rule in enumerate(self._rules) if RUN_IDS in rule.conditions]

    @cached_property
    def _everything(self) -> Places:
        return [place for place, rule in enumerate(self._rules) if rule.admits_everything]

    @cached_property
    def _without_url(self) -> Places:
        others = {*self._by_ids, *self._everything}
        groups = (group for group in self._groups if URL not in group.needed)
        return sorted({place for group in groups for place in group.places} - others)


class DenyIndex(_Index):
    """`deny` rules, given by name; built once, never changed."""

    def __init__(self, denies: Iterable[Rule]) -> None:
        super().__init__(denies, _DENIED)

    def candidates(self, selection: Selection, *, wholly: bool = False) -> Iterator[Rule]:
        """Every rule that could match the selection, and perhaps some that do not; each once, by name.

        Without `wholly` a rule matches whatever the selection leaves open; with it only where all of its fields are
        carried.
        """
        carried = selection.carried
        exact = isinstance(selection, ByFilter) and selection.exact
        hits = self._touching(asked(selection), exact=exact)
        groups = (group for group in self._groups if not wholly or group.fields <= carried)
        # Whoever asks takes no more than he needs: of ten thousand that match, the first.
        return (self._rules[place] for place in _in_order(group.among(hits, group.fields) for group in groups))

    def about(self, urls: Iterable[str], others: Values | None = None) -> Iterator[Rule]:
        """Every rule that could match a run of one of these URLs, by name; `others` are its values of other fields."""
        hits = self._touching({URL: tuple(urls), **(others or {})})
        return self._at(_in_order(group.among(hits, group.fields) for group in self._groups))


def _in_order(found: Iterable[Places]) -> Iterable[int]:
    """The places of several groups in one order."""
    lists = [places for places in found if places]
    return merge(*lists) if len(lists) > 1 else lists[0] if lists else ()


def seen(run: Run) -> Values:
    """What a run has, of the fields that are looked up; its URL aside."""
    return {
        RUN_IDS: (run.run_id,),
        "label": run.labels,
        "flowControlKey": (run.flow_control_key,) if run.flow_control_key is not None else (),
        "callerIp": (run.caller_ip,) if run.caller_ip is not None else (),
    }


def asked(selection: Selection) -> Values:
    """What the selection carries, of the fields that are looked up."""
    match selection:
        case ByRunIds(run_ids=run_ids):
            return {RUN_IDS: run_ids}
        case ByFilter():
            values = {
                URL: selection.workflow_urls,
                "label": selection.labels,
                "flowControlKey": selection.flow_control_keys,
                "callerIp": selection.caller_ips,
            }
            return {name: found for name, found in values.items() if found}
    return {}
