"""All jobs of a cluster: how many, which need a look, what they use; from each row to the job's own board."""

from __future__ import annotations

from .board import Json, Row, frame, mark, several
from .panels import BAD, PHASES, WARN, graph, number, table

JOBS = 'namespace=~"$namespace"'
RATE = "$__rate_interval"
LINK = (
    "/d/asgd-job?var-datasource=${datasource}&var-namespace=${__data.fields.namespace}"
    "&var-job=${__data.fields.name}&${__url_time_range}"
)


def of_job(expr: str, how: str = "max") -> str:
    """Series of pods under the names that the operator's series have."""
    named = f'label_replace({expr}, "name", "$1", "asgd_dev_job_name", "(.+)")'
    return f"{how} by (namespace, name) ({named})"


def busiest(over: str) -> str:
    """Share of its time in which a shard serves, of each."""
    took = f"asgd_server_request_duration_seconds_sum{{{JOBS}}}[{over}]"
    return f"sum by (namespace, asgd_dev_job_name, pod) (rate({took}))"


def now() -> Row:
    workers = "asgd_operator_job_workers"
    old = f"max(asgd_server_checkpoint_age_seconds{{{JOBS}}})"
    return "Now", [
        number("Jobs that train", "AsgdJobs in phase Running.",
               ('sum(asgd_operator_jobs{phase="Running"}) or vector(0)', ""),
               colour="blue"),
        number("Need a look", "0; the table below names jobs and reasons.",
               ("count(count by (namespace, name) (asgd_operator_job_reason{"
                f'{JOBS}, type=~"Degraded|Failed|Accepted"}}))'
                " or vector(0)", ""), limits=[(1, WARN)]),
        number("Workers ready", "Of all jobs; they train, or are about to.",
               (f'sum({workers}{{{JOBS}, state="ready"}}) or vector(0)', ""), colour="blue"),
        number("Workers missing", "0 for long; jobs with fewer workers than they ask for wait for nodes or quota.",
               (f'sum({workers}{{{JOBS}, state="desired"}}) - sum({workers}{{{JOBS}, state="ready"}})'
                " or vector(0)", ""),
               limits=[(1, WARN)]),
        number("Devices in use", "GPUs and the like of workers that are ready.",
               (f"sum(asgd_operator_job_devices{{{JOBS}}}) or vector(0)", ""), colour="blue"),
        number("Oldest checkpoint", "Some intervals at most; the table of jobs names the job.", (old, ""), "s",
               limits=[(1800, WARN), (3600, BAD)]),
    ]  # fmt: skip


def jobs() -> Row:
    workers, shard0 = "asgd_operator_job_workers", ', pod=~".*-server-0"'
    staleness = (
        "histogram_quantile(0.99, sum by (namespace, name, le) (label_replace("
        f"rate(asgd_server_gradient_staleness_updates_bucket{{{JOBS}}}[5m]), "
        '"name", "$1", "asgd_dev_job_name", "(.+)")))'
    )
    columns = [
        ("ready", f'max by (namespace, name) ({workers}{{{JOBS}, state="ready"}})', "short"),
        ("desired", f'max by (namespace, name) ({workers}{{{JOBS}, state="desired"}})', "short"),
        ("progress", of_job(f"asgd_server_progress_ratio{{{JOBS}}}"), "percentunit"),
        ("time left", of_job(f"asgd_server_eta_seconds{{{JOBS}}}"), "s"),
        ("loss", of_job(f"asgd_server_loss{{{JOBS}}}"), "short"),
        ("samples/s", of_job(f"rate(asgd_server_samples_total{{{JOBS}{shard0}}}[5m])", "sum"), "short"),
        ("staleness 99 %", staleness, "short"),
        ("busiest shard", of_job(busiest("5m")), "percentunit"),
        ("checkpoint", of_job(f"asgd_server_checkpoint_age_seconds{{{JOBS}}}"), "s"),
    ]  # fmt: skip
    look = f"max by (namespace, name, phase, type, reason) (asgd_operator_job_reason{{{JOBS}}})"
    firing = (
        'count by (namespace, name, alertname, severity) (ALERTS{alertname=~"Asgd.+", alertstate="firing"})'
    )
    return "Jobs", [
        table("Jobs", "A click on a name opens its board. Orange and red cells are what to look at first.",
              ["namespace", "name"], columns, link=LINK,
              limits={"busiest shard": [(0.8, WARN), (0.95, BAD)], "checkpoint": [(1800, WARN), (3600, BAD)]}),
        table("What needs a look", "Conditions that are not as they should be; each reason has its line in"
              " docs/reference/reasons.md, with what to do.",
              ["namespace", "name", "phase", "type", "reason"], [("", look, "short")], wide=14, link=LINK),
        table("Alerts that fire", "Empty; each has its section in docs/reference/runbook.md.",
              ["alertname", "severity", "namespace", "name"], [("", firing, "short")], wide=10, link=LINK),
    ]  # fmt: skip


def history() -> Row:
    workers = "asgd_operator_job_workers"
    name = "{{namespace}}/{{name}}"
    return "Over time", [
        graph("Jobs by phase", "Running, and Succeeded in the end; Stalled, Recovering or WaitingForWorkers for long"
              " need a look.", ("sum by (phase) (asgd_operator_jobs) > 0", "{{phase}}"), stacked="normal",
              colours=PHASES),
        graph("Workers", "ready follows desired; a gap for long: a lack of nodes, quota or a crash: see WorkersReady.",
              (f'sum({workers}{{{JOBS}, state="desired"}})', "desired"),
              (f'sum({workers}{{{JOBS}, state="ready"}})', "ready")),
        graph("Devices in use", "GPUs and the like of workers that are ready, by resource.",
              (f"sum by (resource) (asgd_operator_job_devices{{{JOBS}}})", "{{resource}}")),
        graph("Samples a second", "By job, in accepted pushes; a job that falls to 0 is stuck.",
              (of_job(f'rate(asgd_server_samples_total{{{JOBS}, pod=~".*-server-0"}}[{RATE}])', "sum"), name), wide=12),
        graph("Busiest shard", "Under 80 %; a job near 100 % gains nothing from more workers: add shards.",
              (of_job(busiest(RATE)), name), unit="percentunit", limits=[(0.8, WARN), (0.95, BAD)], most=1, wide=12),
        graph("Restarts in an hour", "0; failures cost the jobs' budgets: status.lastFailure has the last words.",
              (f"sum by (namespace, name, role, reason) (round(increase("
               f"asgd_operator_job_restarts_total{{{JOBS}}}[1h]))) > 0", name + " {{role}}: {{reason}}"), wide=12),
        graph("Age of the newest checkpoint", "A saw with small teeth for each job; a line that climbs is a job that"
              " no longer saves.", (of_job(f"asgd_server_checkpoint_age_seconds{{{JOBS}}}"), name), unit="s", wide=12),
    ]  # fmt: skip


def board() -> Json:
    """The document."""
    namespaces = several("namespace", "Namespace", "label_values(asgd_operator_job_condition, namespace)")
    failed = f'asgd_operator_job_condition{{{JOBS}, type="Failed", status="true"}}'
    over = mark(
        "A job failed",
        "red",
        f"{failed} == 1 unless {failed} offset 1m == 1",
        "{{namespace}}/{{name}} failed",
    )
    says = "All AsgdJobs: which need a look, what they use, how they fare; each opens its own board."
    return frame("asgd-fleet", "asgd / Fleet", says, [namespaces], [over], [now(), jobs(), history()])
