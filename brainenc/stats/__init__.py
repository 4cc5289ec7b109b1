"""Numbers about predictions and data: pure functions of arrays, samples first, targets last.

Laws kept by every function of this room:

* a score that is undefined is NaN, never 0, and no score is clipped;
* scores over several test folds are computed within a fold and then averaged, never pooled;
* work runs over chunks of targets, so memory stays bounded whether values are an array or an HDF5 dataset;
* sums run in float64 where it matters, and chance comes from a passed seed.
"""
