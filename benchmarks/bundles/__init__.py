"""What trains on the device, what does each choice cost, and how large is a bundle?"""
