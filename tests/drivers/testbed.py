"""Servers for the driver suites: PostgreSQL with or without standbys, and a proxy in front of them.

Everything listens on loopback ports that the system chose, keeps its files in one temporary folder, and is stopped and removed when
its `with` block ends. PostgreSQL refuses to run as root, so root hands every server and every suite to the user `postgres`.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 15
SERVICE_USER = "postgres"

# One suite worker opens up to about 120 connections at a time (asyncpg's pool tests); there are two workers.
MAX_CLIENTS = 300

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": MAX_CLIENTS,
    "max_prepared_transactions": 20,  # psycopg's two-phase commit tests
    "wal_level": "logical",
    "max_wal_senders": 10,
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",  # asyncpg's own clusters turn it off: it upsets tests that measure time
    "log_connections": "on",
    "log_line_prefix": "%m [%p] %q%u@%d/%a ",
}

# A standby confirms a commit only when its readers can see it. What differs then is the proxy's doing, not replication lag's.
STANDBY_NAMES = "ANY 2 (standby1, standby2)"


def as_service_user():
    """The command prefix that drops root; empty for anyone else."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={SERVICE_USER}", f"--regid={SERVICE_USER}", "--init-groups", "--"]


def service_environment(**extra):
    """An environment without the caller's PG* variables, home folder or language."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "PYTHON"))}
    kept["LANG"] = "C.UTF-8"
    kept.update({name: str(value) for name, value in extra.items()})
    return kept


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def postgres_bin():
    """The folder of initdb and postgres: $PGCONVOY_PG_BIN, PATH, or the newest of Debian's versioned folders."""
    named = os.environ.get("PGCONVOY_PG_BIN")
    if named:
        return pathlib.Path(named)
    found = shutil.which("initdb")
    if found:
        return pathlib.Path(found).resolve().parent
    versions = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not versions:
        raise SystemExit("no PostgreSQL server found: set PGCONVOY_PG_BIN to the folder of initdb")
    return versions[-1].parent


@contextlib.contextmanager
def scratch_folder():
    """A temporary folder that the service user owns."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgconvoy-drivers-"))
    if os.geteuid() == 0:
        account = pwd.getpwnam(SERVICE_USER)
        os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_port(port, process, what, log):
    """Returns once 127.0.0.1:port accepts a connection; raises when the process ends first or the time is up."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode} at start:\n{tail(log)}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{what} did not listen on {port} within {START_TIMEOUT_SECONDS} s:\n{tail(log)}")


def tail(log, lines=20):
    """The last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def stop(process, how):
    """Signals a process, and kills it when it is still there after STOP_TIMEOUT_SECONDS."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def keep_logs(scratch, folder):
    """Copies the servers' logs out of a scratch folder that is about to go."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for log in scratch.glob("*.log"):
        shutil.copyfile(log, folder / log.name)


def end_group(process):
    """Ends a process that leads its own group, and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Server:
    """A process with a port and a log file."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.process = None

    def launch(self, command, **environment):
        """Starts the command as the service user and waits for the port."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                as_service_user() + [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=service_environment(HOME=self.folder, **environment),
                start_new_session=True,
            )
        wait_for_port(self.port, self.process, self.name, self.log)


class Cluster:
    """A primary, and two streaming standbys when three nodes are asked for; superuser `postgres`, trust over TCP."""

    def __init__(self, folder, nodes):
        self.folder = folder
        self.bin = postgres_bin()
        names = ["primary"] + [f"standby{number}" for number in range(1, nodes)]
        self.servers = [Server(name, folder) for name in names]

    @property
    def port(self):
        """The primary's port."""
        return self.servers[0].port

    def __enter__(self):
        try:
            self._start_primary()
            for standby in self.servers[1:]:
                self._start_standby(standby)
            if len(self.servers) > 1:
                self._wait_until_synchronous()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in reversed(self.servers):
            if server.process is not None:
                stop(server.process, signal.SIGINT)

    def create_databases(self, names):
        """Makes empty databases on the primary; with standbys it returns when they can be read there."""
        for name in names:
            self.query(f'CREATE DATABASE "{name}"')

    def query(self, statement, database="postgres"):
        """Runs one statement on the primary and returns psql's unaligned output."""
        command = [self.bin / "psql", "-XAtq", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-d", database, "-c", statement]
        return self._run(command).strip()

    def _start_primary(self):
        primary = self.servers[0]
        data = self.folder / primary.name
        self._run([self.bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        settings = dict(POSTGRES_SETTINGS)
        if len(self.servers) > 1:
            settings |= {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}
        with (data / "postgresql.auto.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self._launch(primary, data)

    def _start_standby(self, standby):
        data = self.folder / standby.name
        upstream = f"host=127.0.0.1 port={self.port} user=postgres application_name={standby.name}"
        self._run([self.bin / "pg_basebackup", "-D", data, "-d", upstream, "-R", "-X", "stream", "-c", "fast", "--no-sync"])
        self._launch(standby, data)

    def _launch(self, server, data):
        server.launch([self.bin / "postgres", "-D", data, "-p", server.port, "-k", self.folder])
        ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(server.port)]
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while subprocess.run(ready, check=False).returncode != 0:  # it listens before it lets anyone in
            if time.monotonic() > deadline:
                raise RuntimeError(f"{server.name} does not let anyone in:\n{tail(server.log)}")
            time.sleep(0.05)

    def _wait_until_synchronous(self):
        self.query(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY_NAMES}'")
        self.query("ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
        self.query("SELECT pg_reload_conf()")
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while self.query("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'") != "2":
            if time.monotonic() > deadline:
                raise RuntimeError("the standbys did not become synchronous")
            time.sleep(0.05)

    def _run(self, command):
        done = subprocess.run(
            as_service_user() + [str(part) for part in command],
            cwd=self.folder,
            env=service_environment(HOME=self.folder),
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()}")
        return done.stdout


@contextlib.contextmanager
def proxy(target, cluster, binary):
    """Puts the target in front of the cluster and yields its server; `direct` is the primary itself."""
    if target == "direct":
        yield cluster.servers[0]
        return
    server = Server(target, cluster.folder)
    conf = cluster.folder / f"{target}.conf"
    if target == "pgbouncer":
        conf.write_text(pgbouncer_conf(server, cluster))
        program = binary or "/usr/sbin/pgbouncer"
        command = [program, conf]
    else:
        conf.write_text(pgpool_conf(server, cluster))
        program = binary or {"pgpool": "/usr/sbin/pgpool"}.get(target, ROOT / "target/release/pgconvoy")
        command = [pathlib.Path(program).resolve(), "-n" if target == "pgpool" else "serve", "-f", conf]
    try:
        server.launch(command)
        yield server
    finally:
        if server.process is not None:
            stop(server.process, signal.SIGINT)


def pgbouncer_conf(server, cluster):
    """pgbouncer in session mode; start-up parameters it does not track are ignored, as its manual advises for drivers."""
    users = cluster.folder / "users.txt"
    users.write_text('"postgres" ""\n')
    return f"""[databases]
* = host=127.0.0.1 port={cluster.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {server.port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = session
max_client_conn = {MAX_CLIENTS}
default_pool_size = {MAX_CLIENTS // 2}
ignore_startup_parameters = extra_float_digits,search_path,jit,options,geqo,statement_timeout
"""


def pgpool_conf(server, cluster):
    """One file for pgpool-II and pgconvoy: streaming replication, balancing when there is more than one node."""
    lines = {
        "backend_clustering_mode": "'streaming_replication'",
        "listen_addresses": "'127.0.0.1'",
        "port": server.port,
        "socket_dir": f"'{cluster.folder}'",
        "pcp_socket_dir": f"'{cluster.folder}'",
        "pcp_listen_addresses": "''",
        "pcp_port": free_port(),
        "pid_file_name": f"'{cluster.folder}/{server.name}.pid'",
        "logdir": f"'{cluster.folder}'",
        "num_init_children": MAX_CLIENTS // 2,
        "max_pool": 1,
        "load_balance_mode": "on" if len(cluster.servers) > 1 else "off",
        "sr_check_user": "'postgres'",
        "sr_check_database": "'postgres'",
        "sr_check_period": 10,
        "health_check_period": 0,
        "log_per_node_statement": "on" if os.environ.get("PGCONVOY_DRIVERS_LOG_STATEMENTS") else "off",
    }
    for number, node in enumerate(cluster.servers):
        lines |= {
            f"backend_hostname{number}": "'127.0.0.1'",
            f"backend_port{number}": node.port,
            # With standbys the primary gets no read that need not go there: none agrees by the luck of the draw.
            f"backend_weight{number}": 0 if number == 0 and len(cluster.servers) > 1 else 1,
            f"backend_data_directory{number}": f"'{cluster.folder / node.name}'",
            f"backend_flag{number}": "'ALLOW_TO_FAILOVER'",
        }
    return "".join(f"{name} = {value}\n" for name, value in lines.items())
