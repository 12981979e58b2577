"""The likeliest pieces for each `[MASK]` of a sentence."""

from collections.abc import Iterable, Iterator

import torch

from ner.data.tokenizer import MASK
from ner.data.words import split_words
from ner.errors import DataError
from ner.pretraining.masking import piece_kinds
from ner.pretraining.mlm import Pretrained

N_BEST = 5


@torch.inference_mode()
def fill_mask(model: Pretrained, text: str) -> list[list[tuple[str, float]]]:
    """For each `[MASK]`, the five likeliest pieces that are not special, with their probabilities.

    DataError if the text is too long for the encoder, or the vocabulary has no [MASK].
    """
    tokenizer, device = model.tokenizer, model.lm.predictions.bias.device
    try:
        kinds = piece_kinds(tokenizer)
    except ValueError as error:
        raise DataError(str(error)) from None
    ids = [tokenizer.cls_id]
    for i, part in enumerate(text.split(MASK)):
        ids += [kinds.mask_id] if i else []
        for token in split_words(part, model.unit):
            ids += tokenizer.pieces(part[token.start : token.end])
    ids.append(tokenizer.sep_id)
    limit = model.lm.encoder.config.max_position_embeddings
    if len(ids) > limit:
        raise DataError(
            f"{text[:20]!r}...: got {len(ids)} pieces, expected at most {limit} with two special ones"
        )
    piece_ids = torch.tensor([ids], device=device)
    places = (piece_ids[0] == kinds.mask_id).nonzero().flatten()
    scores = model.lm.scores(piece_ids, torch.ones_like(piece_ids, dtype=torch.bool), places).float()
    probabilities = scores.softmax(-1)[:, : len(tokenizer)]  # there may be more embeddings than pieces
    best = probabilities.masked_fill(kinds.special.to(device), -1.0).topk(min(N_BEST, len(kinds.ordinary)))
    return [
        [(tokenizer.vocabulary[i], p) for p, i in zip(row, numbers, strict=True)]
        for row, numbers in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def fill_texts(model: Pretrained, texts: Iterable[str]) -> Iterator[dict]:
    """Yields a JSON object for each text: the text, and each mask's likeliest pieces with their scores."""
    for text in texts:
        masks = [
            [{"piece": piece, "score": float(f"{score:.6g}")} for piece, score in best]
            for best in fill_mask(model, text)
        ]
        yield {"text": text, "masks": masks}
