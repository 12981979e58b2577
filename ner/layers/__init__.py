"""Layers that several encoders and heads share."""
