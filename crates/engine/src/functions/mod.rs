//! Functions that must mean the same in every run: they stand in for DataFusion's own.

pub(crate) mod aggregates;
pub(crate) mod exact_sum;
pub(crate) mod now;
pub(crate) mod session;
