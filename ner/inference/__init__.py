"""Predictions for raw text."""
