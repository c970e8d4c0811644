"""`stagedoor catalogue`: fills and shows the table of content ids."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO, TypeVar

import typer

from ..core.errors import InvalidContent, SettingsError
from ..core.messages import Content
from .options import AsJson, SettingsFile, WrongUsage, load_settings
from .output import complain, help_without_command, say, say_json, say_table

if TYPE_CHECKING:
    from ..catalogue import Catalogue

T = TypeVar("T")
ContentId = Annotated[str, typer.Argument(metavar="ID", help="the content's id in your applications")]

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def command(context: typer.Context) -> int:
    """fill and show the table of content ids and their keys.

    \b
    example:
      stagedoor catalogue import courses.csv
    """
    return help_without_command(context)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, a JSON array or JSON Lines, in UTF-8")],
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """import entries from a file, CSV or JSON.

    An entry replaces the one with the same id; the others stay. The whole file
    is checked first: with one bad line nothing is imported. A missing database
    or table is created.

    \b
    example:
      stagedoor catalogue import courses.csv
    """
    from ..catalogue.files import read

    if not source.is_file():
        raise WrongUsage(f"there is no file {source}")
    with _opened(file, create=True) as catalogue:
        try:
            total = sum(1 for _ in _with_progress(read(source), "checking"))
        except InvalidContent as error:
            raise InvalidContent(f"{error}\n  nothing was imported") from None
        count = catalogue.put(_with_progress(read(source), "writing", total))
    if as_json:
        say_json({"imported": count})
    else:
        say(f"imported {_entries(count)} from {source}")
    return 0


@app.command("export")
def export(
    target: Annotated[Path | None, typer.Argument(metavar="FILE", help="default: standard output")] = None,
    format_: Annotated[
        Literal["csv", "json"] | None, typer.Option("--format", help="default: json if FILE ends in .json, else csv")
    ] = None,
    file: SettingsFile = None,
) -> int:
    """export all entries to a file, CSV or JSON.

    An import of the file restores the same entries. Only you can read it.

    \b
    examples:
      stagedoor catalogue export courses.csv
      stagedoor catalogue export --format json > courses.json
    """
    from ..catalogue.files import write_csv, write_json

    suffix = target.suffix.lower() if target else ""
    write = write_json if (format_ or suffix.removeprefix(".")) == "json" else write_csv
    if target is not None and not target.parent.is_dir():
        raise WrongUsage(f"there is no folder {target.parent}")
    with _opened(file) as catalogue, _output(target) as out:
        count = write(lambda: _with_progress(catalogue.entries(), "reading") if target else catalogue.entries(), out)
    if target is not None:
        say(f"exported {_entries(count)} to {target}")
    return 0


@app.command("get")
def get(content_id: ContentId, file: SettingsFile = None, as_json: AsJson = False) -> int:
    """show one entry.

    \b
    example:
      stagedoor catalogue get lesson-1
    """
    from ..catalogue.files import as_object

    with _opened(file) as catalogue:
        entry = catalogue.find(content_id)
    if entry is None:
        return _complain_missing(content_id)
    if as_json:
        say_json(as_object(entry))
        return 0
    attributes = sorted(entry.attributes.items())
    say_table(
        (
            *(("id", entry.id), ("key", entry.key), ("title", entry.title), ("content type", entry.content_type)),
            *(("attribute" if not i else "", f"{name} = {value}") for i, (name, value) in enumerate(attributes)),
        )
    )
    return 0


@app.command("put")
def put(
    content_id: ContentId,
    key: Annotated[str, typer.Argument(metavar="KEY", help="the object's key")],
    title: Annotated[str, typer.Option(metavar="TEXT", help="a title for people")] = "",
    type_: Annotated[str, typer.Option("--type", metavar="TYPE", help="media type")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="anything your application needs; may be repeated")
    ] = None,
    file: SettingsFile = None,
) -> int:
    """write one entry.

    It replaces the whole entry with the same id, if there is one.

    \b
    example:
      stagedoor catalogue put lesson-1 courses/lesson-1.mp4 --title "Lesson 1" --attribute level=beginner
    """
    entry = Content(content_id, key, title, type_, _attributes(attribute or ()))
    with _opened(file, create=True) as catalogue:
        catalogue.put((entry,))
    say(f"wrote {content_id}, with the key {key}")
    return 0


@app.command("remove")
def remove(content_id: ContentId, file: SettingsFile = None) -> int:
    """remove one entry; the object stays.

    \b
    example:
      stagedoor catalogue remove lesson-1
    """
    with _opened(file) as catalogue:
        if not catalogue.remove(content_id):
            return _complain_missing(content_id)
    say(f"removed {content_id}")
    return 0


@contextmanager
def _opened(file: Path | None, *, create: bool = False) -> Iterator[Catalogue]:
    """Open the catalogue that the settings name; `create` makes a missing one."""
    from ..catalogue import open_catalogue

    settings = load_settings(file)
    if settings.catalogue is None:
        raise SettingsError(
            "there is no catalogue",
            source=str(settings.source or "environment"),
            setting="catalogue.url",
            mend='add [catalogue] with url = "sqlite:///catalogue.db" or url = "dynamodb://table"',
        )
    with closing(open_catalogue(settings.catalogue, region=settings.aws_region, create=create)) as catalogue:
        yield catalogue


@contextmanager
def _output(target: Path | None) -> Iterator[TextIO]:
    """Open standard output, or a file that appears only when all of it was written."""
    if target is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="")
        yield sys.stdout
    elif target.exists() and not target.is_file():  # a pipe or a device such as /dev/stdout
        with target.open("w", encoding="utf-8", newline="") as out:
            yield out
    else:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
                yield out
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink()
            raise


def _with_progress(entries: Iterable[T], action: str, total: int | None = None) -> Iterable[T]:
    """The same entries, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if not console.is_terminal:
        return entries
    return track(entries, action, total, console=console, transient=True)


def _attributes(texts: Sequence[str]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in attributes:
            raise WrongUsage(f"--attribute takes NAME=VALUE, each name once: level=beginner, not {text!r}")
        attributes[name] = value
    return attributes


def _complain_missing(content_id: str) -> int:
    complain("error", f"there is no entry {content_id!r}\n  see all: stagedoor catalogue export")
    return 1


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"
