"""Tools that the book and the lecture share."""
