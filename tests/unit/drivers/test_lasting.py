"""What lasts is said when it begins, now and then, and when it is over."""

from __future__ import annotations

from asgd.drivers.local.lasting import AGAIN_SECONDS, Lasting


def test_a_trouble_is_said_at_its_begin_again_while_it_lasts_and_at_its_end() -> None:
    now, said = [0.0], list[str]()
    disk = Lasting(said.append, "training goes on", "files are written again", lambda: now[0])
    for at, trouble in (
        (0, ""),
        (1, "full"),
        (2, "full"),
        (2 + AGAIN_SECONDS, "fuller"),
        (100, ""),
        (101, ""),
    ):
        now[0] = at
        disk.look(trouble)
    assert said == [
        "warning: full; training goes on",
        "warning: fuller; training goes on",
        "files are written again, after 99 s",
    ]
    disk.look("full")
    assert len(said) == 4
