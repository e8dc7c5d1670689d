"""Run a stage: `python -m stages NAME [arguments]`. The environment is pinned before anything heavy is imported."""

import importlib
import importlib.util
import os
import sys

from integer_tickets.errors import UserError
from integer_tickets.params import load_params
from stages.runner import die_with_parent, pin
from stages.sources import check


def main() -> None:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    try:
        if "DVC_STAGE" in os.environ:
            die_with_parent()
        params = load_params()
        pin(params.runtime, pretrained=bool(params.teacher.pretrained))
        exists = name.isidentifier() and importlib.util.find_spec(f"stages.{name}")
        stage = getattr(importlib.import_module(f"stages.{name}"), "main", None) if exists else None
        if stage is None:
            raise UserError("no such stage; expected the name of one, as in python -m stages prepare")
        check(name)
        stage()
    except UserError as error:
        print(f"{name or 'stages'}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
