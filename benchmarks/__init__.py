"""Measures anew every figure that the documentation states: a package a question, a module a table."""
