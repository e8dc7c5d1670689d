"""The page of the standard tasks: its own metric for each, beside the bag of words and what should be reached."""

import io

import pandas as pd

from integer_tickets.report.tasks import page

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
    assert [line for line in lines if line.startswith("## ")] == ["## IMDB", "## AG News", "## CoLA"]
    rows = [line for line in lines if line.startswith("| inhibitor")]
    assert rows[0].endswith("2.50 | 2 | test | 90.00 | 89.00 | 50.00 | 95.00 | above (+1.00) | yes |")
    assert rows[1].endswith("| above (+0.90) | no |")
    assert rows[2].endswith("| validation | 0.400 | 0.410 | 0.500 | 0.950 | not above (-0.010) |")
    assert len(rows) == 3
