"""One owner's mentee: it answers, stores samples, learns as a transaction that the guard decides, and can go back.

opened      the folder, the bundle and what goes by them
answering   answers, with learning and without it
classes     names of classes, the owner's among them
learning    samples, runs, the way back
labelling   labels where there are none
relocating  another base, another device
owner       all of these in one
"""

from mentee_device.owner.owner import Owner as Owner
