"""The demo: distils, exports and learns on a device process, on real MNIST digits, and prints one table."""
