"""Beyond one machine: records in PostgreSQL, trainings placed by Ray; each tested with the real thing where it is."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study_nets import drawn, graph, plans

import stridewise as sw
from stridewise.errors import StudyError
from stridewise.study.cluster import Shared
from stridewise.study.jobs import Job
from stridewise.study.store import Store

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) if Path("/usr/lib/postgresql").is_dir() else []


def wants(module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed (the extra cluster)")


def as_user(*command, **options):
    """Run a program as the user postgres where this is root, whom the server refuses."""
    who = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    return subprocess.run([*who, *map(str, command)], check=True, capture_output=True, text=True, **options)


class Server:
    """A PostgreSQL server of its own, reached by a socket in a folder of its own."""

    def __init__(self):
        self.folder = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
        self.folder.chmod(0o777)
        self.programs, self.data = PROGRAMS[-1].parent, self.folder / "data"
        as_user(self.programs / "initdb", "-D", self.data, "-U", "tester", "-A", "trust", cwd=self.folder)
        options = f"-c listen_addresses='' -k {self.folder} -c fsync=off"
        self.control("-o", options, "-w", "-l", self.folder / "log", "start")
        as_user(self.programs / "createdb", "-h", self.folder, "-U", "tester", "studies", cwd=self.folder)
        self.url = f"postgresql://tester@/studies?host={self.folder}"

    def control(self, *arguments):
        as_user(self.programs / "pg_ctl", "-D", self.data, *arguments, cwd=self.folder)

    def kill(self):
        self.control("-m", "immediate", "stop")


@pytest.fixture(scope="module")
def running():
    wants("psycopg")
    if not PROGRAMS:
        pytest.skip("PostgreSQL's server is not installed (Debian's package: postgresql)")
    made = Server()
    yield made
    if (made.data / "postmaster.pid").exists():
        made.kill()
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture
def server(running):
    return running.url


def test_a_study_lives_in_postgresql_and_goes_on_there(tmp_path, server):
    calls = []

    def score(plan, budget, seed):
        calls.append((plan.to_toml(), budget, seed))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return drawn(plan, budget, seed)

    common = {"score": score, "plans": plans(), "budget": 4, "run": tmp_path / "one", "storage": server}
    with pytest.raises(KeyboardInterrupt):
        sw.search(graph(), **common)
    assert not (tmp_path / "one" / "study.db").exists()
    result = sw.search(graph(), **common)
    assert result.state == "finished"
    assert len(calls) == len(set(calls)) + 1  # the one that was interrupted
    before = len(calls)
    assert sw.search(graph(), **common).to_json()["plans"] == result.to_json()["plans"]
    assert len(calls) == before
    # Another folder's name is another study in the same database.
    sw.search(graph(), **{**common, "run": tmp_path / "two", "budget": 1, "seeds": 1})
    assert len(calls) > before


def test_a_second_coordinator_on_the_database_is_refused_from_any_folder(tmp_path, server):
    held = Store.open(tmp_path / "here" / "study", server)
    try:
        with pytest.raises(StudyError, match="another search works on this study: wait for it"):
            Store.open(tmp_path / "there" / "study", server)
    finally:
        held.close()
    Store.open(tmp_path / "there" / "study", server).close()


def test_a_lost_server_is_one_line_without_the_password(tmp_path):
    wants("psycopg")
    with pytest.raises(StudyError, match="see that the server runs") as error:
        Store.open(tmp_path, "postgresql://someone:secret@127.0.0.1:9/none")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_server_that_is_killed_in_the_middle_is_one_line_and_loses_nothing(tmp_path, running):
    calls = []

    def score(plan, budget, seed):
        calls.append((plan.to_toml(), budget, seed))
        if len(calls) == 4:
            running.kill()
        return drawn(plan, budget, seed)

    common = {"score": score, "plans": plans(), "budget": 4, "run": tmp_path / "killed", "storage": running.url}
    with pytest.raises(StudyError, match="the study's database went away") as error:
        sw.search(graph(), **common)
    assert "\n" not in str(error.value)
    running.control("-o", f"-c listen_addresses='' -k {running.folder}", "-w", "-l", running.folder / "log", "start")
    assert sw.search(graph(), **common).state == "finished"
    assert len(calls) == len(set(calls))  # the training whose score the server did not take left it in the folder


RAY = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from study_nets import drawn, graph, plans
import ray
from ray.cluster_utils import Cluster
from stridewise.study.executors import Ray
from stridewise.study.search import search

LOG = {log!r}

def score(plan, budget, seed, checkpoint):
    import ray
    index = plans().index(plan) if plan else -1
    node = ray.get_runtime_context().get_node_id()
    path = Path(checkpoint)
    how = "resume" if path.exists() else "begin"
    path.write_text("half of it")
    with open(LOG, "a") as file:
        print(how, node, index, budget, seed, file=file, flush=True)
    limit = time.monotonic() + 60  # a node's first worker takes a while to start
    while len(dict.fromkeys(line.split()[1] for line in open(LOG))) < 2 and time.monotonic() < limit:
        time.sleep(0.1)
    time.sleep(0.2)
    with open(LOG, "a") as file:
        print("end", node, index, budget, seed, file=file, flush=True)
    return drawn(plan, budget, seed)

if __name__ == "__main__":
    # A dead node is missed after two seconds, not fifteen; a slow one still has five for each answer.
    checks = dict(health_check_initial_delay_ms=500, health_check_period_ms=500, health_check_timeout_ms=5000)
    head = dict(num_cpus=1, include_dashboard=False, _system_config=checks)
    cluster = Cluster(initialize_head=True, head_node_args=head)
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    killed = []

    def tell(standing):
        if standing.done >= 4 and not killed:
            killed.append(standing.done)
            cluster.remove_node(other, allow_graceful=False)

    result = search(graph(), score=score, plans=plans(), budget=4, run={run!r}, on=Ray(cluster.address), tell=tell)
    print(json.dumps(dict(state=result.state, killed=killed, errors=[r.error for r in result.rows])))
    cluster.shutdown()
"""


@pytest.mark.slow
def test_ray_loses_a_node_and_the_study_loses_nothing(tmp_path):
    wants("ray")
    log, run = tmp_path / "log", tmp_path / "run"
    path = tmp_path / "ray_study.py"
    path.write_text(RAY.format(here=str(Path(__file__).parent), log=str(log), run=str(run)))
    began = time.monotonic()
    # Nodes import a score's modules themselves: here by the path that they inherit.
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["state"] == "finished"
    assert said["killed"], f"no node was killed in {time.monotonic() - began:.0f} s"
    assert not any(said["errors"])
    ended = [line.split()[2:] for line in log.read_text().splitlines() if line.startswith("end")]
    kept = json.loads((run / "result.json").read_text())
    trainings = sum(len(row["trainings"]) for row in kept["plans"])
    assert trainings == len({tuple(e) for e in ended})
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len({line[1] for line in lines}) == 2  # both nodes worked
    done_at = {tuple(line[1:]) for line in lines if line[0] == "end"}
    lost = {tuple(line[2:]) for line in lines if line[0] == "begin" and tuple(line[1:]) not in done_at}
    # What the dead node had begun goes on from its checkpoint elsewhere, and nothing is left behind.
    assert {tuple(line[2:]) for line in lines if line[0] == "resume"} == lost
    assert not list((run / "checkpoints").glob("*.ckpt"))


def test_a_node_uses_checkpoints_only_where_it_sees_the_very_folder(tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    shared, job = Shared.marked(tmp_path / "ours"), Job(2, 9, 1)
    assert shared.checkpoint(job) == str(tmp_path / "ours" / "plan2-9-1.ckpt")
    Shared.marked(tmp_path / "theirs")
    assert Shared(tmp_path / "theirs", shared.mark).checkpoint(job) is None
    assert Shared(tmp_path / "nowhere", shared.mark).checkpoint(job) is None
    with pytest.raises(StudyError, match=r"cannot be written .*: choose another --run"):
        Shared.marked(tmp_path / "nowhere")


def test_a_cluster_that_is_not_there_is_one_line(tmp_path):
    wants("ray")
    with pytest.raises(StudyError, match="no cluster answers there") as error:
        sw.search(graph(), score=drawn, plans=plans(), budget=1, on=sw.Ray("127.0.0.1:9"), run=tmp_path)
    assert "\n" not in str(error.value)
