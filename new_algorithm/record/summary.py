"""The ten lines with which a note begins: data, network, result, what was odd, what comes next."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from new_algorithm.record.advice.finding import Finding
from new_algorithm.record.kept_run import RELU_SCRIPTS, last_epoch
from new_algorithm.record.weights import BEST_FILE, VALIDATION, WEIGHTS_FILE

Record = dict[str, Any]

SHOWN_LABELS = 10
SCORES = {
    "auc": "area under the ROC curve",
    "accuracy_fraction": "accuracy",
    "squared_error": "squared error a row",
}
MODEL_FLAGS = ("model", "architecture", "learner", "optimizer", "width", "layers", "hidden_dim")
PREDICT = "new_algorithm/predict.py"


def summary(tag: str, record: Record, findings: Sequence[Finding], has_weights: bool) -> list[str]:
    """At most ten lines; those of which the record says nothing are left out. A pure function.

    has_weights: whether they are at hand, which are never published.
    """
    lines = {
        "Status": _status(record),
        "Data": _data(record.get("data") or {}),
        "Network": _network(record),
        "Script": _script(record),
        "Result": _result(record),
        "Weights": _weights(record) if has_weights else "",
        "Cost": _cost(record),
        "Odd": _odd(record, findings),
        "Next": _next(tag, record, findings, has_weights),
        "Again": f"`{record['command']}`" if record.get("command") else "",
    }
    return [f"{name}: {text}" for name, text in lines.items() if text]


def _status(record: Record) -> str:
    error = f" ({record['error']})" if record.get("error") else ""
    return (
        f"**{record.get('status')}**{error}. Started {record.get('start')}, "
        f"ended {record.get('end')}."
    )


def _data(data: Mapping[str, Any]) -> str:
    if not data.get("name"):
        return ""
    text, counts = str(data["name"]), data.get("counts") or {}
    if counts:
        text += ": " + " and ".join(f"{count:,} {part}" for part, count in counts.items()) + " rows"
    if shape := data.get("shape"):
        text += f" of {' × '.join(map(str, shape))} numbers"
    if classes := data.get("num_classes"):
        text += f", {classes} classes"
        labels = data.get("labels") or ()
        if any(isinstance(label, str) for label in labels):
            more = ", …" if len(labels) > SHOWN_LABELS else ""
            text += f" ({', '.join(map(str, labels[:SHOWN_LABELS]))}{more})"
    elif targets := len(data.get("target_mean", ())):
        text += ", a regression of " + ("one target" if targets == 1 else f"{targets} targets")
    if target := data.get("target"):
        text += f"; learned is {', '.join(target)}"
    return f"{text}."


def _network(record: Record) -> str:
    config, data = record.get("config") or {}, record.get("data") or {}
    if Path(record.get("script") or "").name in RELU_SCRIPTS and data.get("shape"):
        hidden = config.get("widths") or (config["num_layers"] - 1) * [config["hidden_dim"]]
        outputs = {None: data.get("probabilities") or len(data.get("target_mean", ())), 2: 1}
        classes = data.get("num_classes")
        widths = [math.prod(data["shape"]), *hidden, outputs.get(classes, classes)]
        if widths[-1]:
            weights = sum((below + 1) * above for below, above in pairwise(widths))
            return f"{'-'.join(map(str, widths))} with ReLUs, {weights:,} weights."
    named = [f"{name} {config[name]}" for name in MODEL_FLAGS if config.get(name) is not None]
    return f"{', '.join(named)}." if named else ""


def _script(record: Record) -> str:
    config, script = record.get("config") or {}, record.get("script")
    if not script:
        return ""
    text = Path(script).name
    epochs, metrics = config.get("epochs"), record.get("final_metrics") or {}
    if epochs is not None and "epoch" in metrics:
        text += f", {metrics['epoch']} of {epochs} epochs"
        if earlier := record.get("lengthened_after"):
            text += f" (lengthened after {' and '.join(map(str, earlier))})"
        if batch := config.get("batch_size"):
            text += ", full batch" if batch == "full" else f" in batches of {batch}"
    return f"{text}, seed {' '.join(map(str, record.get('seeds') or ('?',)))}."


def _result(record: Record) -> str:
    metrics, data = record.get("final_metrics") or {}, record.get("data") or {}
    held = data.get("held_out", "test")
    parts = [text for part in (held, "train") if (text := _scores(part, metrics, data))]
    if not parts:
        return ""
    chance, numbers = data.get("chance_accuracy"), "; ".join(parts)
    beside = "" if chance is None else f" Always the largest class: accuracy {chance:.4g}."
    return f"{numbers}, after epoch {metrics.get('epoch', '?')}.{beside}"


def _scores(part: str, metrics: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    found = [
        f"{words} **{metrics[f'{part}_{name}']:.4g}**"
        for name, words in SCORES.items()
        if f"{part}_{name}" in metrics
    ]
    for name in (f"{part}_loss_nats", f"{part}_loss"):
        if name in metrics:
            found.append(f"loss {metrics[name]:.4g}" + " nats" * name.endswith("nats"))
            sd: Sequence[float] = data.get("target_sd") or ()
            if len(sd) == 1:  # the loss is half the mean square of standardised errors
                root = sd[0] * math.sqrt(2 * metrics[name])
                found.append(f"root mean square error **{root:.4g}**")
    return f"{part} {', '.join(found)}" if found else ""


def _weights(record: Record) -> str:
    metrics = record.get("final_metrics") or {}
    text = f"{WEIGHTS_FILE} has epoch {last_epoch(record)}"
    if "best_epoch" in metrics:
        return f"{text}, {BEST_FILE} the best on validation rows, epoch {metrics['best_epoch']}."
    if (record.get("data") or {}).get("held_out") == VALIDATION:
        return f"{text}."
    return f"{text}; none is chosen on test rows, --held-out validation keeps the best too."


def _cost(record: Record) -> str:
    metrics, host = record.get("final_metrics") or {}, record.get("host") or {}
    names = {
        "train_cpu_seconds": "{:.4g} CPU seconds of training",
        "train_wall_seconds": "{:.4g} by the clock",
        "peak_memory_mb": "{:,.0f} MB of memory at the most",
    }
    parts = [words.format(metrics[name]) for name, words in names.items() if name in metrics]
    if parts and host.get("cpu"):
        parts.append(host["cpu"])
    return f"{', '.join(parts)}." if parts else ""


def _odd(record: Record, findings: Sequence[Finding]) -> str:
    odd = [one.seen for one in findings if one.severity == "warning"]
    met = len(record.get("anomalies") or ())
    if met:
        odd.append(f"{met} anomalies, listed below" if met > 1 else record["anomalies"][0])
    if not odd:
        return "nothing stands out." if "epoch" in (record.get("final_metrics") or {}) else ""
    return f"{'; '.join(one.rstrip('.') for one in odd)}."


def _next(tag: str, record: Record, findings: Sequence[Finding], has_weights: bool) -> str:
    steps = [
        f"try `{one.flag}` ({one.name.lower()})" if one.flag else one.words
        for one in findings
        if one.flag or one.words
    ][:1]
    if has_weights and Path(record.get("script") or "").name in RELU_SCRIPTS:
        steps.append(f"`python {PREDICT} {tag} FILE --output OUT.csv` predicts for new rows")
    return f"{'; '.join(steps)}." if steps else ""
