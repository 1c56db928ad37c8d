"""The operator itself: does it lead and keep up, what does it fail on, what it asks of the API server and needs."""

from __future__ import annotations

from .board import Json, Row, frame, mark
from .panels import BAD, PHASES, WARN, graph, number

RATE = "$__rate_interval"
OWN = "and on (instance) asgd_operator_build_info"
"""Of process_* those of operators: every program has them."""


def now() -> Row:
    return "Does it keep up?", [
        number("Leads", "1; 0 is a second operator that waits, none is no operator: see its pod and /readyz.",
               ("max(asgd_operator_leader)", ""), colour="red", limits=[(1, "green")]),
        number("Jobs that wait for a look", "Those whose time has come. Near 0; many for long: raise queue.workers and"
               " queue.perSecond.",
               ("sum(asgd_operator_queue_depth)", ""), limits=[(50, WARN), (500, BAD)]),
        number("Overdue", "How long the first of them waits beyond its time; seconds at most.",
               ("max(asgd_operator_queue_oldest_age_seconds)", ""), "s", limits=[(30, WARN), (300, BAD)]),
        number("Looks a second", "Passes over a job; 0 for long although there are jobs: it hangs.",
               (f"sum(rate(asgd_operator_reconcile_total[{RATE}]))", ""), "short", colour="blue", decimals=1),
        number("Failed looks in an hour", "0; the graph below has the reasons, the jobs' conditions the words.",
               ("sum(increase(asgd_operator_reconcile_errors_total[1h]))", ""),
               limits=[(1, WARN), (50, BAD)], decimals=0),
        number("Version", "Of the operator; the CRD must be at least as new.",
               ("asgd_operator_build_info", "{{version}}"), by_name=True, colour="blue"),
        graph("Queue", "Near 0, with a peak when many jobs change at once.",
              ("sum(asgd_operator_queue_depth)", "jobs that wait")),
        graph("Overdue", "Seconds at most; a line that climbs: the API server is slow, or queue.workers too few.",
              ("max(asgd_operator_queue_oldest_age_seconds)", "the first one"), unit="s", limits=[(300, BAD)]),
        graph("Looks a second", "By result; errors are tried again, ever more rarely.",
              (f"sum by (result) (rate(asgd_operator_reconcile_total[{RATE}]))", "{{result}}")),
    ]  # fmt: skip


def passes() -> Row:
    buckets = "sum by (le) (rate(asgd_operator_reconcile_duration_seconds_bucket[5m]))"
    begun = "sum by (le) (increase(asgd_operator_job_time_to_running_seconds_bucket[1h]))"
    return "What does it fail on?", [
        graph("Time of a look", "Well under a second; it grows with the API server's answers.",
              (f"histogram_quantile(0.5, {buckets})", "median"),
              (f"histogram_quantile(0.99, {buckets})", "99 %"), unit="s"),
        graph("Failures in an hour", "0. transient: the API server was away; forbidden: a right is missing; invalid,"
              " bug: report it.",
              ("sum by (reason) (round(increase(asgd_operator_reconcile_errors_total[1h]))) > 0", "{{reason}}")),
        graph("Refused statuses and unreadable objects", "0; an older CRD than the operator's is the usual cause.",
              ("sum by (part) (increase(asgd_operator_status_refused_total[1h])) > 0", "status refused: {{part}}"),
              ("sum by (resource) (increase(asgd_operator_watch_unreadable_total[1h])) > 0",
               "unreadable: {{resource}}")),
        graph("From a job's start until it trains", "Of the jobs of the last hour; minutes: images are pulled, or"
              " nodes are waited for.",
              (f"histogram_quantile(0.5, {begun})", "median"), (f"histogram_quantile(0.9, {begun})", "90 %"), unit="s"),
        graph("Jobs by phase", "What the operator looks after.",
              ("sum by (phase) (asgd_operator_jobs) > 0", "{{phase}}"), stacked="normal", colours=PHASES),
        graph("Newest event of each watch", "Time since; watches that should be busy and stand still were lost, after"
              " which the operator ends with 75 and begins anew.",
              ("time() - max by (resource) (asgd_operator_watch_last_event_timestamp_seconds)",
               "{{resource}}"), unit="s"),
    ]  # fmt: skip


def server() -> Row:
    asked = "asgd_operator_kube_requests_total"
    return "What does it ask of the API server?", [
        graph("Requests a second by verb", "About ten for a change of a job, none for one that just trains.",
              (f"sum by (verb) (rate({asked}[{RATE}]))", "{{verb}}")),
        graph("Requests a second by resource", "Writes follow changes of jobs; a resource that never rests is one"
              " that somebody else changes back.",
              (f"sum by (resource) (rate({asked}[{RATE}]))", "{{resource}}")),
        graph("Answers that are no success, a second", "Near 0. 404: not made yet, or gone; 409: two writers; 403: a"
              " right is missing; 422: refused; 429, 5xx: the API server is loaded; 0: no answer.",
              (f'sum by (verb, code) (rate({asked}{{code!~"2.."}}[{RATE}])) > 0', "{{verb}} {{code}}")),
    ]  # fmt: skip


def process() -> Row:
    return "What does it need?", [
        graph("CPU, in cores", "A few hundredths of a core for a hundred jobs; at the limit, looks wait.",
              (f"rate(process_cpu_seconds_total[{RATE}]) {OWN}", "{{pod}}"), wide=6),
        graph("Memory", "Under half of resources.limits.memory; 232 MiB among 310 jobs.",
              (f"process_resident_memory_bytes {OWN}", "{{pod}}"), unit="bytes", wide=6),
        graph("Open files", "Tens; one that climbs for days is a leak: report it.",
              (f"process_open_fds {OWN}", "{{pod}}"), wide=6),
        graph("Has run for", "It climbs; a fall to 0 is a restart: exit code 75 in its log is a lost watch or Lease.",
              (f"time() - process_start_time_seconds {OWN}", "{{pod}}"), unit="s", wide=6),
    ]  # fmt: skip


def board() -> Json:
    """The document."""
    since = "process_start_time_seconds and on (instance) asgd_operator_build_info"
    began = mark("Operator started", "blue", f"({since}) > time() - 60", "an operator started")
    says = "The operator: does it lead and keep up, what does it fail on, what does it ask for and need."
    return frame(
        "asgd-operator", "asgd / Operator", says, [], [began], [now(), passes(), server(), process()]
    )
