"""kopf's start among many objects: each of them is woken once, not once for each other."""

from __future__ import annotations

import asyncio

from kopf._cogs.aiokits.aiotoggles import ToggleSet

from asgd_operator import crowds

OBJECTS = 300


def test_objects_that_wait_for_all_others_are_woken_once() -> None:
    asked = 0

    def all_on(states: object) -> bool:
        nonlocal asked
        asked += 1
        return all(states)  # type: ignore[call-overload, no-any-return]  # as kopf gives it

    async def main() -> None:
        crowds.install()
        indexed = ToggleSet(all_on)
        mine = [await indexed.make_toggle(name=str(i)) for i in range(OBJECTS)]
        waiting = [asyncio.create_task(indexed.wait_for(True)) for _ in mine]
        await asyncio.sleep(0)
        for toggle in mine:
            assert not any(task.done() for task in waiting)
            await indexed.drop_toggle(toggle)
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*waiting), 60)

    asyncio.run(main())
    assert asked < 10 * OBJECTS, "and not their square"
