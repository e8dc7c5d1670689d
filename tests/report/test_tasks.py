"""The page of the standard tasks: its own metric for each, beside the bag of words and what should be reached."""

import io

import pandas as pd
import pytest
import yaml

from integer_tickets.errors import UserError
from integer_tickets.report.tasks import TASKS, page
from stages.tasks import summaries

HEADER = "name,stage,role,attention,split,metric,mean,bits,seeds"


def summary(metric: str, ticket: float, bag: float, split: str = "validation") -> pd.DataFrame:
    rows = [
        f"teacher,teacher,teacher,softmax,{split},{metric},0.95,1e8,1",
        f"tfidf,baseline,tfidf,,{split},{metric},{bag},1e6,1",
        f"majority,baseline,majority,,{split},{metric},0.5,0,1",
        f"inhibitor int4 dense distilled,distill,dense,inhibitor,{split},{metric},{ticket},2500000,2",
        f"softmax int4 dense distilled,distill,dense,softmax,{split},{metric},0.99,2500000,2",
    ]
    return pd.read_csv(io.StringIO("\n".join([HEADER, *rows])))


def test_each_task_in_its_metric_beside_the_bag_of_words(tmp_path):
    studies = [
        ("one", "cola", summary("matthews", 0.4, 0.41)),
        ("news", "agnews", summary("accuracy", 0.895, 0.886, "test")),
        ("reviews", "imdb", summary("accuracy", 0.9, 0.89, "test")),
        ("other", "something", summary("accuracy", 0.9, 0.89)),
    ]
    page(studies, tmp_path / "tasks.md")
    lines = (tmp_path / "tasks.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("## ")] == [f"## {task.title}" for task in TASKS]
    not_run = [task.title for task in TASKS if f"## {task.title}\n\nNot run yet." in "\n".join(lines)]
    assert not_run == ["SST-2", "TREC", "MRPC, F1", "MRPC, accuracy", "RTE"]
    rows = [line for line in lines if line.startswith("| inhibitor")]
    assert rows[0].endswith("2.50 | 2 | test | 90.00 | 89.00 | 50.00 | 95.00 | above (+1.00) | yes |")
    assert rows[1].endswith("| above (+0.90) | no |")
    assert rows[2].endswith("| validation | 0.400 | 0.410 | 0.500 | 0.950 | not above (-0.010), not above guessing |")
    assert len(rows) == 3


def test_what_a_study_lacks_is_named(tmp_path):
    lacking = summary("accuracy", 0.9, 0.89).iloc[2:]
    with pytest.raises(UserError, match=r"study one: summary.csv has no accuracy of .*tfidf"):
        page([("one", "rte", lacking)], tmp_path / "tasks.md")
    assert not (tmp_path / "tasks.md").exists()


def test_studies_are_read_with_their_corpus(tmp_path):
    (tmp_path / "one" / "runs" / "int4").mkdir(parents=True)
    (tmp_path / "one" / "runs" / "int4" / "params.yaml").write_text(yaml.safe_dump({"data": {"name": "mrpc"}}))
    both = pd.concat([summary("f1", 0.8, 0.7), summary("accuracy", 0.75, 0.65)])
    both.to_csv(tmp_path / "one" / "summary.csv", index=False)
    ((name, corpus, frame),) = summaries(tmp_path)
    assert (name, corpus) == ("one", "mrpc")
    page([(name, corpus, frame)], tmp_path / "tasks.md")
    text = (tmp_path / "tasks.md").read_text()
    assert "## MRPC, F1" in text and "| 0.800 | 0.700 |" in text
    assert "## MRPC, accuracy" in text and "| 75.00 | 65.00 |" in text
