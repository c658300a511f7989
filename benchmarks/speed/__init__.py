"""How fast is it: a step on the server and on the device, a start, a long run?"""
