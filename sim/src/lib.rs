//! The simulator of pgconvoy.
