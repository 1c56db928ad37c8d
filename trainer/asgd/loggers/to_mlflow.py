"""A run of MLflow by its own client, found again by a tag."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asgd.loggers.points import Point
from asgd.loggers.sink import Place
from asgd.spec.types import MLflow

TAG = "asgd.id"
BATCH = 1000
"""Values in one request, by MLflow's own limit."""
_STRANGE = re.compile(r"[^\w\-. /:]")
_STEP = "train/updates"


def tracking_uri(how: MLflow, place: Place) -> str:
    """Where the run is kept: as the job says, else MLflow's own variable, else a folder beside the run."""
    return how.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or (place.folder / "mlruns").as_uri()


class MLflowSink:
    """`highest` is asked of the store: MLflow takes a step twice, and forgets none."""

    undoes = False

    def __init__(self, how: MLflow, place: Place) -> None:
        uri = tracking_uri(how, place)
        if uri.startswith("file:") or "://" not in uri:
            # NB: MLflow 3 refuses folders, in favour of databases, unless it is told that they are meant.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            uri = uri if uri.startswith("file:") else Path(uri).absolute().as_uri()
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._client = Metric, MlflowClient(tracking_uri=uri)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") if not how.experiment else ""
        experiment = experiment or self._experiment(
            how.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or place.job
        )
        found = self._client.search_runs([experiment], f"tags.`{TAG}` = '{place.id}'", max_results=1)
        if found:
            self.run = found[0].info.run_id
            self._client.update_run(self.run, status="RUNNING")
            self.highest = int(found[0].data.metrics.get(_STEP, -1))
            return
        name = how.run_name or place.name
        self.run = self._client.create_run(experiment, run_name=name, tags={TAG: place.id}).info.run_id
        params = [Param(_plain(key), str(value)[:500]) for key, value in place.config.items()]
        self._client.log_batch(self.run, params=params[:100])
        self.highest = -1

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def back(self, updates: int) -> None:
        """MLflow keeps what it has."""

    def write(self, points: Sequence[tuple[float, Point]]) -> None:
        metrics: list[Any] = []
        for when, point in points:
            values = point.values | ({_STEP: point.updates} if "train/samples" in point.values else {})
            metrics += [
                self._metric(_plain(name), value, int(when * 1000), point.updates)
                for name, value in values.items()
            ]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(self.run, metrics=metrics[start : start + BATCH])

    def close(self, stop_reason: str) -> None:
        ended = {"diverged": "FAILED", "interrupted": "KILLED", "": "KILLED"}
        self._client.set_terminated(self.run, ended.get(stop_reason, "FINISHED"))


def _plain(name: str) -> str:
    """MLflow allows few characters in a name."""
    return _STRANGE.sub("_", name)[:250]
