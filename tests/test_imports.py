"""Who may import whom: a folder of `ner` imports itself and what stands above it in `ORDER`."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = [
    *("errors", "files", "tensors", "tags", "config"),
    "runtime",
    "annotations",
    "data",
    "layers",
    "encoders",
    "heads",
    "model",
    "inference",
    "scoring",
    "training",
    "pretraining",
    "studies",
]
REQUIRED = {"torch", "torchcrf", "seqeval", "tqdm", "numpy", "safetensors", "tokenizers"}
EXTRAS = {
    "gensim",
    "jieba",
    "optuna",
    "matplotlib",
    "fastapi",
    "uvicorn",
    "onnx",
    "onnxruntime",
    "onnxscript",
}
RIVALS = {"transformers", "accelerate"}  # a benchmark imports them where it runs them
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
WITHOUT_TORCH = (
    *("errors", "files", "tags", "config", "annotations", "studies/significance", "studies/results"),
    *(f"data/{name}" for name in ("sentence", "words", "tokenizer", "folder", "build")),
    "data/wording",
    *("data/windows", "data/download", "data/formats", "data/audit", "scoring/tables"),
)
FILES = sorted((ROOT / "ner").rglob("*.py"))
BENCHMARKS = sorted(ROOT.glob("benchmarks/*.py"))
SCRIPTS = sorted([*ROOT.glob("*.py"), *ROOT.glob("tools/*.py")])


def make_tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(nodes):
    """Dotted names of the modules imported, `from a import b` as a.b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import, expected from ner..."
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import(tree):
    """The nodes that run when the module is imported: all but the bodies of functions."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def packages(names):
    return {name.partition(".")[0] for name in names}


def parts(names):
    """Of `ner.x...` the x."""
    return {name.split(".")[1] for name in names if name.startswith("ner.")}


def part_of(path):
    """`ner/heads/crf.py` -> heads, `ner/tags.py` -> tags, `ner/__init__.py` -> "" (imports nothing)."""
    inner = path.relative_to(ROOT / "ner").parts
    return inner[0].removesuffix(".py").replace("__init__", "")


def attributes(tree):
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def called(tree):
    return {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def named(path):
    return str(path.relative_to(ROOT))


def test_the_order_knows_every_folder():
    assert {part_of(path) for path in FILES} - {""} == set(ORDER), "a line is missing here, or one too many"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_module_imports_what_stands_above_it(path):
    part = part_of(path)
    allowed = {part, *ORDER[: ORDER.index(part)]} if part else set()
    assert parts(imports(ast.walk(make_tree(path)))) <= allowed


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_module_imports_required_packages_alone(path):
    """An extra is imported where it is used, inside a function; transformers nowhere."""
    tree = make_tree(path)
    ours = {"ner", *sys.stdlib_module_names}
    assert packages(imports(at_import(tree))) - ours <= REQUIRED
    assert packages(imports(ast.walk(tree))) - ours <= REQUIRED | EXTRAS
    if named(path).removeprefix("ner/").removesuffix(".py").startswith(WITHOUT_TORCH):
        assert not {"torch", "torchcrf", "safetensors"} & packages(imports(ast.walk(tree)))


def test_every_module_has_a_file_of_tests_in_its_place():
    """`ner/data/words.py` is tested by tests/data/test_words.py."""
    modules = [path.relative_to(ROOT / "ner") for path in FILES if path.name != "__init__.py"]
    mirrors = [ROOT / "tests" / path.with_name(f"test_{path.name}") for path in modules]
    assert [named(mirror) for mirror in mirrors if not mirror.is_file()] == []


def test_a_batch_knows_torch_alone():
    names = packages(imports(ast.walk(make_tree(ROOT / "ner" / "data" / "batch.py"))))
    assert names == {"torch", "typing"}


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name != "runtime"], ids=named)
def test_only_runtime_parses_arguments_reads_the_environment_and_prints(path):
    tree = make_tree(path)
    assert "argparse" not in packages(imports(ast.walk(tree)))
    assert not {"os.environ", "os.getenv", "sys.argv", "sys.exit"} & attributes(tree)
    assert not {"print", "input", "exit"} & called(tree)


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_a_program_is_made_of_the_package(path):
    """Parts of `ner`, required packages, and extras where they are used; never transformers."""
    tree = make_tree(path)
    tools = {"tools", *(script.stem for script in SCRIPTS)}
    known = {"ner", *tools, *sys.stdlib_module_names}
    assert packages(imports(at_import(tree))) - known <= REQUIRED
    assert packages(imports(ast.walk(tree))) - known <= REQUIRED | EXTRAS
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"parse_args", "main"} <= functions


@pytest.mark.parametrize("path", BENCHMARKS, ids=named)
def test_a_benchmark_imports_rivals_only_where_it_runs_them(path):
    tree = make_tree(path)
    known = {"ner", "benchmarks", *(script.stem for script in SCRIPTS), *sys.stdlib_module_names}
    assert packages(imports(at_import(tree))) - known <= REQUIRED
    assert packages(imports(ast.walk(tree))) - known <= REQUIRED | RIVALS


@pytest.mark.parametrize("path", [*FILES, *SCRIPTS, *BENCHMARKS], ids=named)
def test_data_never_becomes_code(path):
    """No pickle is opened but by torch's reader of tensors alone, and no text is run."""
    tree = make_tree(path)
    assert not UNPICKLERS & packages(imports(ast.walk(tree)))
    assert not {"eval", "exec", "compile", "__import__"} & called(tree)
    assert not {"importlib.import_module", "torch.hub.load", "torch.jit.load"} & attributes(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        options = {option.arg: ast.unparse(option.value) for option in call.keywords}
        if ast.unparse(call.func) == "torch.load":
            assert options.get("weights_only") == "True", f"line {call.lineno}"
        assert options.get("allow_pickle", "False") == "False", f"line {call.lineno}"


def test_nothing_heavy_is_imported_by_the_package_itself():
    assert list(imports(ast.walk(make_tree(ROOT / "ner" / "__init__.py")))) == []


MAX_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 300, 60, 7
# where longer reads better: file, or file and function -> reason
EXCEPTIONS: dict[str, str] = {}


def functions(path):
    tree = make_tree(path)
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", [*FILES, *SCRIPTS, *BENCHMARKS], ids=named)
def test_files_and_functions_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES or named(path) in EXCEPTIONS
    for function in functions(path):
        if f"{named(path)} {function.name}" in EXCEPTIONS:
            continue
        arguments = function.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        assert function.end_lineno - function.lineno < MAX_FUNCTION_LINES, function.name
        assert len([name for name in names if name not in ("self", "cls")]) <= MAX_PARAMETERS, function.name


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.py")), ids=named)
def test_a_program_stays_under_150_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_arguments_are_never_written_to(path):
    for node in ast.walk(make_tree(path)):
        targets = node.targets if isinstance(node, ast.Assign) else []
        assert not any(ast.unparse(target).startswith("args.") for target in targets), f"line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_part_is_asked_what_it_has(path):
    """A base class raises the error for a missing ability; no code asks for an attribute."""
    assert "hasattr" not in called(make_tree(path))


def test_the_package_has_few_files_of_its_own():
    assert len(list((ROOT / "ner").glob("*.py"))) <= 8
