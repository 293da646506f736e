"""Finds the rules that may speak about a request, so that a judgement costs the same with ten rules or 10,000.

Exact URLs are looked up in a dictionary, prefixes by the segment boundaries of the value; every other rule is tried.
An index never leaves out a rule that would hold: it may only give too many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from gateway.cancel import ByFilter, ByRunIds, Selection
from gateway.policy.model import Rule, UrlCondition


class AllowIndex:
    """`allow` rules by what they say about the URL; built once, never changed."""

    def __init__(self, allows: Iterable[Rule]) -> None:
        self._exact: dict[str, list[Rule]] = defaultdict(list)
        self._prefix: dict[str, list[Rule]] = defaultdict(list)
        self._any_url: list[Rule] = []
        self._no_url: list[Rule] = []
        self._run_ids: list[Rule] = []
        self._everything: list[Rule] = []
        for rule in allows:
            self._place(rule)

    def _place(self, rule: Rule) -> None:
        if "workflowRunIds" in rule.conditions:
            self._run_ids.append(rule)
            return
        if rule.admits_everything:
            self._everything.append(rule)
            return
        url = rule.conditions.get("workflowUrl")
        if not isinstance(url, UrlCondition):
            self._no_url.append(rule)
            return
        if url.optional:
            self._no_url.append(rule)
        if url.any:
            self._any_url.append(rule)
        for value in url.exact:
            self._exact[value].append(rule)
        for value in url.prefix:
            self._prefix[value].append(rule)

    def candidates(self, selection: Selection) -> Sequence[Rule]:
        """Every rule that could admit the selection, and perhaps some that do not; each once."""
        match selection:
            case ByRunIds():
                return self._run_ids
            case ByFilter(workflow_urls=[first, *_]):
                return self._at(first)
            case ByFilter():
                return self._no_url
        return self._everything

    def about(self, url: str) -> Sequence[Rule]:
        """Every rule that could cover a run of this URL, and perhaps some that do not; each once."""
        return _each_once([*self._at(url), *self._no_url, *self._run_ids, *self._everything])

    def _at(self, url: str) -> Sequence[Rule]:
        found = [*self._exact.get(url, ()), *self._any_url]
        for prefix in _boundaries(url):
            found += self._prefix.get(prefix, ())
        # Where the gateway matches, the page itself lies in a prefix that is written with the final slash.
        found += self._prefix.get(url + "/", ())
        return _each_once(found)


class DenyIndex:
    """`deny` rules by their URLs: an exact URL can only touch what names it or lies above it."""

    def __init__(self, denies: Sequence[Rule]) -> None:
        self._all = denies
        self._by_url: dict[str, list[Rule]] = defaultdict(list)
        self._others: list[Rule] = []
        for rule in denies:
            self._place(rule)

    def _place(self, rule: Rule) -> None:
        url = rule.conditions.get("workflowUrl")
        if not isinstance(url, UrlCondition):
            self._others.append(rule)
            return
        for value in (*url.exact, *url.prefix):
            self._by_url[value].append(rule)

    def candidates(self, selection: Selection) -> Sequence[Rule]:
        """Every rule that could match the selection, by name; whatever leaves the URL open can touch all of them."""
        if not isinstance(selection, ByFilter) or not selection.exact:
            return self._all
        return self.about(selection.workflow_urls)

    def about(self, urls: Iterable[str]) -> Sequence[Rule]:
        """Every rule that could match a run of one of these URLs, by name."""
        found = list(self._others)
        for url in urls:
            for prefix in above(url):
                found += self._by_url.get(prefix, ())
        return sorted(_each_once(found), key=lambda rule: (rule.policy, rule.id))


def above(url: str) -> frozenset[str]:
    """The URL and every prefix that it is below for a `deny`: a closing `/` or a ?query makes no difference."""
    page = url.partition("?")[0]
    return frozenset((*_boundaries(url), *_boundaries(page), url + "/", page + "/"))


def _each_once(rules: Iterable[Rule]) -> Sequence[Rule]:
    return list({rule.name: rule for rule in rules}.values())


def _boundaries(url: str) -> Iterator[str]:
    """Every prefix of the URL that ends at a segment boundary, with and without the final `/`."""
    yield url
    at = url.find("/", len("https://"))
    while at != -1:
        yield url[:at]
        if at + 1 < len(url):
            yield url[: at + 1]
        at = url.find("/", at + 1)
