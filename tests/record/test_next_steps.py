import numpy as np

from new_algorithm.record.note import next_steps

COMPLETED = {"status": "completed"}
SEEDS = "One seed says nothing about spread: repeat with other values of `--seed`."


def series(train, test):
    return {
        "epoch": np.arange(1, len(train) + 1),
        "train_loss": np.array(train),
        "test_loss": np.array(test),
        "layer_norms": np.ones((len(train), 1)),
    }


def test_a_settled_run_needs_other_seeds_alone():
    assert next_steps(series([0.5, 0.49], [0.5, 0.5]), COMPLETED) == [SEEDS]


def test_a_loss_that_still_falls_wants_more_epochs():
    steps = next_steps(series([0.5, 0.4], [0.5, 0.45]), COMPLETED)
    assert steps == ["Train loss fell 20% in the last epoch: try more epochs.", SEEDS]


def test_overfitting_names_the_epoch_to_stop_at():
    steps = next_steps(series([0.5, 0.3, 0.1], [0.5, 0.4, 0.6]), COMPLETED)
    assert steps[0].startswith("Test loss was lowest at epoch 2: stop there")


def test_instability_wants_smaller_steps():
    for numbers in ([0.5, 0.9], [0.5, np.nan]):
        assert "smaller steps" in next_steps(series(numbers, [0.5, 0.5]), COMPLETED)[0]
    assert "smaller steps" in next_steps({}, {"status": "diverged"})[0]


def test_uncommitted_changes_are_named():
    record = COMPLETED | {"git": {"commit": "x", "dirty": True}}
    steps = next_steps(series([0.5, 0.49], [0.5, 0.5]), record)
    assert steps[0].startswith("Files differed from the commit")


def test_a_run_on_validation_asks_for_one_test():
    numbers = series([0.5, 0.49], [0.5, 0.5])
    numbers["validation_loss"] = numbers.pop("test_loss")
    assert "`--held-out test`" in next_steps(numbers, COMPLETED)[0]


def test_a_failed_run_points_to_the_log():
    assert next_steps({}, {"status": "failed"})[0].startswith("Read the error in the log")
