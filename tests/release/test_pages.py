"""The pages as a site: every link leads somewhere, and nothing is loaded from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from release.pages import Page, built, elsewhere, not_listed, problems, spaced
from tests.support.project import ROOT

TOOLS = ROOT / "build" / "pages" / "bin"

NAMES_OF_FORMATS = {"www.w3.org"}
CREDITS = {"fontawesome.com"}
NOT_ASKED = {"unpkg.com", "cdn.jsdelivr.net", "api.github.com"}
"""Where the theme's script would load diagrams, picture boxes, a Python and a repository's stars, had a page any."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it; skips without the builder, which `make test` installs."""
    if not (TOOLS / "zensical").exists():
        assert os.environ.get("CI") != "true", "what builds the pages is not installed"
        pytest.skip("what builds the pages is not installed: make docs")
    directory = tmp_path_factory.mktemp("site") / "site"
    command = [str(TOOLS / "python"), "-m", "release.pages", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_the_site_holds_every_page(site: Path) -> None:
    """Each page of the repository that is for readers, under its own path, and reachable from the menu."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    shown = [path.relative_to(ROOT).with_suffix(".html").as_posix().replace("README", "index") for path in pages]
    assert [name for name in shown if not (site / name).is_file()] == []
    assert list(not_listed(site)) == []


def test_the_site_has_nothing_wrong(site: Path) -> None:
    """No link without an end, no anchor that a page lacks, nothing from elsewhere, no list that became a paragraph."""
    assert list(problems(site)) == []


def test_the_script_of_the_theme_knows_no_further_address(site: Path) -> None:
    """Those that it knows are refused by each page's policy; a new one is to be looked at before it is let in."""
    scripts = [path.read_text() for path in site.rglob("*.js")]
    hosts = {urlsplit(found).hostname for one in scripts for found in re.findall(r"https?://[\w.-]+", one)}
    assert scripts
    assert hosts <= NAMES_OF_FORMATS | CREDITS | NOT_ASKED


def test_a_link_that_leads_elsewhere_is_one_that_a_page_has(site: Path) -> None:
    """The builder's own credit aside, nothing adds an address to what is written."""
    written = "".join(path.read_text() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    assert [link for link in elsewhere(site) if link not in written] == ["https://zensical.org/"]


def test_a_directory_with_something_else_is_left_alone(tmp_path: Path) -> None:
    """A path that was mistyped costs nothing."""
    (tmp_path / "mine").touch()
    with pytest.raises(FileExistsError):
        built(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


GOOD = """<meta http-equiv="Content-Security-Policy" content="default-src 'self'; img-src data:"><h1 id="a">A</h1>"""
BAD = {
    "a script": ('<script src="https://cdn.example.com/x.js"></script>', "loads https://cdn.example.com/x.js"),
    "a style": ('<link rel="stylesheet" href="//cdn.example.com/x.css">', "loads //cdn.example.com/x.css"),
    "a picture": ('<img src="http://example.com/x.png">', "loads http://example.com/x.png"),
    "one of several pictures": ('<img srcset="a.html 1x, //e.example/x.png 2x">', "loads //e.example/x.png"),
    "a style in the page": ("<style>@import '//e.example/x.css';</style>", "loads //e.example/x.css"),
    "a style of an element": ('<p style="background: url(https://e.example/)">', "loads https://e.example/"),
    "a page that is not there": ('<a href="b.html">b</a>', "links to b.html, which is not there"),
    "an anchor that is not there": ('<a href="#b">b</a>', "links to #b, which is not there"),
    "a directory without a page": ('<a href="empty/">b</a>', "links to empty/, which is not there"),
    "a list that is text": ("<p>So:\n- one</p>", "shows as text what was meant as Markdown: - one"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_page_is_found(tmp_path: Path, case: str) -> None:
    """One thing in an otherwise good page, and one sentence about it."""
    text, said = BAD[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.html").write_text(GOOD + text)
    assert list(problems(tmp_path)) == [f"a.html {said}"]


def test_a_page_that_allows_everything_is_found(tmp_path: Path) -> None:
    """Without the policy the theme's script could ask others."""
    (tmp_path / "a.html").write_text('<a href="a.html#b" id="b">b</a>')
    assert list(problems(tmp_path)) == ["a.html does not forbid to load from elsewhere"]


def test_a_style_file_is_looked_through(tmp_path: Path) -> None:
    """A font from elsewhere is what themes load most."""
    (tmp_path / "a.css").write_text("@font-face{src:url(https://f.example/x.woff2)}p{background:url(data:x)}")
    assert list(problems(tmp_path)) == ["a.css loads https://f.example/x.woff2"]


def test_a_page_is_staged_as_its_writer_meant_it() -> None:
    """A list right after a paragraph gets its empty line; lists, their further lines, code and headings stay."""
    text = "So:\n- one\n  more\n- two\n\n```sh\nls\n- x\n```\n# Title\n- three\nand 20. is no list\n"
    assert spaced(text) == text.replace("So:\n", "So:\n\n")
    assert Page("<p>20. System calls</p><pre>- x</pre>").misread == []
