"""Which batch sizes the searches may try."""

from new_algorithm.methods.search_space import Choice

TO_256 = Choice((32, 64, 128, 256))
TO_512 = Choice((32, 64, 128, 256, 512))  # of SGD and Adam, which were at the edge with 256
# where a step costs several times one of Adam's, small batches would not get through one epoch
FROM_128 = Choice((128, 256, 512))
