"""`stagedoor catalogue`: fill the table of content ids, and look into it."""

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
from .output import AsJson, SettingsFile, WrongUsage, complain, say, say_json, say_table

if TYPE_CHECKING:
    from ..catalogue import Catalogue

T = TypeVar("T")
Id = Annotated[str, typer.Argument(metavar="ID", help="what applications call the content")]

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def command(context: typer.Context) -> int:
    """fill the table of content ids and their keys, and look into it.

    \b
    example:
      stagedoor catalogue import courses.csv
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        return 2
    return 0


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, a JSON array or JSON Lines, in UTF-8")],
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """write the entries of a file, CSV or JSON.

    Each takes the place of the entry that had its id; the others stay. All of
    the file is checked first: with one bad line nothing is imported. A database
    or table that is not there yet is made.

    \b
    example:
      stagedoor catalogue import courses.csv
    """
    from ..catalogue.exchange import read

    if not source.is_file():
        raise WrongUsage(f"there is no file {source}")
    with _opened(file, create=True) as catalogue:
        try:
            total = sum(1 for _ in _watched(read(source), "checking"))
        except InvalidContent as error:
            raise InvalidContent(f"{error}\n  nothing was imported") from None
        count = catalogue.put(_watched(read(source), "writing", total))
    if as_json:
        say_json({"imported": count})
    else:
        say(f"imported {_entries(count)} from {source}")
    return 0


@app.command("export")
def export(
    target: Annotated[Path | None, typer.Argument(metavar="FILE", help="default: standard output")] = None,
    format_: Annotated[
        Literal["csv", "json"] | None, typer.Option("--format", help="default: json if FILE ends so, else csv")
    ] = None,
    file: SettingsFile = None,
) -> int:
    """write all entries to a file, CSV or JSON.

    What is exported can be imported again, and is the same. The file is for
    you alone to read.

    \b
    examples:
      stagedoor catalogue export courses.csv
      stagedoor catalogue export --format json > courses.json
    """
    from ..catalogue.exchange import write_csv, write_json

    suffix = target.suffix.lower() if target else ""
    write = write_json if (format_ or suffix.removeprefix(".")) == "json" else write_csv
    if target is not None and not target.parent.is_dir():
        raise WrongUsage(f"there is no folder {target.parent}")
    with _opened(file) as catalogue, _output(target) as out:
        count = write(lambda: _watched(catalogue.entries(), "reading") if target else catalogue.entries(), out)
    if target is not None:
        say(f"exported {_entries(count)} to {target}")
    return 0


@app.command("get")
def get(id_: Id, file: SettingsFile = None, as_json: AsJson = False) -> int:
    """show the entry of a content id.

    \b
    example:
      stagedoor catalogue get lesson-1
    """
    from ..catalogue.exchange import as_object

    with _opened(file) as catalogue:
        entry = catalogue.find(id_)
    if entry is None:
        return _none(id_)
    if as_json:
        say_json(as_object(entry))
    else:
        own = sorted(entry.attributes.items())
        say_table(
            (
                *(("id", entry.id), ("key", entry.key), ("title", entry.title), ("content type", entry.content_type)),
                *(("attribute" if not i else "", f"{name} = {value}") for i, (name, value) in enumerate(own)),
            )
        )
    return 0


@app.command("put")
def put(
    id_: Id,
    key: Annotated[str, typer.Argument(metavar="KEY", help="the object's key")],
    title: Annotated[str, typer.Option(metavar="TEXT", help="for people")] = "",
    type_: Annotated[str, typer.Option("--type", metavar="TYPE", help="media type")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="whatever the application keeps with it; repeat it")
    ] = None,
    file: SettingsFile = None,
) -> int:
    """write one entry.

    It takes the place of the entry that had its id, as a whole.

    \b
    example:
      stagedoor catalogue put lesson-1 courses/lesson-1.mp4 --title "Lesson 1" --attribute level=beginner
    """
    entry = Content(id_, key, title, type_, _attributes(attribute or ()))
    with _opened(file, create=True) as catalogue:
        catalogue.put((entry,))
    say(f"{id_} is {key}")
    return 0


@app.command("remove")
def remove(id_: Id, file: SettingsFile = None) -> int:
    """take one entry out; the object stays.

    \b
    example:
      stagedoor catalogue remove lesson-1
    """
    with _opened(file) as catalogue:
        if not catalogue.remove(id_):
            return _none(id_)
    say(f"removed {id_}")
    return 0


@contextmanager
def _opened(file: Path | None, *, create: bool = False) -> Iterator[Catalogue]:
    """The catalogue that the settings name."""
    from ..catalogue import open_catalogue
    from ..settings import load

    settings = load(file)
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
    """Standard output, or a file that is there when all of it was written, and not before."""
    if target is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="")
        yield sys.stdout
    elif target.exists() and not target.is_file():  # /dev/stdout, a pipe
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


def _watched(entries: Iterable[T], doing: str, total: int | None = None) -> Iterable[T]:
    """The same entries, counted before the eyes of whoever sits at a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if not console.is_terminal:
        return entries
    return track(entries, doing, total, console=console, transient=True)


def _attributes(texts: Sequence[str]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in attributes:
            raise WrongUsage(f"--attribute is a name and a value, each name once: level=beginner, not {text!r}")
        attributes[name] = value
    return attributes


def _none(id_: str) -> int:
    complain("error", f"there is no entry {id_!r}\n  see all: stagedoor catalogue export")
    return 1


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"
