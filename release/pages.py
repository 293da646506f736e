"""`python -m release.pages DIRECTORY`: builds the pages as a site, and checks it; needs requirements/docs.txt.

The pages are staged as the repository has them, so that a relative link means the same in both. Every link to a page
of the site is followed; those that lead elsewhere are listed and not followed. Nothing may be loaded from elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

ROOT = Path(__file__).parents[1]
SITE = Path(__file__).with_name("site")
SHOWN = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "config.example.yaml"),
    *("docs", "policies", "schemas"),
)
"""What the site holds. What a page links to belongs here as well."""

FOREIGN_IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")
POLICY = "default-src 'self';"

_MADE_BY_THE_THEME = re.compile(r"__\w+")  # an anchor that its script makes
_LOADS = {
    **dict.fromkeys(("script", "img", "iframe", "source", "video", "audio", "embed", "track", "input"), "src"),
    **dict.fromkeys(("link", "use", "image"), "href"),
}
_NOT_READ_AS_MEANT = re.compile(r"^ *(?:[-*] |1\. |\| |```).*", re.MULTILINE)
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LIST_AFTER_TEXT = re.compile(r"^(?![-*] |1\. | |#)(.+)\n(?=[-*] |1\. )", re.MULTILINE)


class Page(HTMLParser):
    """A page of the site: what it links to, what it loads, its anchors, and Markdown that it shows as text."""

    def __init__(self, text: str) -> None:
        """Read the text of an HTML file."""
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.misread: list[str] = []
        self.policy = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the element names."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if _LOADS.get(tag, "") in given:
            self.loads.append(given[_LOADS[tag]])
        self.loads += [one.split()[0] for one in given.get("srcset", "").split(",") if one.strip()]
        self.loads += FOREIGN_IN_STYLES.findall(given.get("style", ""))
        if given.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = given["content"]
        if tag in {"p", "code", "pre", "script", "style"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave the element."""
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        """Look for a list, a table or a fence that has become text of a paragraph."""
        if self._open[-1:] == ["style"]:
            self.loads += FOREIGN_IN_STYLES.findall(data)
        if self._open == ["p"]:
            self.misread += _NOT_READ_AS_MEANT.findall(data)


def built(directory: Path) -> None:
    """Build the site there, in the place of an earlier one.

    Raises: FileExistsError: something else is there. CalledProcessError: a page cannot be built.
    """
    if directory.exists() and any(directory.iterdir()) and not (directory / "sitemap.xml").is_file():
        raise FileExistsError(f"{directory} holds something else than a site")
    with tempfile.TemporaryDirectory() as made:
        project = Path(made)
        shutil.copytree(SITE, project, dirs_exist_ok=True)
        _stage(project / "pages")
        tool = Path(sys.executable).with_name("zensical")
        done = subprocess.run([tool, "build", "--strict"], cwd=project, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(done.stdout + done.stderr)
            done.check_returncode()
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(project / "site", directory)


def _stage(pages: Path) -> None:
    """Copy what is shown, and give each directory without a page one that lists its files."""
    pages.mkdir()
    for name in SHOWN:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, pages / name, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        else:
            shutil.copy(ROOT / name, pages / name)
    for page in pages.rglob("*.md"):
        page.write_text(spaced(page.read_text()))
    for folder in sorted(path for path in pages.rglob("*") if path.is_dir() and not list(path.glob("*.md"))):
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        listed = "".join(f"- [{name}]({name})\n" for name in files)
        (folder / "README.md").write_text(f"# {folder.relative_to(pages)}\n\n{listed}")


def spaced(text: str) -> str:
    """Return a page with an empty line before each list: GitHub needs none after a paragraph, and the builder does."""
    return "".join(
        part if number % 2 else _LIST_AFTER_TEXT.sub(r"\1\n\n", part) for number, part in enumerate(_FENCE.split(text))
    )


def problems(site: Path) -> Iterator[str]:
    """Say what is wrong with a built site, a sentence for each."""
    for path in sorted(site.rglob("*.html")):
        name, page = path.relative_to(site).as_posix(), _page(path)
        if not page.policy.startswith(POLICY):
            yield f"{name} does not forbid to load from elsewhere"
        yield from (f"{name} loads {load}" for load in page.loads if _foreign(load))
        yield from (f"{name} shows as text what was meant as Markdown: {text}" for text in page.misread)
        for link in page.links + page.loads:
            if not _foreign(link) and not _resolves(site, name, link):
                yield f"{name} links to {link}, which is not there"
    for path in sorted(site.rglob("*.css")):
        yield from (f"{path.name} loads {load}" for load in FOREIGN_IN_STYLES.findall(path.read_text()))


def not_listed(site: Path) -> Iterator[str]:
    """Name each page of docs/ that the menu leaves out; decisions are listed by their own page."""
    listed = set(_named(tomllib.loads((SITE / "zensical.toml").read_text())["project"]["nav"]))
    for path in sorted((site / "docs").rglob("*.html")):
        name = path.relative_to(site).with_suffix(".md").as_posix()
        if path.stem != "index" and not name.startswith("docs/adr/") and name not in listed:
            yield f"{name} is not in the menu: give it a line in release/site/zensical.toml"


def elsewhere(site: Path) -> set[str]:
    """Return the addresses outside that pages link to; nobody follows them here."""
    return {link for path in site.rglob("*.html") for link in _page(path).links if _foreign(link)}


@cache
def _page(path: Path) -> Page:
    return Page(path.read_text())


def _foreign(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def _resolves(site: Path, name: str, link: str) -> bool:
    """Whether a link of a page leads to a file of the site, and to an anchor of it."""
    if link.startswith("data:"):
        return True
    parts = urlsplit(urljoin(f"/{name}", link))
    path = site / unquote(parts.path).lstrip("/")
    path = path / "index.html" if path.is_dir() else path
    anchor = unquote(parts.fragment)
    if not path.is_file() or not anchor or _MADE_BY_THE_THEME.match(anchor):
        return path.is_file()
    return path.suffix == ".html" and anchor in _page(path).anchors


def _named(menu: object) -> Iterator[str]:
    """Each page of a menu, however deep."""
    if isinstance(menu, str):
        yield menu
    elif isinstance(menu, dict | list):
        for one in menu.values() if isinstance(menu, dict) else menu:
            yield from _named(one)


def main() -> int:
    """Build the site, print what is wrong with it and where it links to; return 1 if anything is wrong."""
    site = Path(sys.argv[1])
    built(site)
    wrong = [*problems(site), *not_listed(site)]
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    links = sorted(elsewhere(site))
    count = len(list(site.rglob("*.html")))
    sys.stdout.write(f"{site}: {count} pages; {len(links)} links lead elsewhere, not followed:\n")
    sys.stdout.writelines(f"  {link}\n" for link in links)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
