"""``[study] import``: history for the sampler, frozen at submission; trials of nobody here."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

import pytest

from hpo_batch.errors import StorageError, StudyNotFound, UserError
from hpo_batch.records import Claim, Complete, Outcome, Pruned
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.create import create
from hpo_batch.study.history import SamplerHistory
from hpo_batch.study.imported import gather
from hpo_batch.study.study import Study
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Sweep
from tests.study.helpers import Text, claimed, complete, keys, make, owner, revise, state_of, work
from tests.study.test_editing import RANDOM, shown

SPACE = "x = { low = 0.0, high = 1.0 }\nn = [1, 2, 3]"


def near_08(claim: Claim) -> Complete:
    return complete(claim, abs(float(claim.configuration.values["x"]) - 0.8))


@pytest.fixture
def old(root: Path) -> StudyHome:
    """A finished study of 12 trials."""
    home = make(root, study="trials = 12", space=SPACE)
    work(home, judge=near_08)
    return home


def importing(root: Path, *, name: str = "new", **text: str) -> StudyHome:
    study = text.pop("study", 'trials = 8\nimport = "s"')
    home = home_of(root, name)
    create(home, parsed(root, name=name, study=study, **text), toml="", now=1.0)
    return home


def parsed(root: Path, *, name: str = "new", **text: str) -> Sweep:
    given = Text(**{"study": 'trials = 8\nimport = "s"', "space": SPACE, **text})  # type: ignore[arg-type]
    path = root / f"{name}.toml"
    path.write_text(str(given).replace('name = "s"', f'name = "{name}"', 1))
    (sweep,) = load(path)
    return sweep


def test_imported_trials_are_shown_to_the_sampler_and_count_for_nothing(root: Path, old: StudyHome) -> None:
    home = importing(root, sampler='name = "tpe"\nstartup_trials = 10')
    assert len(shown(home)) == 12
    assert state_of(home).counts().finished == 0
    done, _ = work(home, judge=near_08)
    assert len(done) == 8
    # modelled from the first on: at random the median distance would be about 0.3
    assert statistics.median(abs(float(t.params["x"]) - 0.8) for t in state_of(home).trials) < 0.2
    assert len(shown(home)) == 20


def test_the_imported_study_may_go_away(root: Path, old: StudyHome) -> None:
    home = importing(root)
    shutil.rmtree(old.path)
    assert len(shown(home)) == 12
    work(home)
    importing(root)  # submitted again: nothing is read again
    assert len(shown(home)) == 20


def test_another_list_of_imports_is_read_anew_and_none_takes_them_away(root: Path, old: StudyHome) -> None:
    home = importing(root, study="trials = 8")
    assert shown(home) == []
    importing(root)
    assert len(shown(home)) == 12
    importing(root, study="trials = 8")
    assert shown(home) == []


def test_what_does_not_lie_in_the_space_is_left_out_and_counted(root: Path, old: StudyHome) -> None:
    narrow = "x = { low = 0.0, high = 0.5 }\nn = [1, 2, 3]"
    there = gather(home_of(root, "new"), parsed(root, space=narrow))
    inside = sum(float(t.params["x"]) <= 0.5 for t in state_of(old).trials)
    assert 0 < inside < 12
    assert there.lines[0].startswith(
        f"{inside} of 12 finished trials of 's' fit; most common problem of the others: 'x' is"
    )
    home = importing(root, space="x = { low = 0.0, high = 0.5 }\nn = [1, 2, 3]")
    assert len(shown(home)) == inside
    importing(root, space=SPACE)  # a wider space later finds them in the file
    assert len(shown(home)) == 12


def test_a_parameter_that_the_imported_trials_lack_counts_with_before(root: Path, old: StudyHome) -> None:
    home = importing(root, space=f"{SPACE}\nm = {{ choices = [5, 6], before = 6 }}")
    assert {params["m"] for params, _ in shown(home)} == {6}
    with pytest.raises(UserError, match=r"none of the 12 trials of 's' lies in this space.*no value for parameter 'm'"):
        importing(root, name="other", space=f"{SPACE}\nm = [5, 6]")
    assert not home_of(root, "other").path.exists()


def test_an_imported_configuration_may_be_trained_here(root: Path) -> None:
    home = make(root, study="trials = 3", space="n = [1, 2, 3]")
    work(home)
    new = importing(root, study='trials = 3\nimport = "s"', space="n = [1, 2, 3]")
    assert len(work(new)[0]) == 3
    assert sorted(map(str, keys(state_of(new)))) == sorted(map(str, keys(state_of(home))))
    assert len(shown(new)) == 6


def test_pruned_trials_are_imported_with_what_they_reported_last(root: Path) -> None:
    home = make(root, study="trials = 2", space=SPACE)

    def pruned_at_3(study: Study, claim: Claim) -> Outcome:
        study.reports.add(claim, 3, {"loss": 0.25})
        return Pruned(step=3, metrics={"loss": 0.25})

    with Study.open(home, owner()) as study:
        for _ in range(2):
            claim = claimed(study)
            study.tell(claim, pruned_at_3(study, claim))
    new = importing(root)
    with Study.open(new, owner()) as study:
        history = (
            SamplerHistory(study.journal.revision.space).study(study.journal.state, RANDOM()).get_trials(deepcopy=False)
        )
    assert [(t.state.name, t.intermediate_values) for t in history] == [("PRUNED", {3: 0.25})] * 2


def test_another_metric_is_taken_from_the_other_metrics_of_the_trials(root: Path) -> None:
    home = make(root, study="trials = 3", space=SPACE)
    work(home, judge=lambda claim: Complete(values=(1.0,), metrics={"loss": 1.0, "auc": 0.5 + claim.number / 10}))
    new = importing(root, metric='metric = "auc"\ndirection = "maximize"')
    assert [values for _, values in shown(new)] == [[0.5], [0.6], [0.7]]
    both = importing(root, name="both", metric='metric = ["auc", "loss"]\ndirection = ["maximize", "minimize"]')
    assert [values for _, values in shown(both)] == [[0.5, 1.0], [0.6, 1.0], [0.7, 1.0]]
    with pytest.raises(UserError, match="'s' optimizes 'loss', not 'f1'"):
        importing(root, name="f1", metric='metric = "f1"\ndirection = "maximize"')


def test_another_direction_is_told(root: Path, old: StudyHome) -> None:
    sweep = parsed(root, metric='metric = "loss"\ndirection = "maximize"')
    assert gather(home_of(root, "new"), sweep).doubts == (
        "study.import: 's' does not maximize 'loss': is it the same metric?",
    )


def test_an_import_that_is_not_there_or_is_empty_is_told(root: Path, old: StudyHome) -> None:
    with pytest.raises(StudyNotFound, match="no study 'gone'"):
        importing(root, study='trials = 8\nimport = ["gone"]')
    make(root / "empty", study="trials = 3")
    with pytest.raises(UserError, match="has no finished trial"):
        importing(root, study=f'trials = 8\nimport = ["{root / "empty" / "s"}"]')


def test_a_file_of_imports_that_was_changed_is_refused(root: Path, old: StudyHome) -> None:
    home = importing(root)
    path = home.path / "imported.1.jsonl"
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(StorageError, match="was changed after it was frozen"), Study.open(home, owner()):
        pytest.fail("its history is not what was frozen")


def test_every_arm_of_a_quota_gets_its_own_imports(root: Path) -> None:
    space = "c = { choices = ['a', 'b'], weights = [3, 1] }\nx = { low = 0.0, high = 1.0 }"
    home = make(root, study="trials = 8", space=space)
    work(home)
    new = importing(root, space=space, sampler='name = "tpe"')
    with Study.open(new, owner()) as study:
        claimed(study)
        counts = {
            arm[0][1]: len(source._model._history.study(study.journal.state, RANDOM()).get_trials(deepcopy=False))
            for arm, source in study.journal.revision.sources.items()
        }  # type: ignore[attr-defined]
    assert sum(counts.values()) == 9  # with the one that runs
    assert counts["a"] > counts["b"] > 0


def test_equal_configurations_are_imported_once_with_their_mean(root: Path) -> None:
    home = make(root, study="trials = 6", space="n = [1, 2]", sampler='name = "random"\nduplicates = "replicate"')
    work(home, judge=lambda claim: complete(claim, float(claim.number)))
    new = importing(root, space="n = [1, 2]")
    means = {
        n: statistics.mean(t.values[0] for t in state_of(home).trials if t.values and t.params["n"] == n)
        for n in (1, 2)
    }
    assert {params["n"]: values[0] for params, values in shown(new)} == means
    assert revise(home, study="trials = 6", space="n = [1, 2]", sampler='name = "random"').lines
