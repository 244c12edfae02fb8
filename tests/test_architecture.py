"""One direction, no way back: what each module may import, and what `import qkvlab` may load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qkvlab

PACKAGE = Path(qkvlab.__file__).parent
ORDER = (
    ("axes", "_shapes", "_parallel", "_memory"), ("errors",), ("products",), ("mechanism",), ("scoring",),
    ("text", "_bytelevel"),
    ("spec",), ("checkpoint",), ("headweights", "models"), ("aim",), ("edits",), ("recording",), ("trace",), ("model",),
    ("reference",), ("livetrace",), ("live",), ("live_folder",),
    ("words", "overview", "onehead", "residual", "residual_parts"),
    ("captured_residual",), ("captured_parts",), ("questions",),
    ("why_score",), ("circuit_measures",), ("file_words",), ("circuit_source",), ("circuits",), ("circuit_report",),
    ("kvtables",),
    ("kvlayers",), ("kvcache",), ("effects", "sharing"), ("grouping",), ("grouped",), ("census",), ("anatomy",),
    ("export",), ("rewrite", "rearranged"), ("native_group", "captured_group"),
    ("regroup",), ("show",), ("show_parts",), ("atlas",), ("server",), ("course",),
    ("cli_common", "cli_options"), ("cli_atlas", "cli_weights"), ("cli",), ("__main__",),
)  # fmt: skip
"""ARCHITECTURE.md, "The walk", with the small modules in their places. A row imports only from the rows above."""

UPHILL = {
    ("trace", "model", "type"): "a Trace is made by a Model and keeps it: named in a signature, never called up",
    ("livetrace", "live", "type"): "as Trace and Model: named in a signature, never called up",
    ("model", "live", "function"): "a live transformers model is opened where it is, when one is given",
    ("model", "live_folder", "function"): "a family without a file of its own is opened by transformers, when asked",
    ("model", "reference", "function"): "the mean over the reference text is a trace of its own, run when asked for",
}
"""Today's exceptions: (module, what it imports, where), each with its reason."""

HEAVY = ("torch", "transformers", "rich", "huggingface_hub", "gguf", "jaxtyping", "safetensors", "click", "tokenizers",
         "starlette", "uvicorn", "websockets", "markdown_it", "yaml")  # fmt: skip


def place(module: str) -> int:
    """The row of a module (`checkpoint.gguf` stands in the row of `checkpoint`)."""
    top = module.partition(".")[0]
    return next(row for row, names in enumerate(ORDER) if top in names)


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        dotted = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[dotted.removesuffix(".__init__")] = path
    del found["__init__"]
    return found


def imports(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """(what, where) for every import within the package; where: top, function, or type (for annotations only)."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]

    def walk(node: ast.AST, where: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            at = where
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and at == "top":
                at = "function"
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                at = "type"
            if isinstance(child, ast.ImportFrom) and child.level:
                base = package[: len(package) - child.level + 1]
                base += child.module.split(".") if child.module else []
                for name in child.names if not base or not child.module else [None]:
                    yield ".".join([*base, *([name.name] if name else [])]), at
            elif isinstance(child, ast.ImportFrom | ast.Import):
                named = [child.module] if isinstance(child, ast.ImportFrom) else [name.name for name in child.names]
                yield from ((name.removeprefix("qkvlab."), at) for name in named if name and name.startswith("qkvlab"))
            yield from walk(child, at)

    return walk(ast.parse(path.read_text(encoding="utf-8")), "top")


def known(target: str) -> bool:
    return target.partition(".")[0] in {name for names in ORDER for name in names}


def climbs() -> set[tuple[str, str, str]]:
    found = set()
    for module, path in modules().items():
        for target, where in imports(path, module):
            if known(target) and place(target) > place(module):
                found.add((module, target.partition(".")[0], where))
    return found


def test_every_module_has_a_place() -> None:
    tops = {module.partition(".")[0] for module in modules()}
    assert tops == {name for names in ORDER for name in names}


def test_imports_are_seen() -> None:
    """The reader of imports finds what is known to be there (else the test below would prove nothing)."""
    paths = modules()
    seen = {(module, *found) for module in paths for found in imports(paths[module], module)}
    assert ("edits.scores", "models.common", "top") in seen
    assert ("checkpoint.config", "errors", "top") in seen
    assert ("checkpoint.gguf_config", "checkpoint.tensors", "top") in seen
    assert ("models", "models.llama", "top") in seen or ("models", "models.bert", "top") in seen
    assert ("show", "anatomy", "type") in seen
    assert ("cli_weights", "anatomy", "function") in seen
    assert ("model", "text", "function") in seen


def test_no_import_runs_uphill() -> None:
    assert climbs() - UPHILL.keys() == set()


def test_the_exceptions_are_todays() -> None:
    assert climbs() == UPHILL.keys(), "an exception that is gone must leave the list"


def test_the_public_face() -> None:
    assert set(qkvlab.__all__) >= {"open_model", "ask", "find", "Head", "Trace", "Model", "QkvLabError"}
    for name in qkvlab.__all__:
        assert getattr(qkvlab, name) is not None
    assert set(qkvlab.__all__) <= set(dir(qkvlab))
    with pytest.raises(AttributeError, match="'qkvlab' has no attribute 'nothing'"):
        _ = qkvlab.nothing


def loaded_by(code: str) -> set[str]:
    """The heavy libraries in a clean interpreter after this code."""
    code += f"\nimport sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_is_light() -> None:
    assert loaded_by("import qkvlab") == set()
    assert loaded_by("import qkvlab.model") == set()
    assert loaded_by("import qkvlab.cli") <= {"click"}


def test_the_main_job_is_light(smollm2_path: Path) -> None:
    """From a GGUF file to the measured weight, without PyTorch, tables, the hub or the `gguf` package."""
    words = "['qkvlab', 'find', 'The cat drank', '--query', ' drank', '--key', ' cat', '--json']"
    code = f"import sys; from qkvlab.cli import cli; sys.argv = {words}; cli.main(standalone_mode=False)"
    assert loaded_by(code) == {"click", "tokenizers"}


def test_inspecting_needs_no_tokenizer(smollm2_path: Path) -> None:
    code = f"from qkvlab.anatomy import inspect; inspect({str(smollm2_path)!r})"
    assert loaded_by(code) == set()


def test_a_heads_weights_need_no_tokenizer_and_no_hub(smollm2_path: Path) -> None:
    assert loaded_by("import qkvlab; qkvlab.weights('smollm2', '13.8')") == set()
