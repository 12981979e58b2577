"""Labels that are illegal under the scheme, or disagree with one another."""

from collections import Counter, defaultdict

from ner.data.audit.corpus import Corpus, Finding


def illegal_tags(corpus: Corpus) -> list[Finding]:
    """Tags that must not follow the tag before them, or must not end the sentence."""
    return [Finding(tag, [place], {"tag": tag}) for place, tag in corpus.illegal]


def labels_in_one_split(corpus: Corpus) -> list[Finding]:
    """Labels that occur in only one of several annotated splits."""
    places: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in corpus.annotated:
        for place, sentence in zip(corpus.places[name], corpus.splits[name], strict=True):
            for span in sentence.spans:
                places[span.label][name].append(place)
    if len(corpus.annotated) < 2:
        return []
    found = []
    for label, by_split in sorted(places.items()):
        if len(by_split) == 1:
            [(name, all_places)] = by_split.items()
            what = f"{label}: {len(all_places):,} in {name}, none elsewhere"
            values = {"label": label, "split": name, "entities": len(all_places)}
            found.append(Finding(what, list(dict.fromkeys(all_places)), values))
    return found


def conflicting_texts(corpus: Corpus) -> list[Finding]:
    """Texts with the same tokens that occur several times with different entities."""
    n_times = Counter(sentence.tokens for _, sentence in corpus.with_places() if sentence.spans is not None)
    readings: dict[tuple[str, ...], dict[tuple, list[str]]] = defaultdict(lambda: defaultdict(list))
    for place, sentence in corpus.with_places():
        if n_times[sentence.tokens] > 1 and sentence.spans is not None:
            readings[sentence.tokens][tuple(sorted(sentence.spans))].append(place)
    found = []
    for tokens, by_spans in readings.items():
        if len(by_spans) > 1:
            entities = [
                {
                    "places": places,
                    "entities": [[*span, corpus.gap.join(tokens[span[0] : span[1]])] for span in s],
                }
                for s, places in by_spans.items()
            ]
            what = f"{len(by_spans)} readings of {corpus.text(tokens)}"
            places = [place for places in by_spans.values() for place in places]
            found.append(Finding(what, places, {"readings": entities}))
    return found


def ambiguous_surfaces(corpus: Corpus) -> list[Finding]:
    """Entities with the same surface and several labels, sorted by the share of the rarer labels.

    The rarer labels are all but the most frequent one; the places are their occurrences.
    """
    places: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for place, sentence, (start, end, label) in corpus.entities():
        places[sentence.tokens[start:end]][label].append(place)
    found = []
    for tokens, by_label in places.items():
        if len(by_label) > 1:
            ranked = sorted(by_label.items(), key=lambda item: (-len(item[1]), item[0]))
            counts = {label: len(label_places) for label, label_places in ranked}
            rarer = [place for _, label_places in ranked[1:] for place in label_places]
            what = f"{corpus.text(tokens)}: {', '.join(f'{label} {n:,}' for label, n in counts.items())}"
            values = {"surface": corpus.gap.join(tokens), "labels": counts}
            found.append(Finding(what, list(dict.fromkeys(rarer)), values))
    return sorted(found, key=_share_of_rarer)


def _share_of_rarer(finding: Finding) -> float:
    counts = finding.values["labels"].values()
    return 1 - max(counts) / sum(counts)
