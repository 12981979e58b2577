"""Layers that several encoders and heads share: attention, dropout, BiLSTM."""
