"""The torch side: the mentee as it will be on the device, before any graph is made of it."""
