//! Proper scores, calibration and selective-prediction measures on plain slices.
