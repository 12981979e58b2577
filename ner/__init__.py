"""Named entity recognition by fine-tuning BERT, in plain PyTorch.

Data flows in one direction:

    raw file -> Document -> Sentence(tokens, gold) -> Examples(pieces) -> Batch -> Hidden -> scores
             -> loss, or answers by annotation -> Scores -> report
"""
