"""Asking the mentor's service about samples that the owner chose: they leave the device. Off unless it is called; docs/serve.md.

wire        the bodies of a request and of its answer
service     one address over TLS, with a token
spare       answers over classes that the mentor does not know
conditions  whether a charger is there
asking      the queue, what is sent when, and what becomes of the answers
"""
