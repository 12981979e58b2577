"""Masked language modelling: text files -> flat pieces on disk (`plaintext`) -> rows and batches (`rows`)
-> hidden pieces (`masking`) -> loss (`mlm`) -> steps (`task`) -> a model directory (`pretrain`).
"""
