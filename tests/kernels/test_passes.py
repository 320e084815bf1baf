"""How often a step reads its arrays, and what each pass does."""

import pytest

from thalweg import rules
from thalweg.kernels.body import PLAIN, Place
from thalweg.kernels.passes import Loop, Pass, Uniforms, split
from thalweg.kernels.translate import translate_sums

COUNTS = {
    "adafactor": 3, "adam_mini": 2, "came": 4, "dadapt_adam": 1, "dowg": 2, "lamb": 2, "lars": 2,
    "mars": 2, "novograd": 2, "prodigy": 2, "stable_adamw": 2,
}  # fmt: skip


def passes(name: str) -> tuple[Pass, ...]:
    return split(translate_sums(rules.get(name), PLAIN, "matrix"))


def test_every_rule_of_sums_has_its_count() -> None:
    assert COUNTS.keys() == {*rules.names("sums")}


@pytest.mark.parametrize("name", COUNTS)
def test_each_sum_closes_a_pass_and_the_last_one_writes(name: str) -> None:
    loops = [one.loop for one in passes(name) if one.loop]
    assert len(loops) == COUNTS[name]
    assert "x" in loops[-1].stores
    assert not any(loop.stores for loop in loops[:-1])


@pytest.mark.parametrize(("name", "count"), [("muon", 2), ("normuon", 4)])
def test_a_matrix_to_be_orthogonalized_is_written_by_a_pass_of_its_own(
    name: str, count: int
) -> None:
    loops = [one.loop for one in passes(name) if one.loop]
    assert len(loops) == count
    assert [{*loop.stores} for loop in loops if loop.stores] == [{"whole"}, {"x", "m"}]
    assert not loops[0].sums
    assert loops[0].reads == ("g", "m")
    assert "whole" in loops[-1].reads


def test_a_sum_that_the_next_step_alone_reads_costs_no_pass() -> None:
    only, after = passes("dadapt_adam")
    assert only.loop is not None
    assert len(only.loop.sums) == 2
    assert not any(isinstance(one, Uniforms) and one.new for one in only.before)
    assert after.loop is None
    (uniforms,) = after.before
    assert not isinstance(uniforms, Loop)
    assert uniforms.new.keys() == {"d", "r"}


def test_a_pass_reads_no_more_than_it_needs() -> None:
    first, second, last = (one.loop for one in passes("adafactor") if one.loop)
    assert first.reads == ("g", "x")
    assert second.reads == ("column0", "g", "row0")
    assert last.reads == ("column0", "g", "row0", "x")


def test_what_a_state_starts_at_and_keeps_is_not_written() -> None:
    *_, last = passes("prodigy")
    assert last.loop is not None
    assert "x0" not in last.loop.stores
    assert {"x", "m", "v", "s"} == last.loop.stores.keys()


def test_states_of_rows_and_columns_are_written_by_loops_of_theirs() -> None:
    *_, last = passes("adafactor")
    written = {one.place: {*one.stores} for one in last.before if isinstance(one, Loop)}
    assert written == {Place.ROW: {"r"}, Place.COLUMN: {"c"}}
