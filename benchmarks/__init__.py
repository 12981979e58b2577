"""This code and its rivals on the user's own machine, side by side; see the README under Speed."""
