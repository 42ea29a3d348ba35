"""The suites: where each comes from, what it needs, how it is pointed at an address, and how its verdicts are read."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import testbed
import verdicts

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

TEST_TIMEOUT_SECONDS = 30
SESSION_TIMEOUT_SECONDS = 120
RUN_TIMEOUT_SECONDS = 1800

ASYNCPG_VERSION = "0.32.0"
PSYCOPG2_VERSION = "2.9.13"


def cache_folder():
    """Downloads, virtual environments and results: target/drivers, or $PGCONVOY_DRIVERS_CACHE.

    The suites run as the service user, so a checkout that it cannot enter (below /root, say) gets a folder beside the system's other
    temporary ones instead.
    """
    named = os.environ.get("PGCONVOY_DRIVERS_CACHE")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    folder = pathlib.Path(named) if named else target / "drivers"
    folder.mkdir(parents=True, exist_ok=True)
    reachable = subprocess.run(testbed.as_service_user() + ["test", "-x", folder], check=False, stderr=subprocess.DEVNULL)
    if reachable.returncode != 0:
        folder = pathlib.Path("/var/tmp/pgconvoy-drivers")
        folder.mkdir(mode=0o755, exist_ok=True)
    return folder


def call(command, **options):
    """Runs a preparing command quietly; its output is shown when it fails."""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout


def system_python():
    """A Python that the service user can run: the system's, rather than one in the caller's home folder."""
    system = pathlib.Path("/usr/bin/python3")
    return system if system.exists() else pathlib.Path(sys.executable)


def virtual_environment(folder, requirements):
    """Installs a requirements file with hashes into a folder, unless it is there already; returns its Python."""
    python = folder / "bin" / "python"
    stamp = folder / "requirements.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        call([system_python(), "-m", "venv", "--clear", folder])
        call([python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements])
        stamp.write_text(wanted, encoding="utf-8")
    return python


class Bed:
    """One run's surroundings: a scratch folder, the port under test, the servers behind it, and which tests to run (None: all), by an
    expression or by their files.
    """

    def __init__(self, scratch, port, cluster, only, files):
        self.scratch = scratch
        self.port = port
        self.cluster = cluster
        self.only = only
        self.files = files


class PytestSuite:
    """A Python driver's own tests, run by pytest in worker processes with a database each."""

    workers = 2
    # With standbys this share may differ, if the list says why: a session's reads and writes meet different servers.
    share_with_standbys = 0.01
    # How often a test that differs is repeated, on PostgreSQL itself and then through the target, and how many of them may differ once.
    repeats = 5
    chances = 2

    def __init__(self, name):
        self.name = name
        self.cache = cache_folder()
        self.requirements = HERE / "requirements" / f"{name}.txt"
        self.python = None
        self.tests = None

    def prepare(self):
        """Makes the virtual environment and fetches the tests, unless the cache has them already."""
        self.python = virtual_environment(self.cache / f"venv-{self.name}", self.requirements)
        self.tests = self.fetch()

    def fetch(self):
        """Returns the folder with the tests alone: beside their sdist's sources they would import those, not what is installed."""
        raise NotImplementedError

    @staticmethod
    def broken(_direct):
        """A suite of others may fail on PostgreSQL itself: what counts is that it does so through the proxy as well."""
        return False

    @staticmethod
    def is_test(name):
        """Whether pytest can be told to run this: the end of the target within a run is no test."""
        return "::" in name

    def settings(self, bed):
        """Environment variables of the suite; `{database}` stands for the worker's database."""
        raise NotImplementedError

    def run(self, bed):
        """Runs the suite against the bed's port."""
        lines = bed.scratch / "verdicts.jsonl"
        environment = testbed.service_environment(
            HOME=bed.scratch,
            PYTHONPATH=HERE / "plugin",
            PYTHONDONTWRITEBYTECODE=1,
            PATH=f"{bed.cluster.bin}:{os.environ['PATH']}",
            DRIVERS_DATABASE="drivers",
            DRIVERS_PRIMARY=f"host=127.0.0.1 port={bed.cluster.port} user=postgres dbname=postgres",
            DRIVERS_SETTINGS=json.dumps(self.settings(bed)),
            DRIVERS_VERDICTS=lines,
        )
        command = [self.python, "-m", "pytest", "-p", "verdicts", "-p", "no:cacheprovider", "-q", "--tb=short", "--no-header", "--durations=15"]
        command += ["-n", self.workers, "--dist", "load", "--timeout", TEST_TIMEOUT_SECONDS, "--timeout-method", "thread", "--max-worker-restart", 1000]
        command += ["-k", bed.only] if bed.only else []
        command += ["--rootdir", self.tests.parent]
        command += [self.tests.parent / file for file in bed.files] if bed.files else [self.tests]
        log = bed.scratch / "suite.log"
        started = time.monotonic()
        with log.open("wb") as out:
            process = subprocess.Popen(
                testbed.as_service_user() + [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=bed.scratch,
                env=environment,
                start_new_session=True,
            )
            try:
                process.wait(RUN_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"{self.name}: not done after {RUN_TIMEOUT_SECONDS} s, the rest counts as missing", file=sys.stderr)
            finally:
                testbed.end_group(process)
        if not lines.exists():
            raise SystemExit(f"{self.name} ran no test:\n{testbed.tail(log, 40)}")
        return verdicts.Run.from_lines(lines, time.monotonic() - started)


class SdistSuite(PytestSuite):
    """A suite whose tests stand in the source distribution on PyPI; the sdist's hash is among the requirements'."""

    def __init__(self, name, version):
        super().__init__(name)
        self.release = f"{name}-{version}"

    def fetch(self):
        tests = self.cache / f"{self.release}-tests" / "tests"
        if not tests.exists():
            with tempfile.TemporaryDirectory() as download:
                pinned = pathlib.Path(download) / "sdist.txt"
                pinned.write_text(sdist_requirement(self.requirements, self.name), encoding="utf-8")
                pip = [self.python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes"]
                call([*pip, "-d", download, "-r", pinned])
                unpack(pathlib.Path(download) / f"{self.release}.tar.gz", download)
                tests.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(pathlib.Path(download) / self.release / "tests", tests)
        return tests


class AsyncpgSuite(SdistSuite):
    """asyncpg's tests take the database `postgres` for granted, so there can be only one worker. The worker is a process of its own all
    the same: when a test hangs it is ended, and another carries on behind that test.
    """

    workers = 1

    def __init__(self):
        super().__init__("asyncpg", ASYNCPG_VERSION)

    def settings(self, bed):
        return {"PGHOST": "127.0.0.1", "PGPORT": str(bed.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}


def sdist_requirement(requirements, name):
    """The lines of one package in a requirements file with hashes."""
    text = requirements.read_text(encoding="utf-8").replace("\\\n", " ")
    return next(line for line in text.splitlines() if line.startswith(f"{name}=="))


def unpack(archive, folder):
    """Unpacks a tar archive; GNU tar refuses members that would leave the folder."""
    call(["tar", "--extract", "--no-same-owner", "--file", archive, "--directory", folder])


class Psycopg2Suite(SdistSuite):
    """psycopg2's tests name their database in variables of their own."""

    def __init__(self):
        super().__init__("psycopg2", PSYCOPG2_VERSION)

    def settings(self, bed):
        return {
            "PSYCOPG2_TESTDB": "{database}",
            "PSYCOPG2_TESTDB_HOST": "127.0.0.1",
            "PSYCOPG2_TESTDB_PORT": str(bed.port),
            "PSYCOPG2_TESTDB_USER": "postgres",
        }
