"""What a worker does, as a string: one letter for each quarter of a second, the newest last.

A letter tells the shares of four phases in sixths, so that a step of milliseconds and a compile of minutes are told
alike, and a heartbeat carries seconds of it in a few bytes. Pure; the page draws the letters as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

PHASES = ("compute", "data", "push", "wait")
"""compute: also all that is not measured apart; push: an exchange, which may bring weights too; wait: for weights, for
other workers, or for data to be dealt."""
COMPUTE, DATA, PUSH, WAIT = range(4)
SLOT_SECONDS = 0.25
TOLD_MOST = 16
"""Letters that go along with a heartbeat: some are told twice or more, so that a lost one leaves no gap."""
LEVELS = 6
UNKNOWN = " "
"""Nothing is known of this time: the worker was away, or nobody listened."""

Mix = tuple[int, int, int, int]
"""Sixths by phase; they add up to `LEVELS`."""

_LETTERS = [chr(code) for code in range(33, 127) if chr(code) not in "\"\\<>&'"]
MIXES: dict[str, Mix] = dict(
    zip(
        _LETTERS,
        (
            (LEVELS - data - push - wait, data, push, wait)
            for data in range(LEVELS + 1)
            for push in range(LEVELS + 1 - data)
            for wait in range(LEVELS + 1 - data - push)
        ),
        strict=False,
    )
)
_CODES = {mix: letter for letter, mix in MIXES.items()}


def letter(seconds: Sequence[float]) -> str:
    """The letter of a time in which each of `PHASES` took so many seconds, or any other unit."""
    total = sum(seconds)
    if total <= 0:
        return UNKNOWN
    exact = [LEVELS * part / total for part in seconds]
    whole = [int(part) for part in exact]
    rests = sorted(range(4), key=lambda phase: whole[phase] - exact[phase])
    for phase in rests[: LEVELS - sum(whole)]:
        whole[phase] += 1
    return _CODES[whole[0], whole[1], whole[2], whole[3]]


def together(letters: Iterable[str]) -> str:
    """One letter for several times of equal length; unknown where less than half is known."""
    sums, known, count = [0, 0, 0, 0], 0, 0
    for each in letters:
        count += 1
        if mix := MIXES.get(each):
            known += 1
            for phase, part in enumerate(mix):
                sums[phase] += part
    return letter(sums) if 2 * known >= count > 0 else UNKNOWN


def shares(letters: Iterable[str]) -> list[float]:
    """The part of each phase in what is known of `letters`; zeros where nothing is."""
    sums = [0, 0, 0, 0]
    for each in letters:
        for phase, part in enumerate(MIXES.get(each, ())):
            sums[phase] += part
    total = sum(sums)
    return [part / total for part in sums] if total else [0.0] * 4


def plausible(number: int, seconds_ago: float, letters: str) -> bool:
    """Whether a worker can have told this: `number` slots in all, of which `letters` are the newest."""
    if not 0 <= seconds_ago < 1e6 or not len(letters) <= min(number, TOLD_MOST) or number > 1 << 48:
        return False
    return all(each in MIXES for each in letters)
