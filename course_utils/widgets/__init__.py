"""Widgets: small interactive pages, each a Python class and an ES module of the same name.

A widget computes what it shows from its traits, in JavaScript, and never calls Python. The same
widget therefore runs in Jupyter, in Colab, in VS Code, and in the static book, where there is no
kernel.

Each widget has a file named after its class; `quiz` and `reveal` are the ones that every chapter
uses. `packing` turns tensors into the bytes that a page reads.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
