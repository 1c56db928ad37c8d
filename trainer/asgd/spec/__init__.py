"""The job: its types, and how YAML becomes a checked value of them.

Importing this is cheap: YAML, schema and CEL libraries load when a job is checked for the first time.
"""

from asgd.spec.advice import advice
from asgd.spec.check import check_document
from asgd.spec.load import job_from_json, job_of, job_to_json, load_job
from asgd.spec.problems import JobError, Problem
from asgd.spec.sources import with_files
from asgd.spec.types import Job, JobSpec

__all__ = [
    "Job",
    "JobError",
    "JobSpec",
    "Problem",
    "advice",
    "check_document",
    "dump_job",
    "job_from_json",
    "job_of",
    "job_to_json",
    "load_job",
    "with_files",
]


def dump_job(job: Job) -> str:
    """YAML of the defaulted document."""
    from asgd.spec.dump import dump_job as dump  # brings PyYAML, which servers and workers never need

    return dump(job)
