"""A GPU that is made up: memory, streams and errors by the book, pixels by Pillow.

It cannot say how fast anything is. It notes every use that the documentation of CUDA, nvImageCodec
and DALI forbids in `FakeDevice.violations`, where the real ones crash, hang or mix pixels.
"""
