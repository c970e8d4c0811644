"""What is wrong between settings that are each right: contradictions, and what was probably not meant."""

from __future__ import annotations

from collections.abc import Iterator

from .reader import Reader
from .table import Settings


def check(reader: Reader, settings: Settings) -> None:
    """Refuse settings that contradict one another, and warn about what was probably not meant.

    Raises:
        SettingsError: the first contradiction.
    """
    at_aws = (settings.store or "").startswith("s3:")
    if not at_aws and settings.endpoint is not None:
        reader.fail("site.endpoint", "only a store in S3 has this", 'store = "s3://bucket", or leave it out')
    in_file = settings.region is not None and not reader.is_from_environment("site.region")
    if not at_aws and in_file and not any(_kept_at_aws(reader)):  # a variable of the machine may be for other programs
        reader.fail("site.region", "nothing here is at AWS", 'store = "s3://bucket", or leave it out')
    if settings.index is not None and not settings.trust_html:
        reader.warn("site.index", "pages run no scripts", "a site of your own pages wants trust_html = true")


def inactive(reader: Reader, settings: Settings) -> tuple[str, ...]:
    """Name the settings of later capabilities that are set."""
    set_but_idle = {
        "[login] without page": settings.login_page is None and _signs_in(reader),
        "[gateway] metrics": settings.metrics is not None,
        "forward-auth ([site] without store)": settings.store is None,
    }
    return tuple(name for name, idle in set_but_idle.items() if idle)


def _signs_in(reader: Reader) -> bool:
    """Is something set that is for sign-in alone? Sessions are made from tokens, too."""
    section = reader.get("login")
    return isinstance(section, dict) and not section.keys() <= {"session", "session_keys"}


def _kept_at_aws(reader: Reader) -> Iterator[str]:
    """What besides the store is kept at AWS."""
    texts = [reader.text(name) for name in ("catalogue.url", "login.client_secret", "passes.private_key")]
    texts += [*reader.texts("login.session_keys"), reader.text("passes.passphrase")]
    texts += reader.table("passes.public_keys").values()
    yield from (text for text in texts if text and text.startswith(("dynamodb:", "ssm:", "secretsmanager:")))
