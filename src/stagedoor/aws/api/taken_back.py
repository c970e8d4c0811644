"""What was taken back, as the function sees it: it keeps no list, and asks for the entries about each caller."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.caller import Caller
from ...core.errors import StateUnavailable
from ...core.revocations import Revocations, from_text, names_of
from ...state.dynamodb import DynamoState


class TakenBackAtDynamo:
    """Asks DynamoDB. The function sends no objects, so nothing waits for it but a question about one caller.

    Args:
        state: where the entries are.
        leeways: issuer's exact URL -> seconds by which its clock may differ.
    """

    def __init__(self, state: DynamoState, leeways: Mapping[str, float]) -> None:
        self._state, self._leeways = state, leeways

    def check(self, caller: Caller, now: float) -> None:
        """Let a caller pass of whom nothing was taken back; see `Revocations.check`.

        Raises:
            Revoked: something was.
            StateUnavailable: the state does not say.
        """
        names = names_of(caller)
        found = self._state.named(names) if names else ()
        try:
            entries = [from_text(entry.text) for entry in found]
        except ValueError as error:
            raise StateUnavailable(f"an entry cannot be read: {error}; is it of a newer version?") from error
        listed = Revocations(self._leeways, 0.0)
        listed.replace(entries, now)
        listed.check(caller, now)
