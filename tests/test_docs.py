"""The documentation says what the code does, as far as a program can tell."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import re
import time
from collections.abc import Iterator
from functools import cache
from math import inf
from pathlib import Path
from types import ModuleType

import pytest

import stagedoor
from stagedoor import ANONYMOUS, Allow, Caller, Gateway, compile_rules, store
from stagedoor.core import attempts, cookies, login, refresh_tokens, return_to, session
from stagedoor.core.endpoints import callback
from stagedoor.gateway import app
from stagedoor.settings import parse
from tests.helpers.support import key_set, put_keys_of_passes, rsa_signer

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "stagedoor"
PAGES = sorted(DOCS.rglob("*.md"))
ANN = Caller("staff", "https://login.example.com", {"sub": "ann"})
CODE = re.compile(r"[a-z]+(-[a-z]+)*\Z")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- pages that are made


def make_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "cli.md"])
def test_the_reference_is_what_the_code_says_now(name: str) -> None:
    assert page(f"reference/{name}") == make_reference().pages()[name], "run: python docs/make_reference.py"


# --- pages that are written


def endpoints() -> set[str]:
    gateway = Gateway(parse('[site]\nurl = "http://localhost:8080"\nstore = "memory:"\n[log]\naccess = "off"'))
    return {path.decode() for path in (*gateway.door.endpoints, *app._HEALTH)}


@pytest.mark.parametrize("path", sorted(endpoints()))
def test_http_names_every_endpoint(path: str) -> None:
    assert re.search(rf"^\| `{path}[`?]", page("reference/http.md"), re.MULTILINE)


@cache
def codes() -> frozenset[str]:
    """Every code that an answer or a line of the log can carry, read from the source."""
    return frozenset(
        code
        for file in SOURCE.rglob("*.py")
        if file.relative_to(SOURCE).parts[0] not in ("demo", "cli")
        for node in ast.walk(_parsed(file))
        for code in _codes_of(node)
        if CODE.match(code)
    )


def _parsed(file: Path) -> ast.Module:
    """The syntax tree of a file. Python 3.11 loses count where a thread that another test left parses, too."""
    for _ in range(5):
        with contextlib.suppress(SystemError):
            return ast.parse(file.read_text(encoding="utf-8"))
        time.sleep(0.1)
    return ast.parse(file.read_text(encoding="utf-8"))


def _codes_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):  # class attributes: code = "…"
        for line in node.body:
            if isinstance(line, ast.Assign) and _is_named(line, "code"):
                yield from _text(line.value)
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and _is_named(node, "_REFUSALS"):
        for key in node.value.keys:  # code -> words
            yield from _text(key) if key else ()
    elif isinstance(node, ast.Assign) and _is_named(node, "code"):
        for part in ast.walk(node.value):  # code = error.code if error else "…"
            yield from _text(part)
    elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_REFUSALS" for t in node.targets):
        for key in node.value.keys if isinstance(node.value, ast.Dict) else ():  # code -> words
            yield from _text(key or node)
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg in ("code", "reason"):
                yield from _text(keyword.value)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name.strip("_") in (
            "problem",
            "refuse",
            "redirect",
            "document",
            "html",
            "way_out_of_frame",
            "Reply",
            "Answer",
        ):
            for argument in node.args[1:]:  # the first is the status, or the address of a redirect
                yield from _text(argument)
    elif (
        isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and node.value.elts
    ):  # status, code and words
        first, *rest = node.value.elts
        if isinstance(first, ast.Constant) and isinstance(first.value, int) and rest:
            yield from _text(rest[0])


def _is_named(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def test_codes_are_found_in_the_source() -> None:
    assert {
        "target",
        "no-credential",
        "token-expired",
        "denied",
        "headers",
        "host",
        "fault",
        "served",
        "pass-no-key",
        "pass-expired",
        "pass-issued",
        "too-many-passes",
        "credential-twice",
        "catalogue-unavailable",
        "login-look",
        "login-circle",
        "login-client",
        "signed-out",
    } <= codes()


def test_find_out_why_names_every_code_and_no_other() -> None:
    named = set()
    for row in re.findall(r"^\|(.*)\|$", page("how-to/find-out-why.md").partition("## Every code")[2], re.MULTILINE):
        cells = row.split(" | ")
        first = cells[1] if re.fullmatch(r" ?\d{3}", cells[0].strip()) else cells[0]
        named |= set(re.findall(r"`([^`]+)`", first))
    assert named == codes()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reference/cookies.md", f"All together they stay below {cookies.MAX_OURS:,} bytes"),
        ("how-to/sign-in.md", f"if it has {refresh_tokens.MAX_BYTES:,} bytes at most"),
        ("reference/cookies.md", f"`__Host-stagedoor-try-0` … `-try-{attempts.SLOTS - 1}`"),
        ("reference/cookies.md", f"{attempts.LIFETIME // 60} minutes, or until it ends"),
        ("reference/cookies.md", f"{attempts.MAX_BYTES:,} together"),
        ("reference/cookies.md", f"{session.MAX_COOKIE_BYTES:,} at most"),
        ("reference/cookies.md", f"| {callback.AGAIN_WITHIN} seconds |"),
        ("reference/http.md", f"longer\nthan {return_to.MAX_BYTES:,} bytes the path is kept"),
        ("reference/http.md", f"no answer within {login.WITHIN:g} seconds in all"),
        ("how-to/sign-in.md", f"Of an address with more than {return_to.MAX_BYTES:,} bytes the path is kept"),
        ("how-to/sign-in.md", f"An address of more than {attempts.MAX_IN_STATE} bytes is then forgotten"),
        ("how-to/sign-in.md", f"{login.LEEWAY:g} seconds of clock difference are forgiven"),
        ("how-to/sign-in.md", f"asks of the provider takes {login.WITHIN:g} seconds at most"),
        ("how-to/find-out-why.md", f"{login.LEEWAY:g} s are forgiven"),
        ("decisions/0014-sign-in.md", f"Longer addresses than {attempts.MAX_IN_STATE} bytes are left out"),
    ],
)
def test_limits_of_sign_in_are_those_of_the_code(name: str, said: str) -> None:
    assert said in page(name)


# --- the Python reference

NAMED = {
    name: cells.replace("\\|", "|")
    for name, cells in re.findall(r"^\| `([A-Za-z_]+)` \|(.*)$", page("reference/python.md"), re.MULTILINE)
}
"""Name -> what its row says of it."""

CALLS = [
    pytest.param(name, method, signature, id=f"{name}.{method}" if method else name)
    for name, row in NAMED.items()
    for method, signature in re.findall(r"`(?:async |await )?(\w*)(\((?:[^`()]|\(\))*\)(?: -> [^`]+)?)`", row)
]
"""Every signature on that page: of the name itself, where nothing stands before the bracket, and of its methods."""


def test_python_names_what_the_package_offers() -> None:
    named = re.findall(r"^\| `([A-Za-z_]+)` \|", page("reference/python.md"), re.MULTILINE)
    assert sorted(named) == sorted(stagedoor.__all__)


def test_python_says_how_everything_is_called() -> None:
    """But for what somebody else makes: a `Policy`, say, comes from `compile_rules`."""
    silent = {name for name, row in NAMED.items() if "made by" not in row and callable(getattr(stagedoor, name))}
    silent -= {call.values[0] for call in CALLS if not call.values[1]}
    errors = {name for name in silent if issubclass(getattr(stagedoor, name), stagedoor.StagedoorError)}
    assert silent == errors, "errors are caught, not made"


@pytest.mark.parametrize(("name", "method", "signature"), CALLS)
def test_a_signature_in_python_is_that_of_the_code(name: str, method: str, signature: str) -> None:
    thing = getattr(stagedoor, name)
    meant = inspect.signature(getattr(thing, method) if method else thing)
    actual = [one for one in meant.parameters.values() if one.name != "self"]
    said, returned = read_signature(signature)
    assert [(one.name, one.kind) for one in said] == [(one.name, one.kind) for one in actual]
    for one, real in zip(said, actual, strict=True):
        assert (one.default is one.empty) == (real.default is real.empty), one.name
        assert one.default == real.default, one.name
        assert one.annotation in (one.empty, as_text(real.annotation)), one.name
    assert returned in ("", as_text(meant.return_annotation))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("arun", ""), ("Gateway", "aclose"), ("Fetcher", "aclose"), ("Guard", "averify"), ("Guard", "aanswer")),
        *(("run", ""), ("Gateway", "start"), ("Guard", "verify"), ("Guard", "answer"), ("Guard", "may_read")),
    ],
)
def test_python_says_what_is_to_be_awaited(name: str, method: str) -> None:
    thing = getattr(getattr(stagedoor, name), method) if method else getattr(stagedoor, name)
    said = f"`await {method}(" if method else "`async ("
    assert (said in NAMED[name]) == inspect.iscoroutinefunction(thing)


def read_signature(text: str) -> tuple[list[inspect.Parameter], str]:
    """Parameters and what is returned, of a signature as it stands on the page; annotations are texts."""
    (function,) = ast.parse(f"def f{text}: ...").body
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    groups = [
        (inspect.Parameter.POSITIONAL_OR_KEYWORD, given.args, [*[None] * len(given.args), *given.defaults]),
        (inspect.Parameter.KEYWORD_ONLY, given.kwonlyargs, given.kw_defaults),
    ]
    said = [
        inspect.Parameter(
            one.arg,
            kind,
            default=inspect.Parameter.empty
            if default is None
            else eval(ast.unparse(default), {"time": time, "inf": inf}),
            annotation=ast.unparse(one.annotation) if one.annotation else inspect.Parameter.empty,
        )
        for kind, arguments, defaults in groups
        for one, default in zip(arguments, defaults[len(defaults) - len(arguments) :], strict=True)
    ]
    return said, ast.unparse(function.returns) if function.returns else ""


def as_text(annotation: object) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return ast.unparse(ast.parse(str(getattr(annotation, "__forward_arg__", annotation))))


def test_python_names_the_words_of_a_store() -> None:
    said = page("reference/python.md").partition("`stagedoor.store` has the words")[2].partition("###")[0]
    assert set(re.findall(r"`([A-Z]\w+)`", said)) == {*store.__all__} - {"InstantStore", "open_store"}


PYTHON = [
    pytest.param(path, text, id=f"{name_of(path)}-{number}")
    for path in PAGES
    for number, text in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize(("path", "text"), PYTHON)
def test_python_in_the_pages_compiles_and_imports_public_names(path: Path, text: str) -> None:
    compile(text, str(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "stagedoor":
            assert {alias.name for alias in node.names} <= {*stagedoor.__all__}


EXAMPLES = re.findall(r"^\| `([^`|]+)` \| `([^`|]+)` \| (yes|no)\b", page("reference/policy.md"), re.MULTILINE)


@pytest.mark.parametrize(("pattern", "key", "matches"), EXAMPLES)
def test_the_examples_of_patterns_are_true(pattern: str, key: str, matches: str) -> None:
    decision = compile_rules([{"path": pattern, "allow": "signed-in"}]).decide(ANN, key)
    assert isinstance(decision, Allow) == (matches == "yes")


def test_there_are_examples_of_patterns() -> None:
    assert len(EXAMPLES) > 15
    assert not isinstance(compile_rules([]).decide(ANONYMOUS, "a"), Allow)


SETTINGS = [
    pytest.param(text, id=f"{name_of(path)}-{number}")
    for path in PAGES
    for number, text in enumerate(re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("text", SETTINGS)
def test_settings_in_the_pages_are_accepted(text: str, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    for name in ("session.key", "cert.pem", "key.pem"):
        (tmp_path / name).write_bytes(b"x" * 48)
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_signer()))
    if "[site]" not in text:
        text += '\n[site]\nurl = "https://assets.example.com"\nstore = "memory:"\n'
    text = text.replace("eu-central-1_…", "eu-central-1_Example")
    parse(text, tmp_path / "stagedoor.toml", put_keys_of_passes(text, tmp_path))


# --- links


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), link
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), link


def test_every_page_is_linked_from_an_index() -> None:
    indexes = page("README.md") + (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    others = [str(path.relative_to(DOCS)) for path in PAGES if path != DOCS / "README.md"]
    assert [name for name in others if f"({name})" not in indexes] == []
