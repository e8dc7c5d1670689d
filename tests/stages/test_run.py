"""The parallel runner: which item goes first, and which `python` an item calls."""

import os
import shutil
import sys

from hypothesis import given
from hypothesis import strategies as st

from stages.run import distances


def test_items_far_from_the_end_go_first():
    needs = {"a": set(), "b": {"a"}, "teacher": set(), "c": {"b", "teacher"}, "report": {"c", "a"}}
    assert distances(needs) == {"a": 3, "b": 2, "teacher": 2, "c": 1, "report": 0}


@given(st.lists(st.sets(st.integers(0, 9)), max_size=10))
def test_an_item_is_farther_than_what_waits_for_it(graph):
    needs = {str(i): {str(j) for j in before if j < i} for i, before in enumerate(graph)}
    far = distances(needs)
    assert all(far[needed] > far[name] for name in needs for needed in needs[name])


def test_items_run_in_the_environment_of_the_runner_be_it_activated_or_not(finished, tmp_path):
    copied = finished.copy(tmp_path / "copy")
    with (copied.root / "stages" / "work.py").open("a") as file:
        file.write("# something else\n")
    (copied.root / "artifacts" / "adopted" / "softmax").mkdir(parents=True)  # of another part of a study
    others = [part for part in os.environ["PATH"].split(os.pathsep) if shutil.which("git", path=part)]
    copied.run(sys.executable, "-m", "stages", "run", "sources", PATH=os.pathsep.join(others))
    assert not list((copied.root / "artifacts" / "adopted").iterdir())
