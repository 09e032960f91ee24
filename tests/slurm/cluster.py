"""A private SLURM cluster on this machine: real daemons, virtual nodes with fake GPUs, free ports, a temporary folder.

The tests of this folder run against it; nothing of it touches `/etc/slurm` or another cluster, so several can run at
once. It needs root (for the device files and slurmd) and the Debian packages that `install_slurm.sh` installs.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T")

SLURM_VARIABLES = ("SLURM", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_")
"""How the variables begin that lead to another cluster: of an allocation around the tests, or a user's defaults."""

_KEEPER = Path(__file__).with_name("keeper.py")
_CLIENTS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo")
_SERVERS = ("munged", "slurmctld", "slurmd")
_ACCOUNTING = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db")
# Not the caller's PATH alone: a test session may have put executables of the same names, fakes or guards, before them.
_SEARCH_PATH = "/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin:/opt/slurm/bin:/opt/slurm/sbin"
_NOISE = ("pmix", "MPI: Cannot create context", "Unauthorized credential for client", "SchedulerParameters=")
"""Logged in every run, of no meaning here."""
_READY_TIMEOUT_S = 120.0
"""Generous: three seconds suffice on an idle machine, but two cores may be shared with other test runs."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """What a test may choose about a cluster. The defaults shorten SLURM's waits without changing what it does."""

    nodes: int = 4
    gpus: int = 4
    """Per node, of type a100, each with a device file of its own."""
    cpus: int = 8
    """Per node, claimed and not there: the nodes share the machine's cores."""
    memory_mb: int = 8000
    accounting: bool = True
    """Without it there is no slurmdbd and `sacct` fails, as on many a real cluster."""
    grace_time_s: int = 10
    """Between the SIGTERM and the SIGKILL of a preempted job."""
    kill_wait_s: int = 3
    """Between the SIGTERM and the SIGKILL of a cancelled job or one at its time limit."""
    requeue_wait_s: int = 10
    """How long a requeued job stays in BeginTime: SLURM's 120 s is the lifetime of a credential, which is this."""
    min_job_age_s: int = 60
    """How long `squeue -t all` knows an ended job."""
    max_array_size: int = 1001
    submit_limits: Mapping[str, int] = field(default_factory=dict)
    """QOS by name, each with how many jobs and array tasks a user may have in it; needs accounting."""
    extra: str = ""
    """Lines for slurm.conf; a key given again wins."""


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """One line of `squeue -r`."""

    job: str
    """`A_i` for an array task, `A` for any other job."""
    name: str
    state: str
    reason: str
    node: str


def missing(config: ClusterConfig | None = None) -> str | None:
    """Why no cluster can be started here, or None."""
    config = config or ClusterConfig()
    if not sys.platform.startswith("linux"):
        return "a SLURM cluster needs Linux"
    if os.geteuid() != 0:
        return "a SLURM cluster needs root (device files, slurmd): run the tests as root"
    programs = _CLIENTS + _SERVERS + (_ACCOUNTING if config.accounting else ())
    if absent := [program for program in programs if _program(program) is None]:
        return f"not installed: {', '.join(absent)}; run tests/slurm/install_slurm.sh"
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.mknod(Path(folder, "null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError as error:
            return f"device files cannot be made here ({error}): this container lacks CAP_MKNOD"
    return None


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens now, below those that the kernel hands to outgoing connections."""
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    # Not `random`'s shared state: tests seed it, and two runs with one seed would take the same ports.
    # And not those of the other processes of pytest-xdist, which look at the same time.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    candidates = random.SystemRandom().sample(range(10_000 + worker, min(first_ephemeral, 32_768), 8), k=500)
    found: list[int] = []
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} free ports among {len(candidates)} tried")


def wait_for(condition: Callable[[], T], *, timeout_s: float, what: str, every_s: float = 0.1) -> T:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + timeout_s
    while True:
        # Looked at before the question: under load a question may take longer than the whole time allowed.
        late = time.monotonic() >= deadline
        if answer := condition():
            return answer
        if late:
            raise TimeoutError(f"{what}: not so after {timeout_s:g} s")
        time.sleep(every_s)


class SlurmCluster:
    """A running cluster; make one with `SlurmCluster.started()`.

    Partitions: `gpu` (the default; its jobs are requeued by preemption) and `urgent` (which preempts them), both over
    all nodes `n1`, `n2`, ...
    """

    def __init__(self, root: Path, config: ClusterConfig) -> None:
        self.root = root
        self.config = config
        self.nodes = tuple(f"n{number}" for number in range(1, config.nodes + 1))
        self._ports: dict[str, int] = {}
        self._daemons: dict[str, _Daemon] = {}
        self._without_daemon: dict[str, _Daemon] = {}
        """keepers, by node, of what has outlived its slurmd"""
        self._views: dict[str, list[str]] = {}
        """what is put before a node's slurmd: with which its jobs see a folder as that node does"""

    @classmethod
    @contextmanager
    def started(cls, config: ClusterConfig | None = None) -> Iterator[Self]:
        """A cluster that is ready; on the way out it is stopped and its folder removed.

        HPO_BATCH_KEEP_SLURM=1 keeps the folder, with its logs.
        """
        # Short and in /tmp: the path of a Unix socket ends at 107 characters.
        root = Path(tempfile.mkdtemp(prefix="hpo-batch-slurm-", dir="/tmp"))
        cluster = cls(root, config or ClusterConfig())
        try:
            cluster._start()
            yield cluster
        finally:
            cluster.stop()
            if os.environ.get("HPO_BATCH_KEEP_SLURM") != "1":
                shutil.rmtree(root, ignore_errors=True)

    @property
    def env(self) -> dict[str, str]:
        """This process's environment, with this cluster instead of any other."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(SLURM_VARIABLES)}
        return env | self.own_env

    @property
    def own_env(self) -> dict[str, str]:
        """The variables that lead to this cluster."""
        clients = Path(_program("sbatch") or "/usr/bin/sbatch").parent
        folders = (str(Path(sys.executable).parent), str(clients), os.environ.get("PATH", os.defpath))
        return {"SLURM_CONF": str(self.root / "etc/slurm.conf"), "PATH": os.pathsep.join(folders)}

    def run(
        self, *argv: str | Path, timeout_s: float = 60, check: bool = True, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against this cluster; a failure shows what the command wrote."""
        command = [str(word) for word in argv]
        done = subprocess.run(
            command,
            env=self.env | env,
            cwd=cwd,
            text=True,
            capture_output=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def sbatch(self, *options: str | Path, script: str, cwd: Path | None = None) -> str:
        """Submit a bash script and return the job's id."""
        file = self.root / "scripts" / f"{secrets.token_hex(8)}.sh"
        file.write_text(f"#!/bin/bash\n{script}\n")
        return self.run("sbatch", "--parsable", *options, file, cwd=cwd or self.root / "scripts").stdout.strip()

    def squeue(self, *options: str) -> list[JobRow]:
        """The jobs that may still run, one row for each array task; with `-t all` the ended ones too."""
        out = self.run("squeue", "-h", "-r", "-o", "%F|%K|%j|%T|%r|%N", *options).stdout
        return [_job_row(line) for line in out.splitlines()]

    def sacct(self, job: str, *, field: str = "State", duplicates: bool = False) -> dict[str, str]:
        """One accounting field of each task of a job, by `A_i` (or `A`)."""
        options = ["-D"] if duplicates else []
        out = self.run("sacct", "-X", "-P", "-n", "-j", job, "-o", f"JobID,{field}", *options).stdout
        return dict(line.split("|", 1) for line in out.splitlines())

    def wait_for(self, condition: Callable[[], T], *, timeout_s: float = 60, what: str) -> T:
        """Ask until the answer is true; a timeout shows what the cluster was doing."""
        try:
            # each squeue takes a hundredth of a second: four in a second leave the cores to the jobs
            return wait_for(condition, timeout_s=timeout_s, what=what, every_s=0.25)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.overview()}") from None

    def wait_ended(self, job: str, *, timeout_s: float = 120) -> None:
        """Until no task of a job may run any more."""
        self.wait_for(
            lambda: not any(row.job.split("_")[0] == job for row in self.squeue()),
            timeout_s=timeout_s,
            what=f"job {job} ended",
        )

    def kill_node(self, node: str) -> None:
        """As if its power failed: slurmd, steps and jobs are gone at once. SLURM notices within half a minute."""
        self._kill(_slurmd(node))

    def kill_slurmd(self, node: str) -> None:
        """Its slurmd alone: steps and jobs live on, and SLURM takes the node for dead within half a minute."""
        daemon = self._daemons.pop(_slurmd(node))
        daemon.kill_alone()
        self._without_daemon[node] = daemon

    def start_node(self, node: str) -> None:
        """Switch a killed node on again; what had outlived its slurmd is killed."""
        if (left := self._without_daemon.pop(node, None)) is not None:
            left.kill()
            left.wait()
        self._launch(_slurmd(node), "slurmd", "-D", "-N", node, view=self._views.get(node, ()))

    @contextmanager
    def views(self, views: Mapping[str, list[str]]) -> Iterator[None]:
        """Start nodes anew, each behind a command such as ``network.mount.in_view`` makes; as before at the end."""
        self._views = dict(views)
        try:
            self._restart(views)
            yield
        finally:
            self._views = {}
            self._restart(views)

    def _restart(self, nodes: Iterable[str]) -> None:
        for node in nodes:
            if self._runs(_slurmd(node)):
                self.kill_node(node)
            self.start_node(node)
        self.wait_for(self._is_idle, timeout_s=_READY_TIMEOUT_S, what="every node idle")

    def stop_controller(self) -> None:
        """End slurmctld: from now on SLURM's commands fail, each after 9 s of retries. Jobs go on."""
        # SIGTERM, not SIGKILL, after which it would not know the jobs of its last seconds.
        self._daemons.pop("slurmctld").terminate()

    def start_controller(self) -> None:
        """Start slurmctld with the state that it saved."""
        self._launch("slurmctld", "slurmctld", "-D")
        wait_for(self._answers, timeout_s=_READY_TIMEOUT_S, what="slurmctld answers")

    def reset(self) -> None:
        """Back to an idle cluster: what is dead is started, every job ended, every node resumed."""
        if not self._runs("slurmctld"):
            self.start_controller()
        for node in self.nodes:
            if not self._runs(_slurmd(node)):
                self.start_node(node)
        self.wait_for(self._is_empty, timeout_s=_READY_TIMEOUT_S, what="every job ended")
        self.wait_for(self._is_idle, timeout_s=_READY_TIMEOUT_S, what="every node idle")

    def overview(self) -> str:
        """Queue and nodes, for the message of a failed test."""
        if not self._runs("slurmctld"):
            return "slurmctld is down"
        asked = (
            ("squeue", "-r", "-o", "%.10i %.9P %.20j %.12T %.10M %.20b %R"),
            ("sinfo", "-N", "-o", "%N %P %T %E"),
        )
        try:
            answers = [self.run(*argv, check=False, timeout_s=20) for argv in asked]
        except subprocess.TimeoutExpired as error:
            return str(error)
        return "".join(answer.stdout + answer.stderr for answer in answers)

    def log_tails(self, lines: int = 25) -> str:
        """The ends of all logs."""
        parts = []
        for out in sorted((self.root / "log").glob("*.out")):
            # SLURM's daemons write the same to both, but times only to the log; `out` says why there is no log.
            log = out.with_suffix(".log")
            text = log.read_text(errors="replace") if log.exists() else out.read_text(errors="replace")
            tail = [line for line in text.splitlines() if not any(noise in line for noise in _NOISE)][-lines:]
            parts.append("\n".join((f"--- {out.stem}", *tail)))
        return "\n".join(parts)

    def stop(self) -> None:
        """End every process of the cluster, jobs included. Safe to call twice."""
        left = [self._without_daemon.pop(node) for node in list(self._without_daemon)]
        for keeper in left:
            keeper.kill()
        self._kill(*self._daemons)
        for keeper in left:
            keeper.wait()

    def _start(self) -> None:
        spools = [f"spool/{node}" for node in self.nodes]
        for folder in ("etc", "log", "run", "state", "db", "tmp", "dev", "scripts", *spools):
            (self.root / folder).mkdir(parents=True)
        # munge and slurmd refuse paths that others could write to; clients must be able to reach the socket.
        for folder in (".", "run"):
            (self.root / folder).chmod(0o755)
        for gpu in range(self.config.gpus):
            os.mknod(self.root / f"dev/nvidia{gpu}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        names = ("slurmctld", "slurmdbd", "mariadbd", *map(_slurmd, self.nodes))
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._configure()
        try:
            self._start_munge()
            if self.config.accounting:
                self._start_accounting()
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            wait_for(self._is_idle, timeout_s=_READY_TIMEOUT_S, what="every node idle")
        except (RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
            raise RuntimeError(f"the SLURM cluster did not start: {error}\n{self.log_tails()}") from error

    def _start_munge(self) -> None:
        key = self.root / "etc/munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        run = self.root / "run"
        # --force: it warns instead of refusing where it would rather see its own user and paths.
        self._launch(
            "munged",
            *("munged", "--foreground", "--force", "--num-threads=10", f"--key-file={key}"),
            *(f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid", f"--seed-file={run}/munge.seed"),
        )
        wait_for((run / "munge.sock").exists, timeout_s=_READY_TIMEOUT_S, what="munged has its socket")

    def _start_accounting(self) -> None:
        db, tmp = self.root / "db", self.root / "tmp"
        size = "--innodb-log-file-size=8M"
        self.run(
            *("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={db}"),
            *("--skip-test-db", "--auth-root-authentication-method=normal", size),
            timeout_s=_READY_TIMEOUT_S,
            # A starting mariadbd deletes the temporary tables it finds: those of another one if they share /tmp.
            TMPDIR=str(tmp),
        )
        # TCP: slurmdbd ignores a private socket path. Nothing here outlives the tests, so nothing is synced.
        self._launch(
            "mariadbd",
            *("mariadbd", "--no-defaults", "--user=root", f"--datadir={db}", f"--tmpdir={tmp}"),
            *(f"--socket={self.root}/run/mysql.sock", f"--pid-file={self.root}/run/mysql.pid"),
            *("--bind-address=127.0.0.1", f"--port={self._ports['mariadbd']}", f"--init-file={self.root}/etc/init.sql"),
            *("--skip-log-bin", "--skip-name-resolve", size),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=64M"),
        )
        self._wait_for_port("mariadbd")
        self._launch("slurmdbd", "slurmdbd", "-D")
        self._wait_for_port("slurmdbd")
        self.run("sacctmgr", "-i", "add", "cluster", "test", timeout_s=_READY_TIMEOUT_S)
        for qos, limit in self.config.submit_limits.items():
            self.run("sacctmgr", "-i", "add", "qos", qos, f"MaxSubmitJobsPerUser={limit}", timeout_s=_READY_TIMEOUT_S)
        if self.config.submit_limits:
            allowed = ",".join(("normal", *self.config.submit_limits))
            self.run("sacctmgr", "-i", "modify", "user", "root", "set", f"qos={allowed}", timeout_s=_READY_TIMEOUT_S)

    def _wait_for_port(self, daemon: str) -> None:
        def listens() -> bool:
            self._check_alive(daemon)
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self._ports[daemon])) == 0

        wait_for(listens, timeout_s=_READY_TIMEOUT_S, what=f"{daemon} listens", every_s=0.05)

    def _runs(self, daemon: str) -> bool:
        return daemon in self._daemons and self._daemons[daemon].runs

    def _check_alive(self, daemon: str) -> None:
        if not self._runs(daemon):
            raise RuntimeError(f"{daemon} ended")

    def _launch(self, name: str, program: str, *arguments: str, view: Sequence[str] = ()) -> None:
        path = _program(program)
        if path is None:
            raise RuntimeError(f"{program} is not installed")
        self._daemons[name] = _Daemon([*view, path, *arguments], env=self.env, log=self.root / f"log/{name}.out")

    def _kill(self, *names: str) -> None:
        killed = [self._daemons.pop(name) for name in names]
        for daemon in killed:
            daemon.kill()
        for daemon in killed:
            daemon.wait()

    def _answers(self) -> bool:
        self._check_alive("slurmctld")
        return self.run("sinfo", "-h", check=False).returncode == 0

    def _is_idle(self) -> bool:
        for daemon in self._daemons:
            self._check_alive(daemon)
        answer = self.run("sinfo", "-h", "-N", "-p", "gpu", "-o", "%N %T", check=False)
        states = dict(line.split() for line in answer.stdout.splitlines())
        # A node that a test has drained, or that SLURM has (a process would not die), does not come back by itself.
        if stuck := [node for node, state in states.items() if "drain" in state or "down" in state]:
            self.run("scontrol", "update", f"NodeName={','.join(stuck)}", "State=RESUME", check=False)
        return states == dict.fromkeys(self.nodes, "idle")

    def _is_empty(self) -> bool:
        jobs = sorted({row.job.split("_")[0] for row in self.squeue()})
        if jobs:
            # SIGKILL first: after a plain scancel, a job that ignores SIGTERM lives for another KillWait.
            self.run("scancel", "--signal=KILL", "--full", *jobs, check=False)
            self.run("scancel", *jobs, check=False)
        return not jobs

    def _configure(self) -> None:
        files = {
            "slurm.conf": self._slurm_conf(),
            "slurmdbd.conf": self._slurmdbd_conf(),
            # A bare Count= makes the node INVAL: each GPU needs its file.
            "gres.conf": f"AutoDetect=off\nName=gpu Type=a100 File={self.root}/dev/nvidia[0-{self.config.gpus - 1}]\n",
            "cgroup.conf": "CgroupAutomount=no\n" if slurm_version() < (23, 2) else "CgroupPlugin=disabled\n",
            "init.sql": (
                "CREATE DATABASE IF NOT EXISTS slurm_acct_db;\n"
                "CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'x';\n"
                "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';\n"
            ),
        }
        for name, text in files.items():
            file = self.root / "etc" / name
            file.write_text(text)
            file.chmod(0o600 if name == "slurmdbd.conf" else 0o644)

    def _slurm_conf(self) -> str:
        config, root, host = self.config, self.root, socket.gethostname().split(".")[0]
        if config.accounting:
            # Its own spelling of the munge socket, without which slurmctld would ask the one of /run/munge.
            accounting = f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self._ports["slurmdbd"]}
AccountingStoragePass={root}/run/munge.sock
AccountingStorageTRES=gres/gpu"""
            if config.submit_limits:
                accounting += "\nAccountingStorageEnforce=limits,qos"
        else:
            accounting = "AccountingStorageType=accounting_storage/none"
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={self._ports[_slurmd(node)]} "
            f"CPUs={config.cpus} RealMemory={config.memory_mb} Gres=gpu:a100:{config.gpus} State=UNKNOWN"
            for node in self.nodes
        )
        preemptible = (
            "PartitionName=gpu Nodes=ALL Default=YES MaxTime=1-0 State=UP PriorityTier=1 PreemptMode=REQUEUE "
            f"GraceTime={config.grace_time_s}"
        )
        # linuxproc and task/none: no cgroups. config_overrides: nodes may claim more than the machine has, without it
        # they are drained. The unkillable timeout is long because a busy machine is no reason to drain a node.
        return f"""\
ClusterName=test
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock,cred_expire={config.requeue_wait_s}
CredType=cred/munge
SlurmctldPort={self._ports["slurmctld"]}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
UnkillableStepTimeout=300
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait={config.kill_wait_s}
MinJobAge={config.min_job_age_s}
MaxArraySize={config.max_array_size}
GresTypes=gpu
{accounting}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
SlurmdParameters=config_overrides
{config.extra}
{nodes}
{preemptible}
PartitionName=urgent Nodes=ALL MaxTime=1-0 State=UP PriorityTier=10 PreemptMode=OFF
"""

    def _slurmdbd_conf(self) -> str:
        return f"""\
AuthType=auth/munge
AuthInfo=socket={self.root}/run/munge.sock
DbdHost=localhost
DbdPort={self._ports["slurmdbd"]}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self._ports["mariadbd"]}
StorageUser=slurm
StoragePass=x
StorageLoc=slurm_acct_db
LogFile={self.root}/log/slurmdbd.log
PidFile={self.root}/run/slurmdbd.pid
"""


class _Daemon:
    """A daemon under its keeper."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        with log.open("a") as output:
            # A session of its own: Ctrl-C in the terminal reaches pytest, which then stops the cluster.
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), str(os.getpid()), *argv],
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        assert self._keeper.stdin is not None
        self._pipe = self._keeper.stdin

    @property
    def runs(self) -> bool:
        return self._keeper.poll() is None

    def terminate(self) -> None:
        """Ask it to end, saving what it has to save."""
        self._keeper.terminate()
        self.wait()

    def kill_alone(self) -> None:
        """SIGKILL to it, and not to what it has started."""
        os.kill(self._keeper.pid, signal.SIGUSR1)

    def kill(self) -> None:
        """SIGKILL to it and to all that it started; returns before they are gone."""
        self._pipe.close()

    def wait(self) -> None:
        """Until all of it is gone."""
        self._keeper.wait(timeout=_READY_TIMEOUT_S)
        self._pipe.close()


def slurm_version() -> tuple[int, int]:
    """Of the SLURM that is installed, such as (22, 5)."""
    said = subprocess.run(
        [_program("slurmctld") or "slurmctld", "-V"], capture_output=True, text=True, check=True
    ).stdout
    major, minor = said.split()[1].split(".")[:2]
    return int(major), int(minor)


def _program(name: str) -> str | None:
    return shutil.which(name, path=_SEARCH_PATH)


def _slurmd(node: str) -> str:
    return f"slurmd.{node}"


def _job_row(line: str) -> JobRow:
    array, index, name, state, reason, node = line.split("|")
    return JobRow(job=array if index == "N/A" else f"{array}_{index}", name=name, state=state, reason=reason, node=node)
