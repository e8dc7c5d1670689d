"""Random streams: pinned, of their own for every purpose."""

from integer_tickets.seeds import generator, seed_for


def test_streams_stay_what_they_are():
    """Pinned: a change would change every run."""
    assert seed_for("dropout", 0, 0) == 9095765688926557425
    assert seed_for("dropout", 1, 4000) == 8833705632068466513
    assert generator("initial", 0).integers(0, 2**62, 2).tolist() == [1691484838897368143, 954673220991022080]


def test_purposes_and_numbers_share_no_stream():
    seeds = {seed_for("dropout", seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000 and all(0 <= seed < 2**63 for seed in seeds)
    purposes = ["initial", "initial weights", "reinit", "order", "shuffled", "teacher", "language", "cut", ""]
    numbers = [(), (0,), (1,), (0, 1), (0, 0), (2**32, 1)]
    streams = [tuple(generator(purpose, *own).random(4)) for purpose in purposes for own in numbers]
    assert len(set(streams)) == len(streams)
