"""Reads settings from TOML and the environment, so that every error can name the line of what is wrong.

`table.py` lists the settings; here is how one is found and typed, and how an error is made.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, NoReturn, TypeAlias, TypeVar

from ..core.errors import SettingsError

PREFIX = "STAGEDOOR_"
"""How the names of the environment variables begin."""


T = TypeVar("T", covariant=True)
Kind: TypeAlias = Literal[
    "text", "texts", "flag", "duration", "size", "number", "table", "secret", "secrets", "secret table", "rule"
]


class Parser(NamedTuple, Generic[T]):
    """How a setting is read: the kind of its value, and the function that makes the value of reader and dotted name."""

    kind: Kind
    read: Callable[[Reader, str], T]


class Setting(NamedTuple):
    """One row of the table.

    Attributes:
        section, name: where it stands.
        parser: reads it.
        default: what holds where it is not set, as TOML has it; None: nothing.
        purpose: what it is for, in one sentence.
        shown: the default in words, where there is no value to show.
    """

    section: str
    name: str
    parser: Parser[Any]
    default: object
    purpose: str
    shown: str = ""

    @property
    def kind(self) -> Kind:
        return self.parser.kind

    @property
    def default_shown(self) -> str:
        """The default, for the reference."""
        if self.default is None:
            return self.shown
        return f"`{self.default if isinstance(self.default, str) else json.dumps(self.default)}`"


class Reader:
    """The values that were set, by dotted name: `site.url`, `issuers[0].name`.

    A getter returns the default of the table for what was not set; a value of another type is a SettingsError.

    Args:
        table: every setting that there is.
        lists: the sections that are lists of tables.
        text: what the settings file holds.
        source: the settings file; None if the text comes from elsewhere.
        environ: environment variables; those that begin with `PREFIX` win over the text.

    Attributes:
        source: as given.
        base: the folder that paths in the settings start from.
        warnings: what `warn` noted.

    Raises:
        SettingsError: not TOML, or a section or setting that is not in the table.
    """

    def __init__(
        self,
        table: Sequence[Setting],
        lists: Sequence[str],
        text: str,
        source: Path | None,
        environ: Mapping[str, str],
    ) -> None:
        self._table, self._lists = table, lists
        self._defaults = {f"{row.section}.{row.name}": row.default for row in table}
        text = text.removeprefix("\ufeff")  # a byte order mark, which some editors write
        self.source = source
        self.base = source.parent.absolute() if source else Path.cwd()
        self._lines = dict(_locate(text, lists))
        self._environ: dict[str, str] = {}
        self._secret_environ = environ
        self.warnings: list[str] = []
        try:
            self._tree: dict[str, object] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            raise SettingsError(
                f"not valid TOML: {error}",
                source=str(source),
                line=int(line[1]) if line else None,
                mend=_toml_mend(str(error)),
            ) from error
        self._check_names()
        self._overlay(environ)

    # --- errors

    def fail(self, name: str, problem: str, mend: str = "") -> NoReturn:
        """Raise `error`."""
        raise self.error(name, problem, mend)

    def error(self, name: str, problem: str, mend: str = "") -> SettingsError:
        """Make an error that names the environment variable, or the file and the nearest line that is known."""
        variable = self._environ.get(name) or self._environ.get(re.split(r"[.\[]", name)[0])
        if variable:
            if name not in self._environ:  # one variable holds the whole list
                problem = f"{name}: {problem}"
            return SettingsError(problem, source="environment", setting=variable, mend=mend)
        line = next((self._lines[one] for one in _outwards(name) if one in self._lines), None)
        source = str(self.source) if self.source else "settings"
        return SettingsError(problem, source=source, line=line, setting=name, mend=mend)

    def warn(self, name: str, problem: str, mend: str = "") -> None:
        """Note what the owner should know although it stops nothing."""
        self.warnings.append(str(self.error(name, problem, mend)))

    def _check_names(self) -> None:
        sections = list(dict.fromkeys(row.section for row in self._table))
        for section, content in self._tree.items():
            if section not in sections:
                self.fail(section, "unknown section", _did_you_mean(section, sections))
            if section in self._lists:
                tables = content if isinstance(content, list) else None
                if tables is None or not all(isinstance(table, dict) for table in tables):
                    self.fail(section, "this is a list of tables", f"write [[{section}]]")
            elif not isinstance(content, dict):
                self.fail(section, "this is a section", f"write [{section}]")
            if section != "rules":  # the policy owns the syntax of rules
                self._check_setting_names(section, content)

    def _check_setting_names(self, section: str, content: object) -> None:
        known = [row.name for row in self._table if row.section == section]
        for index, table in enumerate(content if isinstance(content, list) else [content]):
            where = f"{section}[{index}]" if section in self._lists else section
            for name in table:
                if name not in known:
                    self.fail(f"{where}.{name}", "unknown setting", _did_you_mean(name, known))

    def _overlay(self, environ: Mapping[str, str]) -> None:
        """Environment over file: STAGEDOOR_SITE_URL, …; lists of tables as one TOML value, STAGEDOOR_RULES='[…]'."""
        variables = {
            f"{PREFIX}{row.section}_{row.name}".upper(): row for row in self._table if row.section not in self._lists
        }
        lists = {PREFIX + name.upper(): name for name in self._lists}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX) or variable == PREFIX + "SETTINGS":
                continue
            if variable in lists:
                self._environ[lists[variable]] = variable
                self._tree[lists[variable]] = self._toml_value(lists[variable], text)
                self._check_names()
            elif variable in variables:
                row = variables[variable]
                name = f"{row.section}.{row.name}"
                self._environ[name] = variable
                section = self._tree.setdefault(row.section, {})
                assert isinstance(section, dict)
                section[row.name] = self._environment_value(name, row.kind, text)
            else:
                known = [*variables, *lists, PREFIX + "SETTINGS"]
                raise SettingsError(
                    "unknown setting", source="environment", setting=variable, mend=_did_you_mean(variable, known)
                )

    def _environment_value(self, name: str, kind: str, text: str) -> object:
        if kind in ("texts", "secrets") and not text.lstrip().startswith("["):
            return [part.strip() for part in text.split(",") if part.strip()]
        if kind in ("texts", "secrets", "table", "secret table", "number", "flag"):
            return self._toml_value(name, text)
        return text

    def _toml_value(self, name: str, text: str) -> object:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            self.fail(name, "the variable is not a TOML value", 'for example ["a", "b"], true, 2 or { key = "value" }')

    # --- values

    def is_from_environment(self, name: str) -> bool:
        """Is this set by an environment variable, rather than by the file?"""
        return name in self._environ

    def get(self, name: str) -> object:
        """The value as it stands there, the default of the table where it does not, or a whole section."""
        found = self._get(name)
        return self._defaults.get(re.sub(r"\[[0-9]+\]", "", name)) if found is None else found

    def _get(self, name: str) -> object:
        value: object = self._tree
        for part in re.findall(r"[^.\[\]]+", name):
            if isinstance(value, list):
                value = value[int(part)]
            elif isinstance(value, dict):
                value = value.get(part)
        return value

    def tables(self, name: str) -> list[dict[str, object]]:
        """The tables of a list, in order."""
        found = self._tree.get(name, [])
        assert isinstance(found, list)
        return found

    def text(self, name: str) -> str | None:
        """A text on one line, never empty."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            self.fail(name, "this is a text", 'write it in quotes: "…"')
        if re.search(r"[\x00-\x1f\x7f]", value):
            self.fail(name, "the text holds a control character")
        return value

    def required(self, name: str, mend: str = "") -> str:
        """A text that must be there, or has a default."""
        value = self.text(name)
        return self.fail(name, "this setting is required", mend) if value is None else value

    def texts(self, name: str) -> tuple[str, ...]:
        """Texts that differ; one alone needs no brackets."""
        value = self.get(name)
        if value is None:
            return ()
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
            self.fail(name, "this is a list of texts", 'for example ["a", "b"]')
        if len(set(items)) != len(items):
            self.fail(name, "the list names something twice")
        return tuple(items)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of these texts."""
        value = self.required(name)
        if value not in choices:
            self.fail(name, f"{value!r} is not known", _did_you_mean(value, choices))
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            self.fail(name, "this is true or false", "without quotes")
        return bool(value)

    def number(self, name: str, most: int) -> int:
        """A whole number from 1 to `most`."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            self.fail(name, f"this is a whole number from 1 to {most}")
        return value

    def duration(self, name: str) -> float:
        """Seconds from `30s`, `15m`, `8h` or `2d`."""
        value = self.get(name)
        match = re.fullmatch(r"([0-9]{1,9})(s|m|h|d)", value) if isinstance(value, str) else None
        if not match:
            self.fail(name, "this is a duration", 'for example "30s", "15m", "8h" or "2d"')
        return float(int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]])

    def size(self, name: str) -> int:
        """Bytes from `64MB`, `512KB`, `1GB` or `0`; a KB is 1024 bytes."""
        value = self.get(name)
        match = re.fullmatch(r"([0-9]{1,9})(KB|MB|GB)|0", value) if isinstance(value, str) else None
        if not match:
            self.fail(name, "this is a size", 'for example "64MB", "512KB", "1GB" or "0"')
        return int(match[1]) * {"KB": 1024, "MB": 1024**2, "GB": 1024**3}[match[2]] if match[1] else 0

    def table(self, name: str) -> dict[str, str]:
        """A table of texts."""
        value = self.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(v, str) and v for v in value.values()):
            self.fail(name, "this is a table of texts", 'for example { name = "value" }')
        return dict(value)

    def file(self, name: str, path: str) -> Path:
        """A file that is there; its path is relative to the settings file."""
        found = self.base / Path(path).expanduser()
        if not found.is_file():
            self.fail(name, f"there is no file {found}", "paths are relative to the settings file")
        return found

    def secret(self, name: str, text: str) -> bytes | None:
        """The secret that `text` names, or None where AWS keeps it. A secret is never part of a message."""
        scheme, _, rest = text.partition(":")
        if "-----BEGIN" in text or len(text) > 1024:
            self.fail(name, "a secret does not stand here itself", 'write where it is: "env:NAME" or "file:path"')
        if scheme == "env" and rest:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", rest):
                self.fail(name, "that is not a name of an environment variable", 'for example "env:STAGEDOOR_KEY"')
            value = self._secret_environ.get(rest)
            if not value:
                self.fail(name, f"the environment variable {rest} is not set", "set it where stagedoor is started")
            return os.fsencode(value)
        if scheme == "file" and rest:
            try:
                return self.file(name, rest).read_bytes()
            except OSError as error:
                self.fail(name, f"the file {rest} cannot be read: {error.strerror}")
        if scheme in ("ssm", "secretsmanager") and rest:
            return None
        return self.fail(
            name, "a secret does not stand here itself", 'write "env:NAME" or "file:path", or where AWS keeps it'
        )


def _toml_mend(problem: str) -> str:
    twice = re.search(r"Cannot declare \('(\w+)',\) twice", problem)
    if twice:
        return f"of several tables each begins with [[{twice[1]}]]"
    return "is a quote missing at the end of the line?" if r"'\n'" in problem else ""


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _outwards(name: str) -> Iterator[str]:
    """A setting's name, then what it stands in: `rules[2].path`, `rules[2]`, `rules`."""
    yield name
    if "." in name:
        yield from _outwards(name.rpartition(".")[0])
    else:
        section = name.partition("[")[0]
        yield from (section, f"{section}[0]")


def _locate(text: str, lists: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Dotted names of sections and settings with the line that they stand on, which tomllib does not report."""
    section, counts = "", dict.fromkeys(lists, -1)
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]", line)
        setting = re.match(r"\s*\"?([A-Za-z0-9_:-]+)\"?\s*(?:\.[^=]*)?=", line)
        if header:
            section, dot, rest = header[2].partition(".")
            if header[1] == "[[" and section in counts and not dot:
                counts[section] += 1
            if section in counts:
                section = f"{section}[{max(counts[section], 0)}]"
            section += dot + rest
            yield section, number
        elif setting:
            yield f"{section}.{setting[1]}" if section else setting[1], number
