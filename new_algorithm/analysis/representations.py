"""What the layers of a network make of the data, and whether two runs make the same of them."""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from new_algorithm.analysis.figures import representations as figures
from new_algorithm.analysis.findings import Findings, Part, Settings, Table
from new_algorithm.analysis.layer_outputs import MOST_FEATURES, on_share, outputs_of_layers, places
from new_algorithm.analysis.pictures import pictures
from new_algorithm.analysis.similarity import cka, effective_rank, principal_components
from new_algorithm.analysis.subject import Subject, outputs_of
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX
from new_algorithm.gallery.contrastive.probe import fit_probe
from new_algorithm.record.files import Row

CKA_ROWS = 1000  # at most: of each layer a matrix rows × rows is kept
TSNE_ROWS = 500  # at most
FILTERS = 24  # shown


def analyse(subject: Subject, settings: Settings) -> Findings:
    train, held_out = subject.parts
    x, y = subject.rows(train, settings.rows, settings.seed)
    x_new, y_new = subject.rows(held_out, settings.rows, settings.seed)
    seen = outputs_of_layers(subject, x, settings.seed)
    new = outputs_of_layers(subject, x_new, settings.seed)
    found = Findings()
    labelled = subject.loss in (SOFTMAX, LOGISTIC) and y.ndim == 1
    rows = _layers(subject, seen)
    if labelled:
        errors = probe_errors(seen, y.numpy(), new, y_new.numpy(), settings.seed)
        for row, error in zip(rows, errors, strict=True):
            row["probe_error"] = error
            row["standard_error"] = math.sqrt(error * (1 - error) / len(y_new))
        found.sentences.append(_probe_sentence(subject, rows, len(x), x_new, y_new))
    else:
        found.sentences.append("Rows have no class each: nothing for a linear probe to name.")
    title = (
        f"Each layer, of at most {MOST_FEATURES} units, on {len(x):,} training rows; probes on "
        f"{len(x_new):,} {held_out} rows"
    )
    found.tables.append(Table("representations", title, rows))
    found.sentences += _rank_sentences(rows, len(x))
    _compare(found, subject, settings, new)
    _project(found, new, y_new.numpy() if labelled else None, held_out, settings.seed)
    filters = first_filters(subject)
    if filters is not None:
        found.arrays["filters"] = filters
    return found


def _layers(subject: Subject, seen: dict[str, NDArray]) -> list[Row]:
    """A row a layer; dead units are those of a ReLU that no row turns on."""
    relus = {name for name, module in places(subject).items() if isinstance(module, nn.ReLU)}
    on = on_share(seen)
    rows: list[Row] = []
    for number, (name, h) in enumerate(seen.items()):
        is_relu = name in relus
        rows.append(
            {
                "layer": number,
                "output_of": name,
                "units": h.shape[1],
                "effective_rank": effective_rank(h),
                "dead_units": int((on[name] == 0).sum()) if is_relu else math.nan,
                "always_on": int((on[name] == 1).sum()) if is_relu else math.nan,
                "on_share": float(on[name].mean()) if is_relu else math.nan,
            }
        )
    return rows


def probe_errors(
    seen: dict[str, NDArray], labels: NDArray, new: dict[str, NDArray], truth: NDArray, seed: int
) -> list[float]:
    """Return for each layer the share of new rows that a linear read-out names wrong: (P) solved on
    the rows seen, λ_w by cross-validation."""
    classes = int(max(labels.max(), truth.max())) + 1
    errors = []
    for name, h in seen.items():
        probe = fit_probe(h, labels, classes, np.random.default_rng(seed))
        errors.append(float((probe.classes(new[name]) != truth).mean()))
    return errors


def _probe_sentence(
    subject: Subject, rows: list[Row], seen: int, x_new: Tensor, y_new: Tensor
) -> str:
    held_out, outputs = subject.parts[1], outputs_of(subject.network, x_new)
    named = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(dim=1)
    own = float((named != y_new).double().mean())
    best = min(rows, key=lambda row: row["probe_error"])
    return (
        f"Of {len(x_new):,} {held_out} rows a linear probe, fitted to {seen:,} training rows, "
        f"names {rows[0]['probe_error']:.3f} wrong from {rows[0]['output_of']}, and least, "
        f"{best['probe_error']:.3f} ± {best['standard_error']:.3f}, from layer {best['layer']}; "
        f"the network itself, which has seen all training rows, {own:.3f}."
    )


def _rank_sentences(rows: list[Row], seen: int) -> list[str]:
    hidden = [row for row in rows if not math.isnan(row["dead_units"])]
    ranks = ", ".join(f"{row['effective_rank']:.1f}" for row in rows)
    told = [
        f"Effective ranks on {seen:,} training rows: {ranks}; "
        f"units: {', '.join(str(row['units']) for row in rows)}."
    ]
    if hidden:
        units = sum(row["units"] for row in hidden)
        dead, always = (sum(row[name] for row in hidden) for name in ("dead_units", "always_on"))
        told.append(
            f"Of {units:,} hidden units {dead} are on for none of {seen:,} training rows, which is "
            f"to be dead, and {always} for all of them."
        )
    return told


def _compare(
    found: Findings, subject: Subject, settings: Settings, new: dict[str, NDArray]
) -> None:
    """CKA between layers, and with those of the other run."""
    own = [h[:CKA_ROWS] for h in new.values()]
    alike = cka(own, own)
    found.arrays["cka"] = alike
    rows = f"{len(own[0]):,} {subject.parts[1]} rows"
    apart = np.unravel_index(np.nanargmin(alike), alike.shape)
    found.sentences.append(
        f"On {rows} CKA between a layer and the next is {np.nanmean(np.diag(alike, 1)):.3f} on "
        f"average; least alike are layers {apart[0]} and {apart[1]}, with {alike[apart]:.3f}."
    )
    other = settings.other
    if other is None:
        return
    x, _ = subject.rows(subject.parts[1], settings.rows, settings.seed)
    if other.data.x_test.shape[1:] != subject.data.x_test.shape[1:]:
        found.sentences.append(f"{other.tag} takes other inputs: its layers are not compared.")
        return
    theirs = outputs_of_layers(other, x, settings.seed)
    across = cka(own, [h[:CKA_ROWS] for h in theirs.values()])
    found.arrays["cka_beside"] = across
    best = np.where(np.isnan(across), -np.inf, across).argmax(axis=1)  # dead layers are like none
    same = f"; the same layers of both: {np.nanmean(np.diag(across)[1:]):.3f} on average"
    found.sentences.append(
        f"Beside {other.tag}, on {rows}: layers are most like its layers "
        f"{', '.join(str(b) for b in best)}{same if len(theirs) == len(own) else ''}."
    )


def _project(
    found: Findings, new: dict[str, NDArray], labels: NDArray | None, held_out: str, seed: int
) -> None:
    """The first two principal components and t-SNE of the layer before the last."""
    from sklearn.manifold import TSNE

    name = list(new)[-2]
    h = new[name][:TSNE_ROWS]
    components, shares = principal_components(h)
    perplexity = min(30.0, (len(h) - 1) / 3)
    near = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(h)
    rows: list[Row] = [
        {
            "class": "" if labels is None else int(labels[i]),
            "component_1": float(components[i, 0]),
            "component_2": float(components[i, 1]),
            "tsne_1": float(near[i, 0]),
            "tsne_2": float(near[i, 1]),
        }
        for i in range(len(h))
    ]
    found.tables.append(Table("projection", f"Outputs of {name}", rows, shown=False))
    found.sentences.append(
        f"Two principal components have {shares.sum():.3f} of the variance of layer {len(new) - 2} "
        f"on {len(h):,} {held_out} rows."
    )


def first_filters(subject: Subject) -> NDArray | None:
    """Return the incoming weights of the FILTERS units of the first layer with the largest norm, as
    pictures (k, height, width), or (k, height, width, 3) in colours. None where rows are no
    pictures, or the first layer does not see their pixels."""
    shape = subject.data.image_shape
    if shape is None:
        return None
    first = next(iter(subject.layers.values()))
    weight: NDArray = next(first.parameters()).detach().double().numpy()
    if isinstance(first, nn.Conv2d):
        shape = weight.shape[1:]  # colours first, fewer of them where they are in groups
        if shape[0] not in (1, 3):
            return None
    elif not isinstance(first, nn.Linear) or weight.shape[1] != math.prod(shape):
        return None
    norms = np.linalg.norm(weight.reshape(len(weight), -1), axis=1)
    return pictures(weight[np.argsort(-norms, kind="stable")[:FILTERS]], shape)


PART = Part(
    "representations",
    "Representations",
    analyse,
    {
        "representations.csv": (figures.draw_layers, (8.0, 3.2)),
        "cka.npy": (figures.draw_cka, (4.6, 4.0)),
        "cka_beside.npy": (figures.draw_cka_beside, (4.6, 4.0)),
        "projection.csv": (figures.draw_projection, (9.0, 4.2)),
        "filters.npy": (figures.draw_filters, (8.0, 3.2)),
    },
    {
        "representations": "A linear probe's error, effective rank and units by layer; 0: inputs.",
        "cka": "How alike the layers of the run are: linear CKA, unbiased.",
        "cka_beside": "How alike the layers of the two runs are: linear CKA, unbiased.",
        "projection": "The layer before the last: its first two principal components, and t-SNE.",
        "filters": "The first layer's weights of largest norm: red above 0 and blue below, or in "
        "the colours of the rows, with grey for 0.",
    },
)
