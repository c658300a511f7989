"""Does an owner's folder survive kills and power cuts, and the device program a bundle from anybody?"""
