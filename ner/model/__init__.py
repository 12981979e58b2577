"""The tagger and its directory."""
