"""What fits into the time that is left, and how a worker leaves: decisions, without SLURM."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpo_batch.records import Configuration, Idle, IdleWhy, Stopping
from hpo_batch.store import held_lease, leases
from hpo_batch.store.durations import Took
from hpo_batch.store.home import StudyHome
from hpo_batch.worker.resources import Place
from hpo_batch.worker.task_exit import Act, Departure, Remaining, decide
from hpo_batch.worker.walltime import Fits
from tests.study.helpers import owner

HOUR = 3600.0
PLACE = Place(device="cpu", cpus=1, deadline=HOUR, lead_s=180.0, is_killed=True, is_sure=True, began=0.0)
ANY = Configuration(searched={"size": 1}, fixed={})


class Known:
    """A study of which only the times are asked."""

    def __init__(self, home: StudyHome, *seconds: float, saved: bool = False) -> None:
        self.home = home
        self._saved = saved
        self._took = tuple(
            Took(number=n, attempt=1, seconds=s, started=0.0, values={"size": n + 1}) for n, s in enumerate(seconds)
        )

    def newest_durations(self) -> tuple[Took, ...]:
        return self._took

    def has_saved(self) -> bool:
        return self._saved


def fits_at(known: Known, now: float, *, saves: bool = False, place: Place = PLACE, size: int | None = None) -> Fits:
    count = None if size is None else (lambda values: int(values["size"]))
    fits = Fits(known, place, clock=lambda: now, n_params=count)  # type: ignore[arg-type]
    fits.look(saves=saves)
    return fits


@pytest.fixture
def home(tmp_path: Path) -> StudyHome:
    return StudyHome(path=tmp_path, name="s")


def test_with_nothing_known_a_trial_is_begun_while_more_than_the_lead_is_left(home: StudyHome) -> None:
    assert fits_at(Known(home), HOUR - 181)(ANY)
    late = fits_at(Known(home), HOUR - 179)
    assert not late(ANY)
    assert late.refusal == "0:02:59 left, and a trial is asked to stop 0:03:00 before"
    assert fits_at(Known(home), 10 * HOUR, place=replace(PLACE, deadline=None))(ANY)


def test_a_trial_that_saves_nothing_has_to_fit_whole(home: StudyHome) -> None:
    known = Known(home, 1000, 1100, 1200, 1200, 1200)
    assert fits_at(known, HOUR - 180 - 1200 * 1.1 - 1)(ANY)
    late = fits_at(known, HOUR - 720)
    assert not late(ANY)
    assert late.refusal == "0:12:00 left, a trial like this takes about 0:20:00 (p75 of 5)"


def test_a_trial_that_saves_has_to_reach_its_first_report(home: StudyHome) -> None:
    known = Known(home, 1000, 1100, 1200, saved=True)
    assert fits_at(known, HOUR - 200)(ANY)  # nothing is known of its reports
    for number in range(3):
        folder = home.attempt(number, 1)
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text('{"step": 1, "time": 100.0, "metrics": {"loss": 1}}\n')
    assert fits_at(known, HOUR - 180 - 111)(ANY)
    late = fits_at(known, HOUR - 240)
    assert not late(ANY)
    assert late.refusal == "0:04:00 left, a trial takes about 0:01:40 to its first report (p75 of 3)"
    learned = fits_at(Known(home, 1000, 1100, 1200), HOUR - 180 - 111, saves=True)  # this worker has seen it save
    assert learned(ANY)


def test_the_size_of_the_model_counts(home: StudyHome) -> None:
    known = Known(home, *(100.0 * size for size in range(1, 7)))
    fits = fits_at(known, HOUR - 1000, size=1)
    small, large = (Configuration(searched={"size": size}, fixed={}) for size in (2, 12))
    assert fits(small)
    assert not fits(large)
    assert "takes about 0:20:00" in fits.refusal


def test_a_size_that_cannot_be_counted_is_left_out(home: StudyHome) -> None:
    fits = Fits(Known(home, 100), PLACE, clock=lambda: 0.0, n_params=lambda values: 1 // 0)  # type: ignore[arg-type]
    fits.look(saves=False)
    assert fits(ANY)


def test_what_is_longer_than_any_walltime_is_tried_by_a_fresh_worker_only(home: StudyHome) -> None:
    """A prediction alone fails no trial; whoever has less than all the time leaves it to others."""
    known = Known(home, 2 * HOUR)
    assert fits_at(known, 60.0)(ANY)
    assert not fits_at(known, HOUR / 2)(ANY)


NO_TIME = Idle(why=IdleWhy.NO_TIME)


@pytest.mark.parametrize(
    ("stopped", "idle", "left", "act"),
    [
        (Stopping.PREEMPTED, None, {}, Act.PARK),
        (Stopping.PREEMPTED, None, {"marker": "CANCELLED"}, Act.END),
        (Stopping.TIME_LIMIT, None, {}, Act.REQUEUE),
        (None, NO_TIME, {}, Act.REQUEUE),
        (Stopping.TIME_LIMIT, None, {"marker": "CANCELLED"}, Act.END),
        (Stopping.TIME_LIMIT, None, {"marker": "DRAIN"}, Act.END),
        (Stopping.TIME_LIMIT, None, {"work": False}, Act.END),
        (Stopping.TIME_LIMIT, None, {"is_followed": True}, Act.END),
        (Stopping.PREEMPTED, None, {"is_followed": True}, Act.END),
        (None, Idle(why=IdleWhy.TARGET_MET), {}, Act.END),
        (None, Idle(why=IdleWhy.DRAINING), {"marker": "DRAIN"}, Act.END),
        (Stopping.CANCELLED, None, {}, Act.END),
    ],
)
def test_how_a_worker_leaves(stopped: Stopping | None, idle: Idle | None, left: dict[str, object], act: Act) -> None:
    departure = Departure(stopped=stopped, idle=idle, progress=True)
    assert decide(departure, Remaining(**{"work": True, **left}))[0] is act  # type: ignore[arg-type]


@pytest.mark.parametrize(("stopped", "idle"), [(Stopping.TIME_LIMIT, None), (None, NO_TIME)])
def test_a_run_that_led_nowhere_is_not_repeated(stopped: Stopping | None, idle: Idle | None) -> None:
    act, why = decide(Departure(stopped=stopped, idle=idle, progress=False), Remaining(work=True))
    assert act is Act.END
    assert "raise job.walltime, or save checkpoints" in why


def test_a_warning_long_before_the_limit_is_preemption() -> None:
    assert PLACE.is_far(1000.0)
    assert not PLACE.is_far(HOUR - 180 - 60)
    assert not replace(PLACE, is_sure=False).is_far(1000.0)
    far = Departure(stopped=Stopping.TIME_LIMIT, idle=None, progress=False, is_far=True)
    assert decide(far, Remaining(work=True))[0] is Act.REQUEUE


def test_a_deadline_that_was_only_counted_gives_way_to_slurms_warning() -> None:
    counted = replace(PLACE, is_sure=False)
    assert counted.limit() == PLACE.limit() == HOUR - 10
    assert counted.limit(warned=1000.0) == 1000 + 180 - 10
    assert PLACE.limit(warned=1000.0) == HOUR - 10
    assert replace(PLACE, grace_s=30.0).patience_s == 20
    assert replace(PLACE, grace_s=4.0).patience_s == 2


def test_a_later_run_of_an_array_task_follows_the_earlier_one(tmp_path: Path) -> None:
    def run_facts(number: int, **changes: object) -> dict[str, object]:
        facts = {"worker": f"7-r{number}-3", "job": "7_3", "submission": "abc", "host": f"n{number}", **changes}
        return owner(**facts).facts

    assert leases.follows(run_facts(1), run_facts(0))
    assert not leases.follows(run_facts(0), run_facts(1))
    assert not leases.follows(run_facts(1), run_facts(1))
    assert not leases.follows(run_facts(1, job="7_4"), run_facts(0))
    assert not leases.follows(run_facts(1, submission="other"), run_facts(0))  # the same number in another cluster
    assert not leases.follows(run_facts(1, job="local"), run_facts(0, job="local"))
    assert not leases.follows({"worker": "host-12-0", "job": "local"}, run_facts(0))
    mine = owner(worker="7-r0-3", job="7_3", submission="abc")
    assert not leases.is_followed(tmp_path, mine)
    with held_lease.held(tmp_path, owner(worker="7-r1-3", job="7_3", submission="abc"), duration_s=60):
        assert leases.is_followed(tmp_path, mine)
    with held_lease.held(tmp_path, mine, duration_s=60):
        leases.remove(tmp_path, mine.worker)
        assert list(tmp_path.iterdir()) == []
    assert time.time() > PLACE.began
