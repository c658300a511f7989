"""What does a new owner gain by learning on the device, and what do the others lose?"""
