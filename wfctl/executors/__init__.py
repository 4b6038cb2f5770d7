"""The ways to perform jobs, by name.

Knows no plan and no state: an executor is handed jobs and tells what became of them."""

EXECUTORS = {
    "local": "wfctl.executors.local:LocalExecutor",
    "simulated": "wfctl.executors.simulated:SimulatedExecutor",
}
"""Name to the class that performs. A new executor is a new file, a line here, and one in the contract tests."""
