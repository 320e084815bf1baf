"""thalweg rules and thalweg kernel."""

import pytest

from thalweg import cli, rules, second_order, wrappers


def test_kernel_prints_the_generated_source(capsys: pytest.CaptureFixture[str]) -> None:
    from thalweg import kernels  # noqa: PLC0415 - the oracle

    assert cli.main(["kernel", "adam"]) == 0
    assert capsys.readouterr().out.strip() == kernels.source("adam").strip()
    assert cli.main(["kernel", "adam", "--triton"]) == 0
    out = capsys.readouterr().out
    assert "@triton.jit" in out
    assert "tl.sqrt_rn(v_hat)" in out


@pytest.mark.parametrize(("rule", "why"), [("soap", "a whole tensor"), ("sam(sgd)", "gradient")])
def test_a_rule_without_a_kernel_is_refused_without_a_line_of_ours(
    rule: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["kernel", rule]) == 2
    told = capsys.readouterr().err
    assert why in told
    assert ".py" not in told


def test_rules_lists_every_rule_with_its_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rules"]) == 0
    out = capsys.readouterr().out
    listed = [line.split()[0] for line in out.splitlines()[1:] if line[:1].strip()]
    first, last = listed[: listed.index("wrapper")], listed[listed.index("wrapper") + 1 :]
    assert first == [*rules.names(), *second_order.METHODS]
    assert {*last} >= {*wrappers.__all__}  # and those that other tests declared
    assert "radius 0.05 (>= 0)" in out
    assert "lookahead(cautious(adamw))" in out
    assert rules.get("lookahead(cautious(adamw))").name in out
    assert "beta2 0.999 (in [0, 1))" in out
    told = {line.split()[0]: line for line in out.splitlines()[1:] if line}
    assert " linear " in told["momentum"]
    assert " preconditioned " in told["adam"]
    assert " - " in told["lion"]
