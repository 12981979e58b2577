"""Masked language modelling: plain text in, a model directory out.

    text files -> flat pieces on disk -> rows -> masked batches -> loss -> a model directory

- `plaintext`: lines of text to one flat array of pieces, tokenised once.
- `rows`: which lines are held out; rows packed or line by line; batches as a pure function of
  (seed, epoch).
- `masking`: which pieces are hidden, as a pure function of a generator.
- `mlm`: the encoder with BERT's prediction head; its model directory.
- `params`: what is trained; `loop`: the loop over steps.
- `fill_mask`: the likeliest pieces for each `[MASK]` of a sentence.
"""
