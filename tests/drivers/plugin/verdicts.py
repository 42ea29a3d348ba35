"""pytest plugin of the driver suites: a database of its own for each worker, and one line of JSON per finished test.

It reads three variables: DRIVERS_DATABASE, the prefix of the databases' names; DRIVERS_PRIMARY, the conninfo that creates them past
the proxy; DRIVERS_VERDICTS, the file that the verdicts go to. In DRIVERS_SETTINGS, a JSON object of environment variables for the
suite, `{database}` stands for the worker's database.
"""

import json
import os
import subprocess
import time

# From least to most telling: what a test is worth is the worst that any of its phases reported.
ORDER = ["passed", "xpassed", "xfailed", "skipped", "failed", "error"]


def _prepare_worker():
    """Workers import this before pytest reads the suite's own configuration, so that the suite sees its database from the start."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return
    database = f"{os.environ['DRIVERS_DATABASE']}_{worker}"
    create = ["psql", "-XqAt", "-d", os.environ["DRIVERS_PRIMARY"], "-c", f'CREATE DATABASE "{database}"']
    subprocess.run(create, check=True, timeout=60)
    for name, value in json.loads(os.environ["DRIVERS_SETTINGS"]).items():
        os.environ[name] = value.replace("{database}", database)


_prepare_worker()


def pytest_configure(config):
    """Only the controlling process writes verdicts."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(os.environ["DRIVERS_VERDICTS"]), "drivers-recorder")


class Recorder:
    """Collects the phases of each test and appends its verdict as soon as the last is in."""

    def __init__(self, path):
        self.path = path
        self.open = {}

    def pytest_runtest_logreport(self, report):
        """`when` is setup, call or teardown; xdist reports a worker that died in a test with another word and nothing after it."""
        state = self.open.setdefault(report.nodeid, {"verdict": "passed", "seconds": 0.0, "message": ""})
        verdict = _verdict(report)
        state["seconds"] += report.duration
        if ORDER.index(verdict) > ORDER.index(state["verdict"]):
            state["verdict"] = verdict
            state["message"] = _message(report)
        if report.when not in ("setup", "call"):
            self._write(report.nodeid)

    def pytest_sessionfinish(self):
        """A test that never reached its last phase still gets its line."""
        for nodeid in list(self.open):
            self._write(nodeid)

    def _write(self, nodeid):
        state = self.open.pop(nodeid)
        line = {"id": nodeid, "at": round(time.time(), 3), **state}
        line["seconds"] = round(line["seconds"], 3)
        with open(self.path, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def _verdict(report):
    expected_to_fail = hasattr(report, "wasxfail")
    if report.failed:
        return "failed" if report.when == "call" or report.when not in ("setup", "teardown") else "error"
    if type(report).__name__ == "SubtestReport":
        return "passed"  # what a subtest skips or passes is not the verdict of its test
    if report.skipped:
        return "xfailed" if expected_to_fail else "skipped"
    return "xpassed" if expected_to_fail else "passed"


def _message(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return text.strip()[:600]
