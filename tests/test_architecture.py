"""The rules of the house that neither ruff, mypy nor import-linter can say."""

import ast
import functools
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest

from tests.tenant_filter import ALLOWED, owned_tables, unfiltered

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "billing", "provisioning")
CODE = (*PACKAGES, "bench", "tests")

LINES_PER_FILE = 400
LINES_PER_FUNCTION = 70
# The one bounded look at other processes, which tell nobody when they are done.
BOUNDED_WAITING = ROOT / "tests" / "waiting.py"
FIRST_PARTY_IMPORTS_PER_FILE = 10

# Where a process ends, an unknown error has to become an exit status, an answer or a log line.
PROCESS_EDGES = ("api/cli.py", "api/main.py", "api/worker.py")

PURE_MODULES = (
    *("billing.dunning_plan", "billing.iban", "billing.money", "billing.notice_texts", "billing.periods"),
    *("billing.rating", "billing.target_days", "billing.terms", "billing.vat", "billing.vat_territory"),
    *("provisioning.planner", "provisioning.roles", "provisioning.terms"),
)
# Part of the standard library, but the outside world all the same.
IMPURE_LIBRARY = {"asyncio", "logging", "os", "random", "secrets", "socket", "subprocess", "time", "uuid"}
CLOCK_READERS = {"now", "today", "utcnow"}

# Written with one-letter classes so that this file does not match itself.
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b")
INDEX_HOST = re.compile(
    r"(?<!no-emit-)(index-ur[l]|find-link[s])|\[\[?tool\.uv\.inde[x]|\"resolve[d]\"\s*:|\"registr[y]\"\s*:"
    r"|pypi\.or[g]/simple|files\.pythonhoste[d]|registry\.(npmj[s]|yarnpk[g])"
)
SILENCER = re.compile(
    r"#\s*(?:(?:ruff|flake8):\s*noqa|noqa|type:\s*ignore|mypy:)"
    r"(?:\[[^\]]*\]|:?\s*[A-Z]{1,6}\d{3,4}(?:[,\s]+[A-Z]{1,6}\d{3,4})*)?(?P<rest>.*)"
)
REASON = re.compile(r"[A-Za-z]{2,}\W+[A-Za-z]{2,}")


# What there is to look at -----------------------------------------------------------------------------


@functools.cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """Every Python file below these folders; folders that do not exist hold none."""
    return tuple(sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, line: int | None = None) -> str:
    name = path.relative_to(ROOT).as_posix()
    return name if line is None else f"{name}:{line}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions_of(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each imported module; `from package import module` names the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            full_names = (f"{base}.{alias.name}" for alias in node.names)
            named = {name if is_module(name) else base for name in full_names}
            yield from ((node.lineno, name) for name in sorted(named))


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def comments_of(path: Path) -> Iterator[tuple[int, str]]:
    source = io.StringIO(path.read_text(encoding="utf-8"))
    for token in tokenize.generate_tokens(source.readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@functools.cache
def project_files() -> tuple[Path, ...]:
    """Every file that is or could be committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive, or another user's checkout
        pytest.skip("git cannot list this directory")
    files = (ROOT / name for name in listed.split("\0") if name)
    return tuple(path for path in files if path.is_file() and not path.is_symlink())


def held(faults: list[str]) -> None:
    """Fail with one fault a line: file, line and what is wrong."""
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


# Size -------------------------------------------------------------------------------------------------


class TestSize:
    def test_no_file_is_longer_than_a_reader_holds_in_mind(self) -> None:
        lengths = {
            path: len(path.read_text(encoding="utf-8").splitlines()) for path in (*python_files(*CODE), ROOT / "dev.py")
        }
        held([f"{place(path)}: {n} lines" for path, n in lengths.items() if n > LINES_PER_FILE])

    def test_no_function_is_longer_than_a_page(self) -> None:
        # A migration is a list of steps in one function by nature, so alembic/ is not asked.
        held(
            [
                f"{place(path, function.lineno)}: {function.name} has {length} lines"
                for path in (*python_files(*CODE), ROOT / "dev.py")
                for function in functions_of(tree_of(path))
                if (length := (function.end_lineno or 0) - function.lineno + 1) > LINES_PER_FUNCTION
            ]
        )

    def test_no_file_depends_on_too_many_of_ours(self) -> None:
        faults = []
        for path in python_files(*CODE):
            # Siblings named in one statement, such as the routers, are one dependency: on their package.
            statements = groupby(imports_of(tree_of(path)), key=itemgetter(0))
            sets = [{name for _, name in named if name.split(".")[0] in CODE} for _, named in statements]
            places = {min(names) if len(names) == 1 else min(names).rpartition(".")[0] for names in sets if names}
            if len(places) > FIRST_PARTY_IMPORTS_PER_FILE:
                faults.append(f"{place(path)}: imports from {len(places)} places of ours")
        held(faults)


# Imports ----------------------------------------------------------------------------------------------


class TestImports:
    def test_the_import_contracts_are_kept(self) -> None:
        if not all((ROOT / package / "__init__.py").is_file() for package in PACKAGES):
            pytest.skip("a package is missing")
        command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
        result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr

    def test_pure_modules_import_the_standard_library_and_each_other_only(self) -> None:
        allowed = sys.stdlib_module_names - IMPURE_LIBRARY
        held(
            [
                f"{place(path, line)}: a pure module imports {name}"
                for path in pure_files()
                for line, name in imports_of(tree_of(path))
                if not is_pure(name) and name.split(".")[0] not in allowed
            ]
        )

    def test_pure_modules_do_not_ask_the_clock(self) -> None:
        held(
            [
                f"{place(path, node.lineno)}: a pure module reads the clock"
                for path in pure_files()
                for node in ast.walk(tree_of(path))
                if isinstance(node, ast.Attribute) and node.attr in CLOCK_READERS
            ]
        )

    def test_imports_stand_at_the_top(self) -> None:
        held(
            [
                f"{place(path, node.lineno)}: import inside {function.name}"
                for path in python_files(*CODE, "alembic")
                for function in functions_of(tree_of(path))
                for node in ast.walk(function)
                if isinstance(node, ast.Import | ast.ImportFrom)
            ]
        )

    def test_packages_say_nothing_themselves(self) -> None:
        packages = (path for path in python_files(*CODE) if path.name == "__init__.py")
        held([f"{place(path)}: not empty" for path in packages if path.read_text(encoding="utf-8").strip()])

    def test_the_migrations_do_not_shadow_the_library_of_the_same_name(self) -> None:
        held([f"{place(path)}: hides the library" for path in (ROOT / "alembic").rglob("__init__.py")])


def is_pure(name: str) -> bool:
    return any(name == pure or name.startswith(f"{pure}.") for pure in PURE_MODULES)


def pure_files() -> list[Path]:
    return [path for path in python_files(*PACKAGES) if is_pure(module_name(path))]


# Habits -----------------------------------------------------------------------------------------------


class TestHabits:
    def test_unknown_errors_are_caught_at_the_process_edge_only(self) -> None:
        held(
            [
                f"{place(path, node.lineno)}: catches every exception"
                for path in python_files(*CODE, "alembic")
                if place(path) not in PROCESS_EDGES
                for node in ast.walk(tree_of(path))
                if isinstance(node, ast.ExceptHandler) and catches_everything(node)
            ]
        )

    def test_nothing_is_left_unfinished(self) -> None:
        held(
            [
                f"{place(path, number)}: {match[0]}"
                for path in (*python_files(*CODE, "alembic"), ROOT / "dev.py")
                for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
                if (match := UNFINISHED.search(line))
            ]
        )

    def test_a_silenced_checker_has_a_reason_beside_it(self) -> None:
        held(
            [
                f"{place(path, line)}: no reason behind `{comment}`"
                for path in (*python_files(*CODE, "alembic"), ROOT / "dev.py")
                for line, comment in comments_of(path)
                if (match := SILENCER.match(comment)) and not REASON.search(match["rest"])
            ]
        )

    def test_tests_wait_for_events_and_never_sleep(self) -> None:
        held(
            [
                f"{place(path, node.lineno)}: sleeps"
                for path in python_files("tests")
                if path != BOUNDED_WAITING
                for node in ast.walk(tree_of(path))
                if isinstance(node, ast.Call) and is_sleep(node)
            ]
        )

    def test_no_query_on_an_owned_table_passes_the_tenant_filter_by(self) -> None:
        trees = {path: tree_of(path) for path in python_files(*PACKAGES)}
        owned = owned_tables(trees.values())
        found = {
            f"{module_name(path)}:{name}": place(path, line)
            for path, tree in trees.items()
            for name, line in unfiltered(tree, owned)
        }
        assert {"Mailbox", "Customer", "Invoice", "ServicePeriod"} <= owned.keys()
        held([f"{found[name]}: {name} asks for rows of all resellers" for name in found.keys() - ALLOWED.keys()])
        held([f"{name} needs no permission any more" for name in ALLOWED.keys() - found.keys()])

    @pytest.mark.parametrize(
        ("code", "passes_by"),
        [
            ("select(Thing)", True),
            ("select(col(Thing.id)).where(col(Thing.id) == id)", True),
            ("select(col(Thing.reseller_id)).where(col(Thing.id) == id)", True),
            ("select(*columns).where(col(other.id) == id)", True),
            ("session.get(Thing, id)", True),
            ("delete(Thing).where(col(Thing.id) == id)", True),
            ("text('delete from thing where id = :id')", True),
            ("select(Thing).where(col(Thing.reseller_id) == reseller_id)", False),
            ("owned(Thing, reseller_id).where(col(Thing.id) == id)", False),
            ("update(Thing).where(col(Thing.id) == id, col(Thing.reseller_id) == mine)", False),
            ("text('delete from thing where reseller_id = :reseller_id')", False),
            ("select(Other)", False),
        ],
    )
    def test_that_check_sees_what_it_is_there_for(self, code: str, passes_by: bool) -> None:
        tree = ast.parse(f"async def ask(session):\n    return await run({code})")
        assert [name for name, _ in unfiltered(tree, {"Thing": "thing"})] == ["ask"] * passes_by

    def test_no_package_index_is_named(self) -> None:
        faults = []
        for path in project_files():
            content = path.read_bytes()
            if b"\0" in content:
                continue
            lines = content.decode("utf-8", errors="replace").splitlines()
            faults += [
                f"{place(path, number)}: names a package index"
                for number, line in enumerate(lines, start=1)
                if INDEX_HOST.search(line)
            ]
        held(faults)


def catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"} for kind in caught)


def is_sleep(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
    # sleep(0) lets other tasks run and waits for nothing.
    is_zero = len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
    return name == "sleep" and not is_zero
