"""`asgd report DIR...`: several runs or simulations on one page, report.html and report.png.

Figures come from the files that runs leave, so runs of other machines and of other days compare as well, and those
still going on are shown as far as they have come.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asgd import exitcodes
from asgd.errors import UserError
from asgd.report import goal as goals
from asgd.report import page, picture, units
from asgd.report.compared import Compared, common_goal, load
from asgd.report.files import write_atomic


def run(folders: Sequence[str], output: str, target: str | None) -> int:
    """Writes the report on `folders` into `output`; returns the exit code. Raises UserError."""
    count = write(folders, output, target)
    folder = Path(output)
    print(f"report     {folder / 'report.html'} and report.png: {units.plural(count, 'run')}")
    return exitcodes.DONE


def write(folders: Sequence[str], output: str, target: str | None) -> int:
    """The same without a word; returns how many runs there are. Raises UserError."""
    wanted = goals.parse(target) if target is not None else None
    runs = load(folders)
    goal = common_goal(runs, wanted)
    title, note = _title(runs), _note(runs, str(goal) if goal else "")
    folder = Path(output)
    drawn = picture.render(runs, goal, title, note)
    text = page.render(runs, goal, title, note)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "report.png", drawn)
        write_atomic(folder / "report.html", text.encode())
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written: {error.strerror}") from error
    return len(runs)


def _title(runs: Sequence[Compared]) -> str:
    return runs[0].label if len(runs) == 1 else f"{len(runs)} runs side by side"


def _note(runs: Sequence[Compared], target: str) -> str:
    parts = [f"target {target}"] if target else []
    simulated = sum(run.simulated for run in runs)
    if simulated:
        which = "all runs" if simulated == len(runs) else f"{simulated} of {len(runs)} runs"
        parts.append(f"simulated: seconds of {which} are virtual")
    going = sum(run.stopped == "still running" for run in runs)
    if going:
        parts.append(f"{going} still running")
    return "  ·  ".join(parts)
