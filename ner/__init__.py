"""Named entity recognition by fine-tuning BERT, in plain PyTorch.

One direction, one noun at each station:

    raw file -> Sentence.with_spans(tokens, spans) -> Examples(pieces) -> Batch -> hidden -> scores
             -> loss, or a list of ScoredSpan a sentence -> Scores -> report
"""
