"""The pages: every command is one that its program accepts, every link leads somewhere, README is short."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests.test_imports import ORDER

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh.md")
PAGES = [
    *(str(path.relative_to(ROOT)) for path in sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md")])),
    *("data/msra/README.md", "experiments/LOG.md", "experiments/ablation/README.md"),
    "pretrained/zh-small/README.md",
]
LEAST_COMMANDS = {
    **{"README.md": 8, "README.zh.md": 8, "docs/data.md": 9, "docs/params.md": 2, "docs/results.md": 17},
    **{"docs/studies.md": 4, "docs/devices.md": 2, "docs/pretraining.md": 6, "docs/vectors.md": 1},
    **{"docs/speed.md": 17, "data/msra/README.md": 2},
    **{"experiments/ablation/README.md": 11, "pretrained/zh-small/README.md": 4},
}
PROGRAM = r"(?:python|torchrun --[^\n]*?) ((?:tools/)?\w+)\.py"
BENCHMARK = r"python -m (benchmarks\.\w+)"
COMMAND = re.compile(rf"(?:{PROGRAM}|{BENCHMARK})([^\n#|>;`]*)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
TREE_LINE = re.compile(r"^    ([\w./-]+(?: [\w./-]+)*)  +\S")
TREE_HEADINGS = ("## What is here", "## 仓库内容")


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(text):
    """The anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def tree_paths(text):
    """The paths in the annotated tree of a README."""
    section = next(part for part in text.split("\n## ") if f"## {part}".startswith(TREE_HEADINGS))
    lines = [line for line in section.splitlines() if line.startswith("    ")]
    return [path for line in lines for path in TREE_LINE.match(line)[1].split()]


def test_every_page_with_commands_is_known():
    assert set(LEAST_COMMANDS) <= set(PAGES)
    assert [page for page in PAGES if COMMAND.search(read(page)) and page not in LEAST_COMMANDS] == []


@pytest.mark.parametrize("page", LEAST_COMMANDS)
def test_every_command_of_a_page_is_accepted_by_its_program(page):
    commands = COMMAND.findall(read(page).replace("\\\n", " "))
    assert len(commands) >= LEAST_COMMANDS[page]
    for script, benchmark, options in commands:
        options = options.replace("$seed", "1").replace("$run", "run").replace("...", "")
        module = importlib.import_module(benchmark or script.replace("/", "."))
        module.parse_args(shlex.split(options))


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_points_to_a_file_and_an_anchor_that_exist(page):
    text = read(page)
    missing = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize("readme", READMES)
def test_a_readme_is_one_page_with_short_lines(readme):
    assert len(read(readme).encode()) <= 10_000
    assert [line for line in read(readme).splitlines() if len(line) > 400] == []


@pytest.mark.parametrize("readme", READMES)
def test_the_tree_of_a_readme_names_what_exists_and_every_folder_of_ner(readme):
    paths = tree_paths(read(readme))
    assert [path for path in paths if not (ROOT / path).exists()] == []
    folders = {f"ner/{path.parent.name}/" for path in ROOT.glob("ner/*/__init__.py")}
    assert folders - set(paths) == set()


def test_both_readmes_have_the_same_commands_links_and_tree():
    english, chinese = map(read, READMES)
    assert COMMAND.findall(english) == COMMAND.findall(chinese)
    assert tree_paths(english) == tree_paths(chinese)
    links = [[link for link in LINK.findall(text) if link not in READMES] for text in (english, chinese)]
    assert links[0] == links[1]


def test_the_import_order_of_the_architecture_is_the_one_that_is_checked():
    section = read("docs/architecture.md").partition("## Import order")[2].partition("\n- ")[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    assert ", ".join(lines).split(", ") == ORDER
