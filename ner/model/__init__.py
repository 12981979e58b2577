"""The tagger, how it is built, and how a model directory is opened and saved."""
