"""Peers: one small script each, as a user of that system would write it, run in that system's own environment.

The scripts know nothing of this package; what they share lies in `harness.py`, which needs only the standard library.
Each pushes a whole fp32 gradient of ones and takes whole parameters back, and proves at the end of every round that
the parameters have grown by one for each update that was counted.
"""
