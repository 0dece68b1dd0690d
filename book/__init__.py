"""The Jupyter Book: its pages, and the programs that build, print and rehearse it."""
