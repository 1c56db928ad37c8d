"""One job, in the order in which people ask: is it learning, how stale, who is slow, are the servers the limit,
what was lost, is it saved and evaluated.
"""

from __future__ import annotations

from .board import Json, Row, frame, mark, variable
from .panels import BAD, STATES, WARN, graph, heat, number, table, timeline

PODS = 'namespace="$namespace", asgd_dev_job_name="$job"'
"""Series of the job's pods; those of the operator about it have `JOB`."""
WORKERS = f'{PODS}, asgd_dev_role="worker"'
"""An evaluator has series of the same names."""
JOB = 'namespace="$namespace", name="$job"'
RATE = "$__rate_interval"
BUCKETS = f"sum by (le) (rate(asgd_server_gradient_staleness_updates_bucket{{{PODS}}}[5m]))"


def by_worker(expr: str) -> str:
    """`expr` by pod, under the worker's number: a worker that was started again goes on in its line."""
    return f'sum by (worker) (label_replace({expr}, "worker", "$1", "pod", ".*-worker-([0-9]+).*"))'


def by_shard(expr: str) -> str:
    """The same for parameter servers."""
    return f'sum by (shard) (label_replace({expr}, "shard", "$1", "pod", ".*-server-([0-9]+)"))'


def rate(metric: str, more: str = "", over: str = RATE) -> str:
    """A second, of all pods by pod."""
    chosen = WORKERS if metric.startswith("asgd_worker_") else PODS
    return f"sum by (pod) (rate({metric}{{{chosen}{more}}}[{over}]))"


def board_variables() -> list[Json]:
    """Namespace and job, from what is or was scraped of servers."""
    name = 'label_values(asgd_server_updates_total{namespace="$namespace"}, asgd_dev_job_name)'
    return [
        variable("namespace", "Namespace", "label_values(asgd_server_updates_total, namespace)"),
        variable("job", "Job", name),
    ]


def learning() -> Row:
    speed = f'sum(rate(asgd_server_samples_total{{{PODS}, pod=~".*-server-0"}}[{RATE}]))'
    return "Is it learning?", [
        number("Progress", "Towards the stop rule that is reached first; none where only a metric ends the job.",
               (f"max(asgd_server_progress_ratio{{{PODS}}})", ""), "percentunit", colour="blue"),
        number("Time left", "At the present rate; none where only a metric ends the job.",
               (f"max(asgd_server_eta_seconds{{{PODS}}})", ""), "s", colour="blue"),
        number("Training loss", "Recent mean over all workers; it should fall, and stand still only near the end.",
               (f"max(asgd_server_loss{{{PODS}}})", ""), "short", colour="blue"),
        number("Samples a second", "In accepted pushes; if it fell, look at who is slow and at the servers below.",
               (speed, ""), "short", colour="blue", decimals=0),
        number("Workers", "Members at this moment; fewer than workers.replicas: see WorkersReady of the job.",
               (f"max(asgd_server_connected_workers{{{PODS}}})", ""), "short", colour="blue"),
        number("Strategy", "The name in spec.algorithm.", (f"asgd_server_job_info{{{PODS}}}", "{{algorithm}}"),
               by_name=True, colour="blue"),
        graph("Training loss", "Mean, and the workers that are lowest and highest; a worker that goes its own way has"
              " other data, or diverges: look at its gradient norm.",
              (f"max(asgd_server_loss{{{PODS}}})", "mean of the job"),
              (f"min(asgd_worker_loss{{{WORKERS}}})", "lowest worker"),
              (f"max(asgd_worker_loss{{{WORKERS}}})", "highest worker"), least=None),
        graph("Evaluations", "The metrics of your evaluate; flat at 0 or gone: see Evaluations that failed below.",
              (f"max by (metric) (asgd_server_evaluation{{{PODS}}})", "{{metric}}"), least=None),
        graph("Samples a second", "Computed by workers, and accepted by shard 0; a gap between them is work that was"
              " refused or lost: see What was lost.",
              (f"sum(rate(asgd_worker_samples_total{{{WORKERS}}}[{RATE}]))", "computed"), (speed, "accepted")),
        graph("Gradient norm", "Where optimizer.clipNorm is set. It should stay in one order of magnitude; one that"
              " climbs comes before divergence: lower the learning rate.",
              (f"avg(asgd_worker_gradient_norm{{{WORKERS}}})", "mean"),
              (f"max(asgd_worker_gradient_norm{{{WORKERS}}})", "highest worker"), log=True),
        graph("Updates a second by shard", "Alike for all shards; one that lags is on a slow node, or was restarted.",
              (by_shard(rate("asgd_server_updates_total")), "shard {{shard}}")),
        graph("Epochs", "Passes over the data; a straight line. It steps back when a checkpoint was restored.",
              (f"max(asgd_server_epochs{{{PODS}}})", "epochs")),
    ]  # fmt: skip


def staleness() -> Row:
    of_worker = f"rate(asgd_server_worker_staleness_updates_total{{{PODS}}}[5m])"
    each = f"rate(asgd_server_worker_updates_total{{{PODS}}}[5m])"
    return "How stale are gradients?", [
        heat("Staleness of accepted pushes", "Most pushes should lie below the number of workers; a second band far"
             " above is a slow worker, which the graph of workers names.",
             f"sum by (le) (increase(asgd_server_gradient_staleness_updates_bucket{{{PODS}}}[{RATE}]))", "short"),
        graph("Quantiles and bound", "The 99th percentile should stay under four times the workers and under"
              " exchange.staleness.max; if not, look for a slow worker, or take a staleness-aware strategy.",
              (f"histogram_quantile(0.5, {BUCKETS})", "median"), (f"histogram_quantile(0.99, {BUCKETS})", "99 %"),
              (f"max(asgd_server_staleness_bound_updates{{{PODS}}})", "exchange.staleness.max"),
              (f"max(asgd_server_connected_workers{{{PODS}}})", "workers"), wide=6),
        graph("Mean by worker", "About the number of other workers for each; the highest line is the slowest worker.",
              (f"sum by (worker) ({of_worker}) / sum by (worker) ({each})", "worker {{worker}}"), wide=6),
    ]  # fmt: skip


def workers() -> Row:
    stages = f"sum by (stage) (rate(asgd_worker_stage_duration_seconds_total{{{WORKERS}}}[{RATE}]))"
    return "Who is slow?", [
        graph("Steps a second by worker", "Alike on equal machines; for a slow one see the table below.",
              (by_worker(rate("asgd_worker_steps_total")), "worker {{worker}}")),
        graph("Where the workers' time goes", "Mostly compute. Much data: read faster or with more processes; much"
              " exchange or wait: servers or the network are slow, or a barrier waits for a worker.",
              (stages, "{{stage}}"), unit="percentunit", stacked="percent"),
        graph("Without progress", "0 or a step's time; a worker above the line is hung or in a very long step: read"
              " its log, or let workers.progressDeadlineSeconds end it.",
              (f"max by (worker) (asgd_server_worker_idle_seconds{{{PODS}}})", "worker {{worker}}"),
              unit="s", limits=[(60, BAD)]),
        table("Workers", "Shares are of each worker's time in the last minutes: a slow worker with much compute has a"
              " slow machine, with much data a slow disk, with much exchange a slow network.",
              ["worker"], [
                  ("steps/s", by_worker(rate("asgd_worker_steps_total", over="5m")), "short"),
                  ("samples/s", by_worker(rate("asgd_worker_samples_total", over="5m")), "short"),
                  *((stage, by_worker(rate("asgd_worker_stage_duration_seconds_total", f', stage="{stage}"', "5m")),
                     "percentunit") for stage in ("compute", "data", "exchange", "wait")),
                  ("loss", by_worker(f"sum by (pod) (asgd_worker_loss{{{WORKERS}}})"), "short"),
                  ("staleness", f"sum by (worker) (rate(asgd_server_worker_staleness_updates_total{{{PODS}}}[5m]))"
                   f" / sum by (worker) (rate(asgd_server_worker_updates_total{{{PODS}}}[5m]))", "short"),
                  ("without progress", f"max by (worker) (asgd_server_worker_idle_seconds{{{PODS}}})", "s"),
              ], limits={"without progress": [(60, BAD)]}),
    ]  # fmt: skip


def servers() -> Row:
    took, count = "asgd_server_request_duration_seconds_sum", "asgd_server_request_duration_seconds_count"
    by_op = f"sum by (op) (rate({took}{{{PODS}}}[{RATE}])) / sum by (op) (rate({count}{{{PODS}}}[{RATE}]))"
    return "Are the servers the limit?", [
        graph("Serving thread, busy", "Under 80 %; near 100 % more workers bring nothing: add shards, send fewer"
              " bytes (codec), or push less often.",
              (by_shard(rate(took)), "shard {{shard}}"), unit="percentunit", limits=[(0.8, WARN), (0.95, BAD)], most=1),
        graph("Time of one request", "Mean for one chunk of a push or pull; it should not move. If it grows, the"
              " server's node is busy with something else.", (by_op, "{{op}}"), unit="s"),
        graph("Pulls held back", "0, but for strategies that wait (rounds, ssp, warm start); many for long: the"
              " slowest worker holds the others.",
              (by_shard(f"sum by (pod) (asgd_server_parked_requests{{{PODS}}})"), "shard {{shard}}")),
        graph("Bytes a second", "What the network must carry; near its limit use a codec or push less often.",
              (f"sum(rate(asgd_server_received_bytes_total{{{PODS}}}[{RATE}]))", "received"),
              (f"sum(rate(asgd_server_sent_bytes_total{{{PODS}}}[{RATE}]))", "sent"),
              (f"sum(rate(asgd_server_saved_bytes_total{{{PODS}}}[{RATE}]))", "saved by codecs"), unit="Bps"),
        graph("Requests a second", "Chunks of pushes and pulls, all shards.",
              (f"sum by (op) (rate({count}{{{PODS}}}[{RATE}]))", "{{op}}")),
        graph("Memory of parameters", "Parameters and optimizer state, and what is kept for compressed pulls; it must"
              " fit parameterServer.resources with room for one checkpoint.",
              (by_shard(f"sum by (pod) (asgd_server_parameter_size_bytes{{{PODS}}})"), "shard {{shard}}"),
              (f"sum(asgd_server_shadow_size_bytes{{{PODS}}})", "kept for compressed pulls"), unit="bytes"),
    ]  # fmt: skip


def losses() -> Row:
    return "What was lost?", [
        number("Updates lost", "Acknowledged, and gone with a server that died; at most those of one checkpoint"
               " interval for each death: shorten checkpoint.everySeconds.",
               (f"sum(max by (pod) (asgd_server_lost_updates_total{{{PODS}}}))", ""), limits=[(1, WARN)], wide=4),
        number("Workers not listened to", "0; the strategy leaves out what they send: look at their data and machines.",
               (f"max(asgd_server_rejected_workers{{{PODS}}})", ""), limits=[(1, WARN)], wide=4),
        number("Workers under suspicion", "0; a push of theirs was lately not finite or out of all bounds.",
               (f"max(asgd_server_suspect_workers{{{PODS}}})", ""), limits=[(1, WARN)], wide=4),
        number("Batches left out", "0; loss or gradient was not finite: look at data and learning rate.",
               (f"sum(asgd_worker_batches_dropped_total{{{WORKERS}}})", ""), limits=[(1, WARN)], wide=4),
        number("Went back", "How often the job diverged and went back to a checkpoint; if it repeats, lower the"
               " learning rate.", (f"max(asgd_server_rollbacks_total{{{PODS}}})", ""), limits=[(1, BAD)], wide=4),
        number("Messages not served", "0 in an hour; others speak to this job's servers, or versions differ: the log"
               " of the server has the reason.",
               (f"sum(increase(asgd_server_messages_refused_total{{{PODS}}}[1h])) or vector(0)", ""),
               limits=[(1, WARN)], wide=4, decimals=0),
        graph("Pushes refused a second", "Near 0. stale: a slow worker; nonfinite, outlier: its data or the learning"
              " rate; late: a round closed without it.",
              (f"sum by (reason) (rate(asgd_server_updates_rejected_total{{{PODS}}}[5m]))", "{{reason}}"), wide=12),
        graph("Workers by state", "All running; hung and lost ones come back by themselves, again and again is a"
              " fault of their code or machine.",
              (f"max by (state) (asgd_server_workers{{{PODS}}})", "{{state}}"), wide=12, stacked="normal",
              colours=STATES),
    ]  # fmt: skip


def safety() -> Row:
    states = {"0": ("no", "transparent"), "1": ("yes", "blue")}
    return "Is it saved, evaluated, restarted?", [
        graph("Age of the newest checkpoint", "Below the dashed line of three intervals; above it read the log of"
              " shard 0: a full disk, or no rights on the bucket.",
              (f"max(asgd_server_checkpoint_age_seconds{{{PODS}}})", "age"),
              (f"3 * max(asgd_server_checkpoint_interval_seconds{{{PODS}}})", "three intervals"), unit="s"),
        graph("Time of a checkpoint", "Well below the interval; if not, save less often or use faster storage.",
              (by_shard(f"sum by (pod) (asgd_server_checkpoint_duration_seconds{{{PODS}}})"), "shard {{shard}}"),
              (f"max(asgd_server_checkpoint_store_busy_seconds{{{PODS}}})", "store at work since"), unit="s"),
        graph("Checkpoints in an hour", "saved grows steadily, failed is 0; the log of the shard says why one failed.",
              (f"sum by (result) (round(increase(asgd_server_checkpoints_total{{{PODS}}}[1h])))", "{{result}}")),
        graph("Restarts in an hour", "0; failures cost the budgets backoffLimit and backoffLimitPerIndex, disruptions"
              " do not. The last words stand in status.lastFailure.",
              (f"sum by (role, reason) (round(increase(asgd_operator_job_restarts_total{{{JOB}}}[1h])))",
               "{{role}}: {{reason}}")),
        graph("Evaluations that failed", "Flat; a step is an evaluate that raised: the condition Degraded quotes it.",
              (f"max(asgd_server_evaluations_failed_total{{{PODS}}})", "failed so far")),
        graph("Term of each shard", "How often it was started; a step is a restart.",
              (by_shard(f"sum by (pod) (asgd_server_term{{{PODS}}})"), "shard {{shard}}")),
        timeline("Conditions of the job", "Running throughout, Degraded and Failed never; reasons stand in kubectl"
                 " describe asgdjob.",
                 (f'max by (type) (asgd_operator_job_condition{{{JOB}, status="true"}})', "{{type}}"), states, wide=16),
        table("What needs a look", "Empty; each reason has its line in docs/reference/reasons.md.", ["type", "reason"],
              [("", f"max by (type, reason) (asgd_operator_job_reason{{{JOB}}})", "short")], wide=8, tall=8),
    ]  # fmt: skip


def board() -> Json:
    """The document."""
    term, back = f"asgd_server_term{{{PODS}}}", f"asgd_server_rollbacks_total{{{PODS}}}"
    again = f"max by (pod) ({term}) > max by (pod) ({term} offset 1m)"
    marks = [
        mark("Servers started again", "orange", again, "{{pod}} was started again"),
        mark("Went back to a checkpoint", "red", f"max({back}) > max({back} offset 1m)", "the job went back"),
    ]
    says = "One AsgdJob: is it learning, how stale, who is slow, are servers the limit, what was lost, is it saved."
    rows = [learning(), staleness(), workers(), servers(), losses(), safety()]
    return frame("asgd-job", "asgd / Job", says, board_variables(), marks, rows)
