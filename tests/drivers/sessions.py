"""Scripted sessions of drivers that bring no suite of their own: each prints `step: result` lines, and a step is a test here."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import testbed
import verdicts
from suites import HERE, ROOT, SESSION_TIMEOUT_SECONDS, cache_folder, call, virtual_environment


class SessionRun(verdicts.Run):
    """A step's verdict is its result, word for word; the count only tells whether there was one."""

    def counts(self):
        failed = sum(verdict == "FAILED" for verdict in self.verdicts.values())
        return {"answered": len(self.verdicts) - failed, "failed": failed}


class Session:
    """A program that runs its steps against PGHOST, PGPORT, PGUSER and PGDATABASE, and exits non-zero when one fails."""

    name = None
    share_with_standbys = 0.1  # of some thirty steps; each has its line in the list
    repeats = 0  # a step of ours has one result
    chances = 0

    @staticmethod
    def is_test(_name):
        """A step cannot be run alone."""
        return False

    def __init__(self):
        self.cache = cache_folder()
        self.command = None

    def prepare(self):
        """Fetches the driver and builds the program, unless the cache has them."""
        raise NotImplementedError

    def broken(self, direct):
        """A session of ours passes on PostgreSQL itself, or it proves nothing."""
        status = direct.verdicts[f"{self.name}::exit"]
        if status != "0":
            print(f"  BROKEN on PostgreSQL itself, exit status {status}")
        return status != "0"

    def run(self, bed):
        """Runs the program once; its exit status is the last test."""
        environment = testbed.service_environment(PGHOST="127.0.0.1", PGPORT=bed.port, PGUSER="postgres", PGDATABASE="postgres")
        command = ["timeout", "--kill-after=5", str(SESSION_TIMEOUT_SECONDS), *(str(part) for part in self.command)]
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.cache, check=False)
        seconds = time.monotonic() - started
        (bed.scratch / "suite.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        results, messages = {}, {}
        for line in done.stdout.splitlines():
            step, _, result = line.partition(": ")
            results[f"{self.name}::{step}"] = result
        last = f"{self.name}::exit"
        results[last] = str(done.returncode)
        messages[last] = done.stderr.strip()[-600:]
        return SessionRun(results, messages, seconds)


class NodePostgres(Session):
    """`pg` from npm, in the versions of the committed lock file."""

    name = "node-postgres"

    def prepare(self):
        source = HERE / "node-postgres"
        built = self.cache / "node-postgres"
        lock = (source / "package-lock.json").read_text(encoding="utf-8")
        installed = built / "installed-lock.json"
        built.mkdir(exist_ok=True)
        if not installed.exists() or installed.read_text(encoding="utf-8") != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, built / name)
            call(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=built)
            installed.write_text(lock, encoding="utf-8")
        shutil.copy(source / "session.js", built / "session.js")
        self.command = ["node", built / "session.js"]


class Pgjdbc(Session):
    """Debian's libpostgresql-jdbc-java; where it is not installed its package is unpacked into the cache."""

    name = "pgjdbc"

    def prepare(self):
        installed = pathlib.Path("/usr/share/java/postgresql.jar")
        unpacked = self.cache / "pgjdbc" / "usr/share/java/postgresql.jar"
        if not installed.exists() and not unpacked.exists():
            with tempfile.TemporaryDirectory() as download:
                call(["apt-get", "-o", "APT::Sandbox::User=root", "download", "libpostgresql-jdbc-java"], cwd=download)
                package = next(pathlib.Path(download).glob("*.deb"))
                call(["dpkg-deb", "--extract", package, self.cache / "pgjdbc"])
        driver = installed if installed.exists() else unpacked
        classes = self.cache / "pgjdbc-classes"
        call(["javac", "-Xlint:all,-path,-processing", "-Werror", "-cp", driver, "-d", classes, HERE / "pgjdbc" / "Session.java"])
        self.command = ["java", "-cp", f"{driver}{os.pathsep}{classes}", "Session"]


class TokioPostgres(Session):
    """The example of the root package; tokio-postgres is one of its development dependencies."""

    name = "tokio-postgres"

    def prepare(self):
        build = ["cargo", "build", "--quiet", "--example", "tokio_postgres_session", "--message-format", "json"]
        messages = [json.loads(line) for line in call(build, cwd=ROOT).splitlines() if line.startswith("{")]
        self.command = [next(message["executable"] for message in messages if message.get("executable"))]


class Psycopg(Session):
    """psycopg 3 with the libpq of its binary wheels. Its own tests are in no archive of PyPI."""

    name = "psycopg"

    def prepare(self):
        python = virtual_environment(self.cache / "venv-psycopg", HERE / "requirements" / "psycopg.txt")
        self.command = [python, "-B", HERE / "psycopg" / "session.py"]
