"""One member has all logs, and keeps them while it lives."""

from types import SimpleNamespace

from streams.intake_group import born_now

CLUSTER = SimpleNamespace(partitions_for_topic=lambda topic: {0, 1})
TOPICS = ["a", "b"]


def shares(members):
    found = born_now().assign(CLUSTER, members)
    return {name: found[name].partitions() for name in found}


def test_the_oldest_member_has_every_partition():
    old, young = born_now(), born_now()
    members = {"1-young": young.metadata(TOPICS), "2-old": old.metadata(TOPICS)}
    found = shares(members)
    assert found["1-young"] == []
    assert len(found["2-old"]) == 4


def test_a_newcomer_changes_nothing_and_a_departure_moves_all():
    first, second, third = (born_now().metadata(TOPICS) for _ in range(3))
    assert len(shares({"x": first, "y": second, "z": third})["x"]) == 4
    assert len(shares({"y": second, "z": third})["y"]) == 4


def test_one_member_alone_has_all():
    assert len(shares({"x": born_now().metadata(TOPICS)})["x"]) == 4
