"""The index of rules: it finds those that may apply, so that a judgement costs the same with ten rules or 10,000.

Every value that a rule lists is kept in a dictionary. What a URL lies under is found there at the URL's segment
boundaries; what begins with a URL stands side by side in a sorted list. Rules on the same fields form a group. Of the
lists found the shortest is gone through, and the others are only searched for its members. The rules that remain are
tried one by one. An index never leaves out a rule that would hold; it may only return too many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, partial
from heapq import merge
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from gateway.core.request import IDS, ByIds, Everything, Filter, Selection
from gateway.core.run import Run
from gateway.policy.conditions import ID_LISTS, MEMBERS, PAUSED, asked_values, known, values
from gateway.policy.index.fields import ALLOWED, DENIED, URL, Field, Hits, Urls, Values, common, takes_any
from gateway.policy.model import Rule

_FEW = 4
"""Up to this many rules it is faster to try all than to look up those that list what is asked."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The rules that mention the same fields, need the same ones, and take any value of the same ones."""

    fields: frozenset[str]
    needed: frozenset[str]
    unbounded: frozenset[str]
    places: Sequence[int]
    members: frozenset[int]

    def may_admit(self, carried: frozenset[str], *, by_ids: bool, resolved: bool) -> bool:
        """Return whether the rules could admit a selection by these fields, by IDs or by a filter.

        `resolved` says that a filter may carry fields that the rules do not mention, beside one that they do.
        """
        if by_ids:
            return carried <= self.fields
        mentioned = not carried.isdisjoint(self.fields) if resolved else carried <= self.fields
        return mentioned and self.needed <= carried and self.fields.isdisjoint(ID_LISTS)

    def among(self, hits: Hits, fields: Iterable[str]) -> Sequence[int]:
        """Return the rules that are hit on each of the fields, in their order."""
        found = [one for name in fields if name in hits and name not in self.unbounded for one in hits[name]]
        if not found:
            return self.places
        left: AbstractSet[int] = self.members
        # Start with the fewest: the others are only searched for these.
        for one in sorted(found, key=len):
            left = common(left, one)
        return sorted(left)


class _Shape(NamedTuple):
    """The groups that may admit a selection by some fields, each with those that it mentions, and what is looked up.

    `few` holds the rules of all these groups if there are only a few: then nothing is looked up.
    """

    few: Sequence[Rule] | None
    fitting: Sequence[tuple[_Group, frozenset[str]]]
    asked: Sequence[tuple[str, Callable[[Selection], Sequence[str]]]]


class _Index:
    """The index of some rules, in the order given: by the values that they list and the fields that they mention."""

    def __init__(self, rules: Iterable[Rule], fields: Mapping[str, type[Field]]) -> None:
        self._rules = tuple(rules)
        # Index only fields that a rule mentions: nothing can be found in the others.
        named = frozenset().union(*(rule.conditions for rule in self._rules))
        self._fields = {name: field() for name, field in fields.items() if name in named}
        groups: dict[tuple[frozenset[str], frozenset[str], frozenset[str]], list[int]] = defaultdict(list)
        for place, rule in enumerate(self._rules):
            alone = (place,)
            unbounded = frozenset(name for name in self._fields if takes_any(rule.conditions.get(name)))
            for name in (rule.conditions.keys() & self._fields.keys()) - unbounded:
                self._fields[name].place(rule.conditions[name], alone)
            needed = frozenset(name for name, condition in rule.conditions.items() if not condition.optional)
            groups[frozenset(rule.conditions), needed, unbounded].append(place)
        self._groups = tuple(_Group(*kind, tuple(places), frozenset(places)) for kind, places in groups.items())
        # There are no more shapes of a selection than sets of its seven fields, and single ones of IDs, twice.
        self._by_shape: dict[tuple[frozenset[str], bool, bool], _Shape] = {}

    def prepare(self) -> None:
        """Compute now what is otherwise computed on first use."""
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
    """The index of `allow` rules; built once, never changed."""

    def __init__(self, allows: Iterable[Rule]) -> None:
        super().__init__(allows, ALLOWED)

    def candidates(self, selection: Selection, *, resolved: bool = False) -> Iterator[Rule]:
        """Return every rule that shares something with the selection; of several URLs only the first counts.

        Each comes once, the closest first. No other rule could admit the selection; `resolved` says that one may admit
        a filter of which it mentions only a part.
        """
        if isinstance(selection, Filter):
            urls = selection.workflow_urls
            if not urls:
                return self._at(self._without_url)
            near = self._near(urls[0])
            return chain(near, self._at(self._of_no_url)) if resolved else near
        return self._at(self._naming[selection.name] if isinstance(selection, ByIds) else self._everything)

    def admitting(self, selection: Selection, *, resolved: bool = False) -> Sequence[Rule]:
        """Return every rule that could admit the selection, and perhaps others; each once, in their order."""
        few = self._shape(selection, resolved=resolved).few if selection.carried else None
        return few if few is not None else [*self._at(_in_order(self._admitting(selection, resolved=resolved)))]

    def number(self, selection: Selection, *, resolved: bool = False) -> int:
        """Return how many rules `admitting` returns."""
        return sum(map(len, self._admitting(selection, resolved=resolved)))

    def _admitting(self, selection: Selection, *, resolved: bool) -> list[Sequence[int]]:
        if isinstance(selection, Everything):
            return [self._everything]
        shape = self._shape(selection, resolved=resolved)
        exact = isinstance(selection, Filter) and selection.exact
        hits = {name: self._fields[name].admitting(of(selection), exact=exact) for name, of in shape.asked}
        return [group.among(hits, fields) for group, fields in shape.fitting]

    def _shape(self, selection: Selection, *, resolved: bool) -> _Shape:
        carried, by_ids = selection.carried, isinstance(selection, ByIds)
        shape = self._by_shape.get((carried, by_ids, resolved))
        if shape is None:
            shape = self._shaped(carried, by_ids=by_ids, resolved=resolved)
            self._by_shape[carried, by_ids, resolved] = shape
        return shape

    def _shaped(self, carried: frozenset[str], *, by_ids: bool, resolved: bool) -> _Shape:
        fitting = [group for group in self._groups if group.may_admit(carried, by_ids=by_ids, resolved=resolved)]
        bounding = frozenset().union(*(group.fields - group.unbounded for group in fitting))
        places = sorted(chain.from_iterable(group.places for group in fitting))
        few = [*self._at(places)] if len(places) <= _FEW else None
        mentioned = [(group, carried & group.fields) for group in fitting]
        return _Shape(few, mentioned, [(name, of) for name, of in _ASKED.items() if name in carried & bounding])

    def about(self, url: str, others: Values | None = None) -> Iterator[Rule]:
        """Return every rule that could cover a run with this URL, and perhaps others; each once, in their order.

        `others` holds the run's values of other fields.
        """
        hits = self._touching({URL: (url,), **(others or {})})
        return self._at(_in_order(group.among(hits, group.needed) for group in self._groups))

    def _near(self, url: str) -> Iterator[Rule]:
        exactly, *above = (self._fields.get(URL) or Urls()).about(url, exact=True)
        given: set[int] = set()
        for place in chain(exactly, self._of_any_url, *above):
            if place not in given and (rule := self._rules[place]).id_list is None:
                given.add(place)
                yield rule

    @cached_property
    def _of_any_url(self) -> Sequence[int]:
        return sorted(place for group in self._groups if URL in group.unbounded for place in group.places)

    @cached_property
    def _of_no_url(self) -> Sequence[int]:
        return [place for place in self._without_url if URL not in self._rules[place].conditions]

    @cached_property
    def _naming(self) -> Mapping[str, Sequence[int]]:
        """The rules that bound each field of IDs."""
        return {name: [place for place, rule in enumerate(self._rules) if name in rule.conditions] for name in IDS}

    @cached_property
    def _everything(self) -> Sequence[int]:
        return [place for place, rule in enumerate(self._rules) if rule.admits_everything]

    @cached_property
    def _without_url(self) -> Sequence[int]:
        others = {*self._everything, *chain.from_iterable(self._naming[name] for name in ID_LISTS)}
        groups = (group for group in self._groups if URL not in group.needed)
        return sorted({place for group in groups for place in group.places} - others)


class DenyIndex(_Index):
    """The index of `deny` rules, given in order of name; built once, never changed."""

    def __init__(self, denies: Iterable[Rule]) -> None:
        super().__init__(denies, DENIED)

    def candidates(self, selection: Selection, *, wholly: bool = False) -> Iterator[Rule]:
        """Return every rule that could match the selection, and perhaps others; each once, by name.

        A field that the selection leaves open counts as a match; with `wholly` a rule matches only if all of its fields
        are carried.
        """
        return self._at(_in_order(self._matching(selection, wholly=wholly)))

    def number(self, selection: Selection) -> int:
        """Return how many rules `candidates` returns at most."""
        return sum(map(len, self._matching(selection, wholly=False)))

    def _matching(self, selection: Selection, *, wholly: bool) -> list[Sequence[int]]:
        if not self._rules:
            return []
        carried = selection.carried
        exact = isinstance(selection, Filter) and selection.exact
        hits = self._touching(asked(selection, self._fields), exact=exact)
        groups = (group for group in self._groups if not wholly or group.fields <= carried)
        return [group.among(hits, group.fields) for group in groups]

    def about(self, urls: Iterable[str], others: Values | None = None) -> Iterator[Rule]:
        """Return every rule that could match a run with one of these URLs, by name.

        `others` holds the run's values of other fields.
        """
        if not self._rules:
            return iter(())
        hits = self._touching({URL: tuple(urls), **(others or {})})
        return self._at(_in_order(group.among(hits, group.fields) for group in self._groups))


def _in_order(found: Iterable[Sequence[int]]) -> Iterable[int]:
    """Merge the places of several groups into one order."""
    lists = [places for places in found if places]
    return merge(*lists) if len(lists) > 1 else lists[0] if lists else ()


def seen(run: Run) -> Values:
    """Return a run's values of the fields that are looked up, without its URL."""
    return {
        **dict.fromkeys(ID_LISTS, (run.run_id,)),
        **{field: values(run, field) for field in MEMBERS},
    }


_ASKED: dict[str, Callable[[Selection], Sequence[str]]] = {
    URL: attrgetter("workflow_urls"),
    **{field: partial(asked_values, field=field) for field in (*MEMBERS, *PAUSED)},
    **dict.fromkeys(ID_LISTS, attrgetter("ids")),
}
"""For each field that is looked up, what returns the values of a selection that shows them."""


def asked(selection: Selection, fields: Container[str]) -> Values:
    """Return the values that a selection shows of those of the fields that are looked up."""
    told = known(selection)
    return {field: of(selection) for field, of in _ASKED.items() if field in told and field in fields}
