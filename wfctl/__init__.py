"""wfctl: run a DAG described in one YAML file, on one machine, with no server."""

__version__ = "0.1.0"
