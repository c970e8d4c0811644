"""Keeps credentials out of the report, and notices when the site shows one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .wire import Answer

SHORTEST = 16
"""Characters: a shorter text could be part of anything."""
LONGEST = 200
"""Characters of a text in the report."""


class Secrets:
    """The credentials that one examination sends."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._secrets: set[str] = set()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> str:
        """Treat a text as a credential from now on, and return it.

        Of a token each part counts, except the header, which many tokens share.
        """
        self._secrets |= {secret for secret in (text, *text.split(".")[1:]) if len(secret) >= SHORTEST}
        return text

    def shown(self, answer: Answer, sent: Iterable[str]) -> bool:
        """Does an answer repeat a credential of its request? Set-Cookie may, so it is not searched."""
        everything_sent = "\n".join(sent)
        carried = [secret for secret in self._secrets if secret in everything_sent]
        if not carried:
            return False
        shown = " ".join(value for name, value in answer.fields if name != "set-cookie")
        shown += answer.body.decode("latin-1")
        return any(secret in shown for secret in carried)

    def redact(self, text: str) -> str:
        """The text without credentials, and cut where it is too long."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        text = re.sub(r"\bey[\w-]{8,}[\w.%-]*", "…", text)
        text = re.sub(r"((?:Signature|Policy)=)[^&\s]*", r"\1…", text)
        return text if len(text) < LONGEST else f"{text[: LONGEST - 3]}…"
