"""The stage certify over a whole made-up study."""

import pandas as pd
import pytest

from integer_tickets.information.certificates import length_of
from integer_tickets.integer.artefact import load
from integer_tickets.training.state import load_tensors, save_tensors
from stages import certify
from tests.evaluation.conftest import checkout, copied  # noqa: F401


def test_every_integer_network_has_a_certificate_and_a_rerun_gives_the_same_bytes(copied):  # noqa: F811
    certify.main()
    path = copied / "artifacts" / "certificates.csv"
    first = path.read_bytes()
    rows = pd.read_csv(path)
    assert len(rows) == 1 + 2 * 3 * (2 + 1) * 2  # attentions, seeds, two quantized levels and a distilled one, widths
    assert (rows["n"] == 460).all() and (rows["held_out_n"] == 200).all()
    assert (rows["risk"] < rows["error"]).all() and (rows["held_out_risk"] < rows["held_out_error"]).all()
    assert rows["stage"].tolist().count("baseline") == 1 and (rows["clustered"] == rows["occam"]).all()
    networks = rows[rows["stage"] != "baseline"]
    parts = networks.filter(like="bits_").sum(axis=1)
    assert parts.to_numpy() == pytest.approx(networks["bits"].to_numpy(), abs=1e-3)
    ticket = load(copied / "artifacts/integer/inhibitor-float-0/level_2/int8/ticket.safetensors")
    row = rows[(rows["name"] == "inhibitor int8 ticket level 2") & (rows["seed"] == 0)].iloc[0]
    bits, symmetry = length_of(ticket.network, ticket.tokenizer)
    assert (row["bits"], row["symmetry"]) == pytest.approx((bits["total"], symmetry), abs=1e-5)
    certify.main()
    assert path.read_bytes() == first


def test_a_teacher_that_says_nothing_of_unlabelled_text_certifies_none(copied):  # noqa: F811
    path = copied / "artifacts" / "teacher" / "logits.safetensors"
    says, _ = load_tensors(path)
    save_tensors(path, {"train": says["train"]})
    certify.main()
    assert "apart" not in pd.read_csv(copied / "artifacts" / "certificates.csv")
