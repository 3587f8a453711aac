//! Functions that stand in for DataFusion's own: most must mean the same in every run, two are quicker.

/// What a function that stands in for DataFusion's own, which it has as `plain`, has of that.
macro_rules! as_plain {
    () => {
        fn name(&self) -> &str {
            self.plain.name()
        }

        fn aliases(&self) -> &[String] {
            self.plain.aliases()
        }

        fn signature(&self) -> &datafusion::logical_expr::Signature {
            self.plain.signature()
        }

        fn return_type(
            &self,
            arguments: &[arrow::datatypes::DataType],
        ) -> datafusion::common::Result<arrow::datatypes::DataType> {
            self.plain.return_type(arguments)
        }
    };
}

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
