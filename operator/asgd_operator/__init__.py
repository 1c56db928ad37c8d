"""The operator: turns an `AsgdJob` into pods and keeps it running. It knows the trainer's spec and nothing
else of it."""

from importlib.metadata import version

__version__ = version("asgd-operator")
