"""Masked language modelling: from plain text to a model directory.

    text files -> flat pieces on disk -> rows -> masked batches -> loss -> a model directory

- `plaintext`: tokenises lines of text once, into one flat array of pieces.
- `rows`: held-out lines; rows, packed or one for each line; batches as a pure function of (seed, epoch).
- `masking`: which pieces are hidden, as a pure function of a random generator.
- `mlm`: the encoder with BERT's prediction head, its model directory, and its guesses for `[MASK]`.
- `params`: the options of a run; `task`: the steps, evaluations and checkpoints of a run.
- `pretrain`: builds a run and carries it out.
"""
