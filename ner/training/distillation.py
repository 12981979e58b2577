"""Distillation: a fine-tuned teacher's probabilities of every tag, as targets beside gold.

Hinton, Vinyals and Dean 2015.  The teacher's probabilities are computed once, into a flat file of float16.
They reach the student by token and by the name of the tag: the two may differ in encoder, vocabulary, window
and head.  A CRF teacher gives token marginals, and its Viterbi path, which does not follow from them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.windows import Examples, Windows, encode
from ner.data.words import split_words
from ner.files import whole_file
from ner.inference.predict import predict
from ner.model.directory import config_of
from ner.model.tagger import Model
from ner.runtime.devices import choose_batch_tokens
from ner.runtime.logs import log
from ner.tags import NON_TAGS, TagSet
from ner.tensors import sha256_of_tensors


@dataclass(frozen=True)
class SoftLabels:
    """A teacher's answers for the student's examples.

    examples     annotated ones, then raw texts annotated by the teacher
    soft         (tokens of all examples, K) float16, probabilities of the student's tags
    fingerprint  changes with everything that the answers depend on
    """

    teacher: Model
    examples: Examples
    soft: np.ndarray
    fingerprint: str


def prepare(
    teacher: Model,
    student: Model,
    examples: Examples,
    texts: Iterable[str],
    *,
    directory: Path,
    temperature: float = 1.0,
) -> SoftLabels:
    """Asks the teacher about annotated examples and about raw texts, which become examples by its answer.

    Texts without a token are left out.  The answers are kept in a file in `directory`, and used again if
    nothing that they depend on has changed.
    """
    tag_set, unlabelled = student.tag_set, []
    for text in texts:
        if tokens := split_words(text, student.unit, student.words):
            unlabelled.append(Sentence(tuple(text[t.start : t.end] for t in tokens)))
    sentences = [*examples.sentences, *unlabelled]
    key = fingerprint(teacher, sentences, tag_set.tags, temperature)
    path = directory / f"soft_labels-{key}.npy"
    answers = compute_soft_labels(path, teacher, sentences, tag_set, temperature)
    if unlabelled:
        ends = np.cumsum([len(sentence.tokens) for sentence in unlabelled])
        rows = np.split(answers["best"][examples.token_ends[-1] :], ends[:-1])
        annotated = [
            Sentence.with_spans(sentence.tokens, tag_set.spans(row.tolist()))
            for sentence, row in zip(unlabelled, rows, strict=True)
        ]
        examples = encode([*examples.sentences, *annotated], student.tokenizer)
    log.info(f"learns from a teacher by {path}; {len(unlabelled)} of the sentences have only its labels")
    return SoftLabels(teacher, examples, answers["soft"], key)


def check_pair(teacher: Model, student: Model) -> None:
    """ValueError if teacher and student cannot be compared tag by tag."""
    for name, head in (("teacher", teacher.tagger.head), ("student", student.tagger.head)):
        if not head.scores_tags:
            raise ValueError(f"the {name} has a {type(head).__name__}, expected head softmax or crf")
    columns(teacher.tag_set, student.tag_set)


def columns(teacher: TagSet, student: TagSet) -> list[int]:
    """The teacher's number of each tag of the student; ValueError names a tag that one of them lacks."""
    theirs = {tag: i for i, tag in enumerate(teacher.tags) if tag not in NON_TAGS}
    ours = dict.fromkeys(student.tags)
    for name, own, others in (("teacher", theirs, ours), ("student", ours, theirs)):
        if lacking := [tag for tag in others if tag not in own]:
            raise ValueError(
                f"the {name} has no tag {lacking[0]}, expected the same tags of both: "
                f"{', '.join(theirs)} ({teacher.scheme}) and {', '.join(ours)} ({student.scheme})"
            )
    return [theirs[tag] for tag in student.tags]


def fingerprint(
    teacher: Model, sentences: Sequence[Sentence], tags: Sequence[str], temperature: float
) -> str:
    """32 hexadecimal digits of everything that soft labels depend on."""
    weights = sha256_of_tensors(teacher.tagger.state_dict())
    facts = (config_of(teacher), teacher.tokenizer.sha256, teacher.tagger.precision, list(tags), temperature)
    digest = hashlib.sha256(repr((weights, *facts)).encode())
    for sentence in sentences:
        digest.update("\t".join(sentence.tokens).encode() + b"\n")
    return digest.hexdigest()[:32]


def compute_soft_labels(
    path: Path, teacher: Model, sentences: Sequence[Sentence], tag_set: TagSet, temperature: float = 1.0
) -> np.ndarray:
    """The teacher's answers for every token, all sentences end to end, memory-mapped from the .npy at `path`.

    soft  (K,) float16, probabilities of the tags of `tag_set`; they sum to 1
    best  int16, number of the tag in the teacher's best legal tag sequence, which ignores the temperature

    Computed if no whole file of this shape is there.
    """
    shape = (sum(len(sentence.tokens) for sentence in sentences),)
    kind = np.dtype([("soft", np.float16, (len(tag_set),)), ("best", np.int16)])
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if (found.shape, found.dtype) == (shape, kind):
            return found
    except (FileNotFoundError, ValueError, EOFError):
        pass
    labels = np.empty(shape, kind)
    _fill(labels, teacher, sentences, tag_set, temperature)
    with whole_file(path, binary=True) as file:
        np.save(file, labels)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _fill(labels, teacher: Model, sentences, tag_set: TagSet, temperature: float) -> None:
    examples, order = encode(sentences, teacher.tokenizer), columns(teacher.tag_set, tag_set)
    tagger, ends = teacher.tagger, examples.token_ends

    def keep(indices, batch, scores, losses, answers) -> None:
        soft = tagger.head.probabilities(scores, batch, temperature=temperature)[..., order]
        soft = (soft / soft.sum(-1, keepdim=True)).half().cpu().numpy()
        for i, row, answer in zip(indices, soft, answers, strict=True):
            own = labels[ends[i] : ends[i + 1]]
            own["soft"] = row[: len(own)]
            own["best"] = tag_set.tag_ids([span.span for span in answer["spans"]], len(own))

    budget = choose_batch_tokens(None, tagger.device)
    batches = Batches(examples, windows=Windows(teacher.max_len), batch_tokens=budget)
    predict(tagger, batches, device=tagger.device, on_batch=keep)
