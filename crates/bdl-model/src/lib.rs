//! From a table of data to a trained Bayesian network and back: readers, schema, scaling, one model file.
