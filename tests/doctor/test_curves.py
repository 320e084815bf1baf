import json
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from curve_families import APART, CALIBRATED, FAULTS, draw

import race_folder
from thalweg.doctor.causes import CAUSES
from thalweg.doctor.curves import Curves, diagnose, read_curves


@pytest.mark.parametrize("families", [CALIBRATED, APART], ids=["calibrated", "apart"])
def test_faults_of_generated_curves_are_told_apart(families: dict) -> None:
    told: Counter[tuple[str, str]] = Counter()
    for fault in FAULTS:
        for course in families.values():
            for seed in range(1000, 1004):
                findings = diagnose(draw(fault, course, seed)).findings
                told[fault, findings[0].cause if findings else "healthy"] += 1
    right = {fault: told[fault, fault] / 12 for fault in FAULTS}
    assert np.mean(list(right.values())) >= 0.9, told
    assert min(right.values()) >= 0.75, told
    assert right["healthy"] >= 0.9, told


LOGS = sorted(
    path for path in (Path(__file__).parent / "logs").iterdir()
    if path.suffix not in {".py", ".md", ".pyc"} and path.name != "__pycache__"
)  # fmt: skip


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_faults_of_real_trainings_are_told_apart(log: Path) -> None:
    findings = diagnose(log).findings
    assert log.name.startswith(findings[0].cause if findings else "healthy")


def test_onsets_are_where_the_trouble_begins() -> None:
    n = np.arange(100.0)
    train = np.exp(-n / 15)
    held = train + 0.3 * np.maximum(0, n - 60) / 40
    found, *_ = diagnose(Curves("log", n, train, n, held)).findings
    assert found.cause == "overfitting"
    assert abs(found.onset - 60) <= 8
    grown = train + np.where(n > 70, np.exp((n - 70) / 5), 0)
    found = diagnose(Curves("log", n, grown, n[:0], n[:0])).findings[0]
    assert found.cause == "diverged"
    assert abs(found.onset - 70) <= 8
    train[40:] = np.nan
    found = diagnose(Curves("log", n, train, n, held)).findings[0]
    assert (found.cause, found.onset) == ("loss_not_finite", 40)


def test_a_finding_has_its_evidence_threshold_and_source() -> None:
    for fault in FAULTS:
        for found in diagnose(draw(fault, APART["power"], 1)):
            assert found.cause in CAUSES
            assert found.evidence
            assert found.threshold
            assert found.source
            assert found.sentence.endswith(".")


def test_a_healthy_log_says_what_was_looked_at_and_ruled_out() -> None:
    report = diagnose(draw("healthy", CALIBRATED["exponential"], 1))
    assert not report.findings
    assert len(report.looked_at) >= 8
    assert {"overfitting", "plateau", "diverged", "still_falling"} <= report.ruled_out.keys()


def test_the_loss_of_a_constant_tells_learned_before_from_never() -> None:
    n = np.arange(50.0)
    flat = Curves("log", n, np.full(50, 1.0), n[:0], n[:0], "epoch")
    assert diagnose(flat, constant=1.02).findings[0].severity == "problem"
    assert not diagnose(flat, constant=2.3).findings


# Logs as loggers write them


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


N = np.arange(12)
TRAIN, HELD = np.exp(-N / 3) + 0.1, np.exp(-N / 3) + 0.15


def table(header: str, *columns: object, delimiter: str = ",") -> str:
    rows = [
        delimiter.join("" if v is None else str(v) for v in row)
        for row in zip(*columns, strict=True)
    ]
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("epoch,loss,val_loss", "epoch"),
        ("step,train_loss,valid_loss", "step"),
        ("global_step,train/loss,eval/loss", "step"),
        ("Epoch,Training Loss,Validation Loss", "epoch"),
        ("Step,run-7 - train_loss,run-7 - val_loss", "step"),
        ("_step,loss,test_loss", "step"),
        ("iteration,trainLoss,valLoss", "step"),
        ("epoch,train_cross_entropy,dev_cross_entropy", "epoch"),
        ("epoch,mse,val_mse", "epoch"),
    ],
)
def test_columns_are_found_by_the_words_of_the_field(
    tmp_path: Path, header: str, unit: str
) -> None:
    curves = read_curves(written(tmp_path, "log.csv", table(header, N, TRAIN, HELD)))
    assert curves.unit == unit
    np.testing.assert_allclose(curves.training, TRAIN)
    np.testing.assert_allclose(curves.validation, HELD)
    np.testing.assert_array_equal(curves.steps, N)


@pytest.mark.parametrize("delimiter", ["\t", ";", ","])
def test_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    text = table(delimiter.join(["epoch", "loss", "acc"]), N, TRAIN, N, delimiter=delimiter)
    np.testing.assert_allclose(read_curves(written(tmp_path, "log", text)).training, TRAIN)


def test_gaps_are_gaps_and_nan_is_a_loss(tmp_path: Path) -> None:
    lines = ["epoch,step,train_loss,val_loss"]
    for n in range(8):
        lines += [f"{n},{10 * n},{TRAIN[n]},", f"{n},{10 * n + 9},,{'nan' if n == 7 else HELD[n]}"]
    folder = tmp_path / "lightning_logs" / "version_0"
    folder.mkdir(parents=True)
    written(folder, "metrics.csv", "\n".join(lines))
    curves = read_curves(tmp_path / "lightning_logs")
    np.testing.assert_allclose(curves.training, TRAIN[:8])
    np.testing.assert_array_equal(curves.validation_steps, 10 * np.arange(8) + 9)
    assert np.isnan(curves.validation[-1])
    assert diagnose(curves).findings[0].cause == "loss_not_finite"


def test_json_of_trainers_and_histories(tmp_path: Path) -> None:
    history = [{"loss": a, "step": n} for n, a in enumerate(TRAIN)]
    history += [{"eval_loss": b, "step": n} for n, b in enumerate(HELD)]
    history.sort(key=lambda one: one["step"])
    history.append({"train_loss": 0.3, "train_runtime": 2.0, "step": 11})
    states = {
        "trainer_state.json": json.dumps({"log_history": history}),
        "log.jsonl": "\n".join(map(json.dumps, history)) + '\n{"loss": 0.',
        "records.json": json.dumps(history),
        "history.json": json.dumps({"loss": list(TRAIN), "val_loss": list(HELD)}),
    }
    for name, text in states.items():
        curves = read_curves(written(tmp_path, name, text))
        np.testing.assert_allclose(curves.training, TRAIN)
        np.testing.assert_allclose(curves.validation, HELD)
    assert np.isnan(
        read_curves(written(tmp_path, "a.json", '[{"loss": 1.0}, {"loss": NaN}]')).training[1]
    )


def lines(form: str) -> str:
    return "".join(form.format(n, a, b) for n, (a, b) in enumerate(zip(TRAIN, HELD, strict=True)))


# As pandas, nested records, fairseq, LightGBM, the first example of PyTorch, transformers, XGBoost,
# fastai and a German table write the two losses of an epoch.
ODD = {
    "pandas": json.dumps({"loss": dict(enumerate(TRAIN)), "val_loss": dict(enumerate(HELD))}),
    "nested": json.dumps({"train": {"loss": list(TRAIN)}, "val": {"loss": list(HELD)}}),
    "mmdetection": lines(
        '{{"mode": "train", "epoch": {0}, "loss": {1}}}\n'
        '{{"mode": "val", "epoch": {0}, "loss": {2}}}\n'
    ),
    "short names": lines("tr_loss: {1}, tr_ce_loss: 9, te_loss: {2}\n"),
    "rows of a phase": "phase,epoch,loss\n" + lines("train,{0},{1}\nvalid,{0},{2}\n"),
    "records": lines('{{"epoch": {0}, "train": {{"loss": {1}}}, "val": {{"loss": {2}}}}}\n'),
    "fairseq": lines(
        "12:00:01 | INFO | train | epoch {0:03d} | loss {1} | ppl 33\n"
        "12:00:09 | INFO | valid | epoch {0:03d} | valid on 'valid' subset | loss {2} | ppl 40\n"
    ),
    "fairseq's JSON": lines(
        '12:00:01 | INFO | train | {{"epoch": {0}, "train_loss": "{1}", "train_ppl": "33"}}\n'
        '12:00:09 | INFO | valid | {{"epoch": {0}, "valid_loss": "{2}", "valid_ppl": "40"}}\n'
    ),
    "LightGBM": lines("[{0}]\ttraining's l2 loss: {1}\tvalid_1's l2 loss: {2}\n"),
    "example": lines(
        "Train Epoch: {0} [0/60000 (0%)]\tLoss: {1}\n\n"
        "Test set: Average loss: {2}, Accuracy: 9/10 (90%)\n\n"
    ),
    "transformers": lines(
        "{{'loss': {1}, 'learning_rate': 2e-05, 'epoch': {0}.5}}\n"
        "{{'eval_loss': {2}, 'eval_runtime': 3.2, 'epoch': {0}.9}}\n"
    ),
    "xgboost": lines("[{0}]\ttrain-logloss:{1}\teval-logloss:{2}\n"),
    "fastai": "epoch     train_loss  valid_loss  time    \n"
    + lines("{0:<9d} {1:.9f}    {2:.9f}    00:03     \n"),
    "fastai, after other lines": "Max vocab: 3, 2\nepoch     train_loss  valid_loss  time\n"
    + lines("{0:<9d} {1:.9f}    {2:.9f}    1:30:29\n")
    + "precision  recall  f1  support\n0          9       9   12\n",
    "folds, below epochs": lines("epoch {0}: loss: {1} val_loss: {2}\n")
    + "fold  train loss  val loss\n1  9  9\n2  9  9\n",
    "Ultralytics": lines(
        "Epoch  GPU_mem  box_loss  val_loss  Size\n"
        " {0}/12  1.2G  {1:.9f}  {2:.9f}  640: 100%|█| 9/9\n"
        "Class  Images  mAP50\n  all  100  0.5\n"
    ),
    "a notebook": " [12/12 09:26, Epoch 1/2]\nStep\tTraining Loss\tValidation Loss\n"
    + lines("{0}\t{1}\t{2}\nwarning: a loss\n"),
    "bars": "it begins\n| step | loss | val loss |\n|---|---|---|\n"
    + lines("| {0} | {1} | {2} |\n"),
    "numpy": "# a run of today\n# epoch loss val_loss\n" + lines("{0} {1:.9e} {2:.9e}\n"),
    "numpy with commas": "# epoch,loss,val_loss\n" + lines("{0},{1:.9e},{2:.9e}\n"),
    "lists": f"train_losses = {list(TRAIN)}\nval_losses = {list(HELD)}\n",
    "lists of NumPy's numbers": str({"loss": [*TRAIN], "val_loss": [*HELD]}),
    "quickstart": lines("Epoch {0}\n-----\nloss: {1}  [0/60000]\nTest Error: \n Avg loss: {2}\n"),
    "LightGBM, stopped": lines("[{0}]\ttraining's l2 loss: {1}\tvalid_1's l2 loss: {2}\n")
    + "Early stopping, best iteration is:\n[3]\ttraining's l2 loss: 9\tvalid_1's l2 loss: 9\n",
    "MLflow's rows": "run,Metric,step,value\n" + lines("a,loss,{0},{1}\na,val_loss,{0},{2}\n"),
    "decimal": "Epoche;loss;val_loss\n" + lines("{0};{1};{2}\n").replace(".", ","),
    "German": "Epoche;Trainingsverlust;Validierungsverlust\n"
    + lines("{0};{1};{2}\n").replace(".", ","),
    "printed in German": lines(
        "Epoche {0}: Trainingsverlust {1} Validierungsverlust: {2}\n"
    ).replace(".", ","),
    "Chinese": lines("第{0}轮 训练损失:{1} 验证损失:{2}\n"),
    "CatBoost": lines("{0}:\tlearn: {1}\ttest: {2}\tbest: 0.1 (3)\ttotal: 5ms\n"),
    "darknet": lines(" {0}: 9.5, {1} avg loss, 0.01 rate, 5.4 seconds\nval loss: {2}\n"),
    "darknet of old": lines(" {0}: 9.5, {1} avg, 0.01 rate, 5.4 seconds\nval loss: {2}\n"),
    "spaCy": "E  #     LOSS TOK2VEC  LOSS NER  VAL LOSS\n---  ----  ------------  --------  ---\n"
    + lines("  {0}     {0}00  {1}  0.00  {2}\n"),
    "parts": "epoch,train/box_loss,train/cls_loss,val/box_loss,val/cls_loss\n"
    + lines("{0},{1},0,0,{2}\n"),
    "boxes": lines("| train/      |\n|    loss     | {1} |\n|    val_loss | {2} |\n-----\n"),
    "a bar": lines("Epoch {0}\n1/9 - loss: 9\r9/9 - loss: {1} - val_loss: {2}\n"),
    "processes": lines(
        "[rank0]: step {0} loss: {1} val_loss: {2}\n[rank1]: step {0} loss: 9 val_loss: 9\n"
    ),
}


@pytest.mark.parametrize("form", ODD)
def test_what_other_programs_write_is_read(tmp_path: Path, form: str) -> None:
    curves = read_curves(written(tmp_path, "log", ODD[form]))
    np.testing.assert_allclose(curves.training, TRAIN, rtol=1e-6)
    np.testing.assert_allclose(curves.validation, HELD, rtol=1e-6)


def test_a_loss_of_0_beside_a_gradient_of_nan_is_nan(tmp_path: Path) -> None:
    text = lines("{{'loss': {1}, 'grad_norm': 1.0}}\n") + "{'loss': '0', 'grad_norm': 'nan'}\n" * 3
    found = diagnose(written(tmp_path, "log", text))
    assert found.findings[0].cause == "loss_not_finite"
    told = diagnose(written(tmp_path, "log", text.replace("nan", "1"))).findings
    assert all(finding.cause != "loss_not_finite" for finding in told)


def test_numbers_alone_are_a_loss(tmp_path: Path) -> None:
    scalars = json.dumps([[1e9 + n, n, value] for n, value in enumerate(TRAIN)])
    np.testing.assert_array_equal(read_curves(written(tmp_path, "s", scalars)).training, TRAIN)
    metric = "".join(f"1700000000000 {value} {n}\n" for n, value in enumerate(TRAIN))
    np.testing.assert_array_equal(read_curves(written(tmp_path, "m", metric)).training, TRAIN)
    for text in (json.dumps(list(TRAIN)), "\n".join(map(str, TRAIN))):
        np.testing.assert_allclose(read_curves(written(tmp_path, "log", text)).training, TRAIN)


def test_lines_without_an_epoch_are_of_the_one_before(tmp_path: Path) -> None:
    text = "".join(f"Epoch {n}/12\nloss: {a} - val_loss: {a}\n" for n, a in enumerate(TRAIN))
    curves = read_curves(written(tmp_path, "log", text))
    assert curves.unit == "epoch"
    np.testing.assert_array_equal(curves.validation_steps, N)


def test_a_score_is_no_loss(tmp_path: Path) -> None:
    path = written(tmp_path, "log.csv", table("epoch,accuracy,dice_loss", N, HELD, TRAIN))
    np.testing.assert_allclose(read_curves(path).training, TRAIN)
    with pytest.raises(ValueError, match="--train accuracy: a score by its name, which rises"):
        read_curves(path, train="accuracy")


def test_lines_of_text_are_read(tmp_path: Path) -> None:
    text = "Using cpu\n" + "".join(
        f"Epoch [{n}/12] 100%|####| 3s 2ms/step - loss: {a:.4f} - accuracy: 0.5 - "
        f"val_loss: {b:.4f} - val_accuracy: 0.5\n"
        for n, (a, b) in enumerate(zip(TRAIN, HELD, strict=True))
    )
    curves = read_curves(written(tmp_path, "out.log", text))
    assert curves.unit == "epoch"
    np.testing.assert_allclose(curves.training, TRAIN, atol=1e-4)
    np.testing.assert_allclose(curves.validation, HELD, atol=1e-4)


def test_event_files_are_read(tmp_path: Path) -> None:
    summary = pytest.importorskip("torch.utils.tensorboard")
    with summary.SummaryWriter(str(tmp_path)) as writer:
        for n in range(12):
            writer.add_scalar("Loss/train", TRAIN[n], 5 * n)
            writer.add_scalar("Loss/validation", HELD[n], 5 * n)
            writer.add_scalar("lr", 0.1, 5 * n)
    curves = read_curves(tmp_path)
    np.testing.assert_allclose(curves.training, TRAIN, rtol=1e-6)
    np.testing.assert_allclose(curves.validation, HELD, rtol=1e-6)
    np.testing.assert_array_equal(curves.validation_steps, 5 * N)


def test_metrics_of_a_run_of_mlflow_are_read(tmp_path: Path) -> None:
    metrics = tmp_path / "mlruns" / "0" / "a1" / "metrics"
    metrics.mkdir(parents=True)
    for name, values in (("loss", TRAIN), ("val_loss", HELD)):
        lines = [f"{1714550000000 + n} {value} {5 * n}\n" for n, value in enumerate(values)]
        (metrics / name).write_text("".join(reversed(lines)))
    for folder in (tmp_path / "mlruns", metrics.parent, metrics):
        curves = read_curves(folder)
        np.testing.assert_array_equal(curves.validation_steps, 5 * N)
        np.testing.assert_allclose(curves.training, TRAIN)
        np.testing.assert_allclose(curves.validation, HELD)
    shutil.copytree(metrics, tmp_path / "mlruns" / "0" / "b2" / "metrics")
    with pytest.raises(ValueError, match=r"several runs of MLflow \(0/a1, 0/b2\); name one"):
        diagnose(tmp_path / "mlruns")


def test_of_a_races_folder_the_finals_of_the_rule_to_take_are_read(tmp_path: Path) -> None:
    results, table = race_folder.make(("sgd", "adam"), trials=8, seeds=3)
    race_folder.write(tmp_path, results, table)
    curves = read_curves(tmp_path)
    rows = [row for row in table.to_pylist() if row["phase"] == "final"]
    rows = [row for row in rows if row["rule"] == results["take"]]
    for epoch in (0, 3):
        losses = [row["validation_loss"] for row in rows if row["epoch"] == epoch]
        assert curves.validation[epoch] == pytest.approx(np.median(losses))
    assert (curves.unit, len(curves.training)) == ("epoch", len(curves.validation))
    assert f"the finals of {results['take']}" in curves.notes[0]
    assert diagnose(tmp_path).looked_at


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "log.csv", table("when,a,b", N, TRAIN, HELD))
    with pytest.raises(
        ValueError, match=r"no column that is a loss by its name .when, a, b.*--train"
    ):
        read_curves(path)
    curves = read_curves(path, train="a", validation="b", step="when")
    np.testing.assert_allclose(curves.validation, HELD)
    with pytest.raises(
        ValueError, match=r"--train c: .* no such column of numbers; it has when, a"
    ):
        read_curves(path, train="c")


def test_several_losses_are_asked_about(tmp_path: Path) -> None:
    text = table("epoch,train/a_loss,train/b_loss", N, TRAIN, HELD)
    with pytest.raises(ValueError, match=r"several columns may be meant \(train/a_loss, train/b"):
        read_curves(written(tmp_path, "a.csv", text))
    parts = "train/box_loss,train/cls_loss,val/box_loss,val/cls_loss"
    text = table(f"epoch,{parts}", N, TRAIN, HELD, HELD, TRAIN)
    curves = read_curves(written(tmp_path, "b.csv", text), train="train/box_loss")
    np.testing.assert_allclose(curves.validation, HELD)
    text = table("Step,one - loss,two - loss", N, TRAIN, HELD)
    with pytest.raises(ValueError, match="several columns may be meant"):
        read_curves(written(tmp_path, "b.csv", text))
    text = table("Step,one - loss,one - loss__MIN,one - loss__MAX", N, TRAIN, HELD, HELD)
    np.testing.assert_allclose(read_curves(written(tmp_path, "c.csv", text)).training, TRAIN)


def test_parts_of_an_epoch_are_lines(tmp_path: Path) -> None:
    text = "".join(f"{{'loss': {a}, 'epoch': {n / 20}}}\n" for n, a in enumerate(TRAIN))
    curves = read_curves(written(tmp_path, "log", text))
    assert curves.unit == "line"
    np.testing.assert_array_equal(curves.steps, np.arange(len(TRAIN)))
    assert curves.notes[0] == "epoch has parts of one: lines are counted instead"


# Bad input


def test_of_two_runs_in_one_file_the_last_counts(tmp_path: Path) -> None:
    steps, losses = [*N, *N], [*HELD, *TRAIN]
    text = table("step,loss", steps, losses)
    for name, log in {"a": text, "b": 2 * table("step,loss", N, TRAIN)}.items():
        curves = read_curves(written(tmp_path, name, log))
        np.testing.assert_allclose(curves.training, TRAIN)
        assert any("run" in note for note in curves.notes)


def test_a_resumed_run_counts_what_was_trained_again(tmp_path: Path) -> None:
    steps, losses = [0, 1, 2, 3, 4, 3, 4, 5], [9, 8, 7, 100, 100, 6, 5, 4]
    curves = read_curves(written(tmp_path, "log.csv", table("step,loss", steps, losses)))
    np.testing.assert_array_equal(curves.steps, np.arange(6))
    np.testing.assert_array_equal(curves.training, [9, 8, 7, 6, 5, 4])
    assert any("goes back at line 6" in note for note in curves.notes)


def test_steps_that_begin_again_in_each_epoch_are_lines(tmp_path: Path) -> None:
    text = table("epoch,step,loss", N // 4, N % 4, TRAIN)
    curves = read_curves(written(tmp_path, "log.csv", text))
    assert curves.unit == "line"
    np.testing.assert_allclose(curves.training, TRAIN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"epoch,loss,val_loss\n", "has a header and no rows"),
        (b"  \n\n", "is empty"),
        (b"\x7fELF\x02\x00\x00\x01" * 99, "is binary"),
        (b"Dear all,\nthe meeting is at noon.\n", "not a log that is known"),
        (b"1,2\n3,4\n", "not a log that is known"),
        (b"[[1, 2], [3, 4]]", "must hold records"),
        (b"train 0.5 | valid 0.6 | took 3s\n" * 4, r"no column that is a .* \(train, valid\)"),
        (b"epoch,accuracy\n1,0.5\n2,0.6\n", "no column that is a loss .*a score is none"),
        (b"epoch,loss\n", "no"),
        (b"{", "no"),
        ("épôque;gagné\n1;2\n".encode("latin-1"), "no column that is a loss"),
    ],
)
def test_what_is_no_log_gets_a_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        diagnose(path)


def test_what_is_not_there_or_several_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; give a log: a CSV file"):
        diagnose(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="holds no log that is known"):
        diagnose(tmp_path)
    written(tmp_path, "train.py", "import torch")
    with pytest.raises(ValueError, match="no log that is known: it holds Python files, and thalwe"):
        diagnose(tmp_path)
    for name in ("a.csv", "b.csv"):
        written(tmp_path, name, table("step,loss", N, TRAIN))
    with pytest.raises(ValueError, match=r"holds several logs \(a.csv, b.csv\); name one"):
        diagnose(tmp_path)
    events = tmp_path / "events.out.tfevents.1"
    events.write_bytes(b"nonsense, not events")
    with pytest.raises(ValueError, match=r"events.out.tfevents.1 (has no scalars|is damaged)"):
        diagnose(events)


def test_few_values_are_said_to_be_few(tmp_path: Path) -> None:
    report = diagnose(written(tmp_path, "log.csv", "step,loss\n0,2.3\n"))
    assert not report.findings
    assert report.skipped["shape of the training loss"].startswith("1 value:")
    (found,) = diagnose(written(tmp_path, "log.csv", "step,loss\n0,nan\n1,nan\n")).findings
    assert "NaN from the first value on" in found.sentence


@pytest.mark.parametrize(
    "values", [[0.0] * 50, [-1.0] * 50, [1e300, -1e300] * 25, [5.0, *[0.0] * 49]]
)
def test_odd_values_get_an_answer(values: list[float]) -> None:
    n = np.arange(50.0)
    report = diagnose(Curves("log", n, np.array(values), n, np.array(values)))
    assert report.looked_at


def test_a_log_of_a_million_lines_is_read_whole(tmp_path: Path) -> None:
    n = np.arange(1_000_000)
    rng = np.random.default_rng(0)
    loss = (np.exp(-n / 1e5) + 0.1) * np.exp(0.2 * rng.standard_normal(len(n)))
    path = written(tmp_path, "log.csv", "step,loss\n" + "".join(map("{},{:.5f}\n".format, n, loss)))
    began = time.perf_counter()
    report = diagnose(path)
    print(f"{time.perf_counter() - began:.2f} s for a million lines")  # noqa: T201 - with -s
    assert not report.findings
