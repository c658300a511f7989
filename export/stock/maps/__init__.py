"""Convolutions over small maps as matrix products: all windows at once, or depthwise by matrices made of the kernel."""
