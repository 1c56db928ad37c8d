"""`asgd.Run`: what `asgd.run` and `asgd.simulate` return, and what any folder of theirs can be opened as.

A run that goes on is a launcher's (`launched.py`); all that is said of a finished one is read from its folder, so both
are asked in one way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from asgd import exitcodes
from asgd.drivers.display import Display
from asgd.errors import RunFailed, UserError
from asgd.interactive.base import BaseRun
from asgd.interactive.notebook import NotebookView, by_cells, in_notebook
from asgd.interactive.table import Row, rows_of
from asgd.report import summary as summaries
from asgd.report import units
from asgd.report.summary import Summary
from asgd.spec.status import Status
from asgd.worker.task.sent import FILE

if TYPE_CHECKING:
    from torch import Tensor, nn

    from asgd.interactive.launched import Launched

_PICTURE_WIDTH = 800
"""Of the curves in a notebook, pixels."""


class Run(BaseRun):
    """One run of a job on this machine: going on, finished, failed or interrupted.

    output   folder of its files, None until it is chosen       status   newest `asgd.spec.status.Status`, None before
    done     whether it has ended                               summary  `summary.json` by its fields, None before
    metrics  newest evaluation, {name: value}                   history  what happened, a row a second
    """

    def __init__(
        self,
        name: str,
        *,
        launched: Launched | None = None,
        output: Path | None = None,
        code: Path | None = None,
        quiet: bool = False,
    ) -> None:
        self.name, self._code = name, code
        self._launched, self._output, self._quiet = launched, output, quiet
        self._told = False

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """The run that was written to `folder`. Raises UserError when there is none."""
        from asgd.spec import load_job

        path = Path(folder).absolute()
        if not (path / "job.yaml").is_file():
            raise UserError(f"{folder} holds no run of asgd: it has no job.yaml")
        return cls(load_job(path / "job.yaml").name, output=path)

    # -- while it goes on --------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Self:
        """Shows the run until it has ended; returns it. Ctrl-C stops it in order, a second Ctrl-C at once.

        Raises RunFailed when it ended otherwise than well, TimeoutError when `timeout` seconds are over before.
        """
        launched = self._launched
        if launched is None:
            return self
        if not self._told:
            self._told = self._follow(launched, timeout)
            if not self._told:
                raise TimeoutError(f"{self.name} goes on after {timeout:g} s")
        return self._checked(launched)

    def _follow(self, launched: Launched, timeout: float | None) -> bool:
        """Shows it; returns whether it has ended."""
        view = NotebookView() if in_notebook() and not self._quiet else None
        interrupts = 0
        with Display(quiet=self._quiet, view=view) as display:
            while True:
                try:
                    ended = launched.follow(display, timeout)
                    break
                except KeyboardInterrupt:
                    interrupts += 1
                    launched.interrupt()
                    if interrupts > 1:
                        launched.join()
                        raise
        for line in launched.said if ended else ():
            print(line)
        return ended

    def _checked(self, launched: Launched) -> Self:
        assert launched.ended is not None
        code, sentence = launched.ended.code, launched.ended.sentence
        if code in (exitcodes.DONE, exitcodes.INTERRUPTED):
            return self
        said = by_cells(sentence.replace(f"{FILE}:", "")) or self._reason(code)
        raise RunFailed(said, code, self) from None

    def _reason(self, code: int) -> str:
        """Of an end that the command line tells by its summary."""
        summary = self.summary
        if summary is None:
            return f"{self.name} ended with {code}"
        if code == exitcodes.NOT_EVALUATED:
            return f"{self.name}: the last evaluation failed: {summary.evaluation_error}"
        return f"{self.name}: {summaries.reason(summary)}"

    def stop(self, *, wait: bool = True) -> Self:
        """As one Ctrl-C: workers finish their push, then a checkpoint, and the model is saved.

        `wait`: returns when that is done, and raises RunFailed as `wait()` does.
        """
        if self._launched is not None and not self.done:
            self._launched.interrupt()
        return self.wait() if wait else self

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._launched is None or self._launched.ended is not None

    @property
    def status(self) -> Status | None:
        """What shard 0 told last; None before its first word, and of a run that was opened."""
        return self._launched.status if self._launched else None

    # -- what it leaves ----------------------------------------------------------------------------

    @property
    def output(self) -> Path | None:
        """The folder of its files; None until it is chosen."""
        return self._launched.output if self._launched else self._output

    @property
    def summary(self) -> Summary | None:
        """summary.json; None before the end, and when it ended before it had trained."""
        path = self._file("summary.json")
        return summaries.read(path) if self.done and path and path.exists() else None

    @property
    def metrics(self) -> dict[str, float | None]:
        """The newest evaluation's {name: value}; empty before the first."""
        told = self.summary or self.status
        return dict(told.metrics) if told else {}

    def _rows(self) -> list[Row]:
        """NB: `seconds` count as in history.jsonl."""
        path = self._file("history.jsonl")
        return rows_of(path) if path and path.exists() else []

    def model(self) -> nn.Module:
        """The task's model with the trained weights, in evaluation mode; it is built anew by the task's code.

        Raises UserError before the end, where there is no model, and for an entrypoint that is a script.
        """
        from asgd.interactive.trained import build

        return build(self._ended_folder(), self._code)

    def state_dict(self) -> Mapping[str, Tensor]:
        """The trained weights and the rest of the model's state, by name; `load_state_dict` takes it with strict=True.

        Raises UserError before the end, and where there is no model.
        """
        from asgd.interactive.trained import state_of

        return state_of(self._ended_folder())

    def report(self, folder: str | Path | None = None) -> Path:
        """Writes the page of `asgd report`, into `folder` or the run's own report/; returns the path of report.html.

        report.png lies beside it. Raises UserError before the run has a history.
        """
        from asgd.report import compare

        place = self._folder()
        target = Path(folder) if folder is not None else place / "report"
        compare.write([str(place)], str(target), None)
        return target / "report.html"

    def _folder(self) -> Path:
        if self.output is None:
            raise UserError(f"{self.name} has no folder: it has not begun")
        return self.output

    def _ended_folder(self) -> Path:
        if not self.done:
            raise UserError(
                f"{self.name} goes on: its model is there when it has ended; stop() ends and saves it"
            )
        return self._folder()

    def _file(self, name: str) -> Path | None:
        return self.output / name if self.output else None

    # -- how it looks ------------------------------------------------------------------------------

    def __repr__(self) -> str:
        told = self.summary or self.status
        words = [self._state()]
        if told:
            words += [f"{name} {units.number(value)}" for name, value in list(told.metrics.items())[:3]]
            words.append(units.plural(told.updates, "update"))
        if self.output:
            words.append(str(self.output))
        return f"<asgd.Run {self.name}: {', '.join(words)}>"

    def _state(self) -> str:
        if not self.done:
            return self.status.phase if self.status else "starting"
        ended = self._launched.ended if self._launched else None
        if ended and ended.code not in (exitcodes.DONE, exitcodes.INTERRUPTED):
            return f"failed with {ended.code}"
        summary = self.summary
        return "interrupted" if summary is None or summary.stop_reason == "interrupted" else "finished"

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        """The curves, as a notebook shows them."""
        from asgd.report import curves
        from asgd.report import history as histories

        path = self._file("history.jsonl")
        if path is None or not path.exists() or not (history := histories.read(path)).lines:
            return None
        picture = self._file("curves.png")
        drawn = picture.read_bytes() if picture and picture.exists() else curves.render(history, self.name)
        return drawn, {"width": _PICTURE_WIDTH}
