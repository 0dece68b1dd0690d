"""Helpers of the open course "Attention in CNNs": one small module an idea, lower floors never import upper ones.

``digits`` and ``data`` make the images, ``layers`` and ``models`` attend to them, ``metrics`` scores the maps,
``training`` fits and evaluates, ``plots`` and ``widgets`` show. Importing the package does nothing else.
"""
