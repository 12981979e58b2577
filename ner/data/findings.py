"""What build_dataset.py prints of a built set: findings, and the table of counts."""

from ner.data.wording import align_columns, count_noun, excerpt

OVERLAPPING = "only head global_pointer finds them (--nested keep_longest builds a set for every head)"
SHORTER = "--split_lines or empty lines make shorter sentences, batch_tokens in params.json smaller batches"
LONG = 1000  # mean tokens of a sentence, from which the build warns
N_LISTED = 10  # illegal tags, or dropped entities, that are printed; dataset.json lists all


def findings(facts: dict) -> list[str]:
    """What a user should know before training, one finding a line."""
    lines = list(facts["choices"])
    for name, notes in facts["notes"].items():
        lines += [f"{facts['sources'][name]['file']}: {note}" for note in notes]
    for name, illegal in facts["illegal_gold"].items():
        n_illegal = f"{facts['sources'][name]['file']}: {count_noun(len(illegal), 'illegal tag')}"
        lines += [f"{n_illegal}, read leniently (--strict refuses)", *_indent_first(illegal)]
    for name, entities in facts["left_out"].items():
        n_entities = f"{facts['sources'][name]['file']}: {count_noun(len(entities), 'entity', 'entities')}"
        lines += [f"{n_entities} left out, as asked", *_indent_first(entities)]
    for name, split in facts["splits"].items():
        if split["entities"] is None:
            lines.append(f"{name}: not annotated; predict.py tags it, evaluate.py refuses it")
        elif not split["entities"]:
            lines.append(f"{name}: annotated, but without a single entity")
        if name == "train" and (length := split["tokens"] / split["sentences"]) > LONG:
            n_steps = count_noun(-(-split["sentences"] // 32), "step")
            lines.append(
                f"{name}: {length:,.0f} tokens a sentence, as if whole documents; a batch of 32 then holds "
                f"{32 * length:,.0f}, takes memory in proportion, and an epoch has {n_steps}; {SHORTER}"
            )
        if n := split["overlapping"]:
            n_entities = count_noun(sum(split["entities"].values()), "entity", "entities")
            lines.append(f"{name}: {n:,} of its {n_entities} overlap others; {OVERLAPPING}")
    for name, missing in facts["labels_missing_in_train"].items():
        for label, n in missing.items():
            lines.append(
                f"{name}: label {excerpt(label)} is not in train; {n:,} of its entities count as missed gold"
            )
    return lines


def _indent_first(items: list[str]) -> list[str]:
    """The first items as indented lines, and the number of the others."""
    lines = [f"  {item}" for item in items[:N_LISTED]]
    if len(items) > N_LISTED:
        lines.append(f"  and {len(items) - N_LISTED:,} more, listed in dataset.json")
    return lines


def count_table(facts: dict) -> str:
    """The counts of `dataset.json` as text, one column a split."""
    names, splits = list(facts["splits"]), list(facts["splits"].values())
    entities = [split["entities"] for split in splits]
    rows = [[key, *(split[key] for split in splits)] for key in ("sentences", "tokens")]
    rows.append(["entities", *(None if found is None else sum(found.values()) for found in entities)])
    for label in sorted({label for found in entities for label in found or ()}):
        rows.append(
            [f"  {excerpt(label)}", *(None if found is None else found.get(label, 0) for found in entities)]
        )
    for key in ("overlapping", "without_entity"):
        rows.append([key.replace("_", " "), *(split[key] for split in splits)])
    for key in ("p50", "p95", "max"):
        rows.append([f"length {key}", *(split["length"][key] for split in splits)])
    rows.append(["duplicate texts", *(split["duplicate_texts"] for split in splits)])
    for other in names[:-1]:
        shared = (facts["shared_texts"].get(f"{other} & {name}") for name in names)
        rows.append([f"texts shared with {other}", *shared])
    rows.append(["illegal gold", *(split["illegal_gold"] for split in splits)])
    cells = [[name, *("-" if n is None else f"{n:,}" for n in counts)] for name, *counts in rows]
    return align_columns([["", *names], *cells])
