//! Values of at most 64 bits as unsigned integers in the same order.

use arrow::array::ArrayRef;
use arrow::buffer::{MutableBuffer, NullBuffer};
use arrow::datatypes::DataType;
use syncline_change::Result;

use crate::state::{image, of_image};

/// How values of a type become integers, and back.
#[derive(Clone, Debug)]
pub(super) struct OrderedBits {
    data_type: DataType,
    width: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Unsigned,
    Signed,
    /// In the total order, which has -0 before 0 and NaN last.
    Float,
}

impl OrderedBits {
    /// `None`: values of the type are larger, or not of one width.
    pub(super) fn new(data_type: &DataType) -> Option<Self> {
        let width = data_type.primitive_width().filter(|&width| width <= size_of::<u64>())?;
        let kind = match data_type {
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Kind::Unsigned
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Kind::Float,
            // The parts of an interval have an order each, and it has none as a whole.
            DataType::Interval(_) => return None,
            _ => Kind::Signed,
        };
        Some(Self { data_type: data_type.clone(), width, kind })
    }

    /// The values of `rows` of an array; what NULL gives is of no meaning.
    pub(super) fn of_rows(&self, array: &ArrayRef, rows: &[u32]) -> Result<Vec<u64>> {
        let values = image(array, self.width)?;
        let bits = |row: u32| {
            let mut bits = [0; 8];
            let start = row as usize * self.width;
            bits[..self.width].copy_from_slice(&values.as_slice()[start..start + self.width]);
            self.ordered(u64::from_le_bytes(bits))
        };
        Ok(rows.iter().map(|&row| bits(row)).collect())
    }

    /// The array of values.
    pub(super) fn array(&self, values: impl Iterator<Item = Option<u64>>) -> Result<ArrayRef> {
        let (mut bytes, mut is_valid) = (MutableBuffer::new(0), Vec::new());
        for value in values {
            let bits = self.plain(value.unwrap_or_default()).to_le_bytes();
            bytes.extend_from_slice(if value.is_some() {
                &bits[..self.width]
            } else {
                &[0; 8][..self.width]
            });
            is_valid.push(value.is_some());
        }
        let nulls = is_valid.contains(&false).then(|| NullBuffer::from(is_valid));
        of_image(&self.data_type, bytes.into(), nulls)
    }

    fn sign(&self) -> u64 {
        1 << (8 * self.width - 1)
    }

    fn ordered(&self, bits: u64) -> u64 {
        match self.kind {
            Kind::Unsigned => bits,
            Kind::Signed => bits ^ self.sign(),
            Kind::Float if bits & self.sign() == 0 => bits | self.sign(),
            Kind::Float => !bits & (self.sign() | (self.sign() - 1)),
        }
    }

    fn plain(&self, ordered: u64) -> u64 {
        match self.kind {
            Kind::Unsigned => ordered,
            Kind::Signed => ordered ^ self.sign(),
            Kind::Float if ordered & self.sign() != 0 => ordered ^ self.sign(),
            Kind::Float => !ordered & (self.sign() | (self.sign() - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{
        Array, Date32Array, Float32Array, Float64Array, Int16Array, Int64Array, UInt64Array,
    };
    use arrow::row::{RowConverter, SortField};

    use super::*;

    #[test]
    fn the_order_is_that_of_encoded_rows() {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![0, -1, i64::MIN, i64::MAX, 5, -7])),
            Arc::new(Int16Array::from(vec![0, -1, i16::MIN, i16::MAX, 5])),
            Arc::new(UInt64Array::from(vec![0, u64::MAX, 1 << 63, 7])),
            Arc::new(Date32Array::from(vec![0, -1, i32::MIN, i32::MAX])),
            Arc::new(Float32Array::from(vec![0.0, -1.5, f32::INFINITY, f32::NAN, -0.0, 1e-40])),
            Arc::new(Float64Array::from(vec![
                0.0,
                -0.0,
                -1.5,
                2.5,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                5e-324,
                f64::MIN,
            ])),
        ];
        for array in arrays {
            let of = OrderedBits::new(array.data_type()).unwrap();
            let slice = array.slice(1, array.len() - 1);
            let rows: Vec<u32> = (0..slice.len() as u32).collect();
            let values = of.of_rows(&slice, &rows).unwrap();
            let converter =
                RowConverter::new(vec![SortField::new(array.data_type().clone())]).unwrap();
            let encoded = converter.convert_columns(std::slice::from_ref(&slice)).unwrap();
            for a in 0..slice.len() {
                for b in 0..slice.len() {
                    let expect = encoded.row(a).cmp(&encoded.row(b));
                    assert_eq!(values[a].cmp(&values[b]), expect, "{a} and {b} of {slice:?}");
                }
            }
            let back = of.array(values.into_iter().map(Some)).unwrap();
            assert_eq!(format!("{back:?}"), format!("{slice:?}"));
            assert!(of.array([None].into_iter()).unwrap().is_null(0));
        }
    }
}
