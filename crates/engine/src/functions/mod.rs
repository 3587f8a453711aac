//! Functions that stand in for DataFusion's own: most must mean the same in every run, two are quicker.

pub(crate) mod aggregates;
pub(crate) mod canonical;
mod dyadic;
mod exact_sum;
pub(crate) mod floats;
pub(crate) mod in_order;
pub(crate) mod math;
pub(crate) mod moments;
pub(crate) mod now;
pub(crate) mod random;
pub(crate) mod reviewed;
pub(crate) mod session;
pub(crate) mod split;
pub(crate) mod terms;
pub(crate) mod to_char;

#[cfg(test)]
pub(crate) mod planted;
#[cfg(test)]
mod test_queries;
