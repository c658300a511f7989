"""Which networks train on the device, how much does each choice cost, and how large is a bundle?"""
