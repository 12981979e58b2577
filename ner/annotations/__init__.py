"""Kinds of gold."""
