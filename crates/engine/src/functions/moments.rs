//! Variance, covariance, correlation and regression from exact moments.
//!
//! Running formulas (Welford's) round at every row, so that their result depends on the order of
//! rows, and taking a row away leaves something behind. Here the sums of values and of products are
//! exact, and so is `n Σxy - Σx Σy`; a result is rounded only when that is divided.

use super::canonical::canonical;
use super::dyadic::{Dyadic, Rounded};
use super::terms::Terms;
use crate::operators::heap_bytes;

/// What is computed. Of two arguments, the first is `y` and the second is `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Statistic {
    VarSamp,
    VarPop,
    StddevSamp,
    StddevPop,
    CovarSamp,
    CovarPop,
    Corr,
    RegrSlope,
    RegrIntercept,
    RegrR2,
    RegrAvgX,
    RegrAvgY,
    RegrSxx,
    RegrSyy,
    RegrSxy,
}

impl Statistic {
    /// By the name of DataFusion's function.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "var" => Self::VarSamp,
            "var_pop" => Self::VarPop,
            "stddev" => Self::StddevSamp,
            "stddev_pop" => Self::StddevPop,
            "covar_samp" => Self::CovarSamp,
            "covar_pop" => Self::CovarPop,
            "corr" => Self::Corr,
            "regr_slope" => Self::RegrSlope,
            "regr_intercept" => Self::RegrIntercept,
            "regr_r2" => Self::RegrR2,
            "regr_avgx" => Self::RegrAvgX,
            "regr_avgy" => Self::RegrAvgY,
            "regr_sxx" => Self::RegrSxx,
            "regr_syy" => Self::RegrSyy,
            "regr_sxy" => Self::RegrSxy,
            _ => return None,
        })
    }

    /// Whether it is of pairs.
    pub(crate) fn is_of_pairs(self) -> bool {
        !matches!(self, Self::VarSamp | Self::VarPop | Self::StddevSamp | Self::StddevPop)
    }
}

/// How many rows there are, and the sums of their values and products.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    count: i64,
    /// Of the only value, or of the second one of a pair.
    x: Terms,
    xx: Terms,
    /// Only if rows are pairs.
    pair: Option<Box<Pair>>,
}

#[derive(Clone, Debug, Default)]
struct Pair {
    y: Terms,
    yy: Terms,
    xy: Terms,
}

impl Moments {
    pub(crate) fn add(&mut self, x: f64, weight: i64) {
        self.count += weight;
        self.x.add(x, weight);
        if x.is_finite() {
            self.xx.add_product(x, x, weight);
        }
    }

    pub(crate) fn add_pair(&mut self, y: f64, x: f64, weight: i64) {
        self.add(x, weight);
        let pair = self.pair.get_or_insert_default();
        pair.y.add(y, weight);
        if y.is_finite() {
            pair.yy.add_product(y, y, weight);
        }
        if x.is_finite() && y.is_finite() {
            pair.xy.add_product(x, y, weight);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.x.merge(&other.x);
        self.xx.merge(&other.xx);
        if let Some(other) = &other.pair {
            let pair = self.pair.get_or_insert_default();
            pair.y.merge(&other.y);
            pair.yy.merge(&other.yy);
            pair.xy.merge(&other.xy);
        }
    }

    /// The statistic of the rows; `None` is NULL. With a NaN or an infinity among the values that
    /// it is of, it is NaN (an average excepted, which may be infinite).
    pub(crate) fn result(&self, statistic: Statistic) -> Option<f64> {
        self.rounded(statistic).map(canonical)
    }

    fn rounded(&self, statistic: Statistic) -> Option<f64> {
        use Statistic as S;
        let none = Pair::default();
        let pair = self.pair.as_deref().unwrap_or(&none);
        let n = self.count;
        let is_finite = match statistic {
            S::RegrAvgX | S::RegrAvgY => true,
            S::RegrSyy => pair.y.is_finite(),
            S::RegrSxx => self.x.is_finite(),
            _ => self.x.is_finite() && pair.y.is_finite(),
        };
        let least = match statistic {
            S::VarSamp | S::StddevSamp | S::CovarSamp => 2,
            S::Corr | S::RegrSlope | S::RegrIntercept | S::RegrR2 => 2,
            _ => 1,
        };
        if n < least {
            return None;
        }
        if !is_finite {
            return Some(f64::NAN);
        }
        let over =
            |number: Dyadic, divisor: i128| number.rounded().over(Dyadic::from(divisor).rounded());
        let (all, sample) = (i128::from(n) * i128::from(n), i128::from(n) * i128::from(n - 1));
        Some(match statistic {
            S::VarPop => over(self.xx(), all).value(),
            S::VarSamp => over(self.xx(), sample).value(),
            S::StddevPop => over(self.xx(), all).root().value(),
            S::StddevSamp => over(self.xx(), sample).root().value(),
            S::CovarPop => over(self.xy(pair), all).value(),
            S::CovarSamp => over(self.xy(pair), sample).value(),
            S::RegrSxx => over(self.xx(), n.into()).value(),
            S::RegrSyy => over(self.yy(pair), n.into()).value(),
            S::RegrSxy => over(self.xy(pair), n.into()).value(),
            S::RegrAvgX => self.x.value() / n as f64,
            S::RegrAvgY => pair.y.value() / n as f64,
            S::Corr => {
                let xy = self.xy(pair).rounded();
                self.r2(pair)?.root().with_sign_of(xy).value()
            }
            S::RegrR2 => self.r2(pair)?.value(),
            S::RegrSlope => {
                let xx = self.xx();
                (!xx.is_zero()).then(|| self.xy(pair).rounded().over(xx.rounded()))?.value()
            }
            S::RegrIntercept => self.intercept(pair)?.value(),
        })
    }

    /// `n Σxx - (Σx)²`: the variance times n².
    fn xx(&self) -> Dyadic {
        self.spread(&self.xx, &self.x, &self.x)
    }

    fn yy(&self, pair: &Pair) -> Dyadic {
        self.spread(&pair.yy, &pair.y, &pair.y)
    }

    fn xy(&self, pair: &Pair) -> Dyadic {
        self.spread(&pair.xy, &self.x, &pair.y)
    }

    fn spread(&self, products: &Terms, a: &Terms, b: &Terms) -> Dyadic {
        let n = Dyadic::from(i128::from(self.count));
        n.times(&products.product_dyadic()).minus(&a.dyadic().times(&b.dyadic()))
    }

    /// The square of the correlation, if neither value is constant. Both squares are exact before
    /// they are rounded, so it is never above 1, and exactly 1 of points on a line.
    fn r2(&self, pair: &Pair) -> Option<Rounded> {
        let (xx, yy, xy) = (self.xx(), self.yy(pair), self.xy(pair));
        let squares = xx.times(&yy);
        (!squares.is_zero()).then(|| xy.times(&xy).rounded().over(squares.rounded()))
    }

    /// Where the regression line meets x = 0, if it does once.
    fn intercept(&self, pair: &Pair) -> Option<Rounded> {
        let (xx, xy) = (self.xx(), self.xy(pair));
        let above = pair.y.dyadic().times(&xx).minus(&self.x.dyadic().times(&xy));
        let below = Dyadic::from(i128::from(self.count)).times(&xx);
        (!below.is_zero()).then(|| above.rounded().over(below.rounded()))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.count.to_le_bytes().to_vec();
        self.x.write(&mut bytes);
        self.xx.write(&mut bytes);
        if let Some(pair) = &self.pair {
            for terms in [&pair.y, &pair.yy, &pair.xy] {
                terms.write(&mut bytes);
            }
        }
        bytes
    }

    /// What [`Self::to_bytes`] wrote; `None` if it is not that.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let count = i64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?);
        let (x, xx) = (Terms::read(bytes)?, Terms::read(bytes)?);
        let pair = match bytes.is_empty() {
            true => None,
            false => Some(Box::new(Pair {
                y: Terms::read(bytes)?,
                yy: Terms::read(bytes)?,
                xy: Terms::read(bytes)?,
            })),
        };
        Some(Self { count, x, xx, pair })
    }

    /// Bytes of memory beyond the value itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        let pair = self.pair.as_deref().map_or(0, |pair| {
            heap_bytes(size_of::<Pair>())
                + pair.y.heap_bytes()
                + pair.yy.heap_bytes()
                + pair.xy.heap_bytes()
        });
        self.x.heap_bytes() + self.xx.heap_bytes() + pair
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const ALL: [Statistic; 15] = [
        Statistic::VarSamp,
        Statistic::VarPop,
        Statistic::StddevSamp,
        Statistic::StddevPop,
        Statistic::CovarSamp,
        Statistic::CovarPop,
        Statistic::Corr,
        Statistic::RegrSlope,
        Statistic::RegrIntercept,
        Statistic::RegrR2,
        Statistic::RegrAvgX,
        Statistic::RegrAvgY,
        Statistic::RegrSxx,
        Statistic::RegrSyy,
        Statistic::RegrSxy,
    ];

    fn of(pairs: &[(f64, f64)]) -> Moments {
        let mut moments = Moments::default();
        pairs.iter().for_each(|&(y, x)| moments.add_pair(y, x, 1));
        moments
    }

    fn bits(moments: &Moments) -> Vec<Option<u64>> {
        ALL.iter().map(|&statistic| moments.result(statistic).map(f64::to_bits)).collect()
    }

    #[test]
    fn points_on_a_line() {
        let moments = of(&[(1.3, 0.1), (1.6, 0.2), (1.9, 0.30000000000000004), (-1.7, -0.9)]);
        let exact = of(&[(7.0, 2.0), (9.0, 3.0), (15.0, 6.0)]);
        let result = |statistic| exact.result(statistic).unwrap();
        assert_eq!(result(Statistic::Corr), 1.0);
        assert_eq!(result(Statistic::RegrR2), 1.0);
        assert_eq!(result(Statistic::RegrSlope), 2.0);
        assert_eq!(result(Statistic::RegrIntercept), 3.0);
        assert!(moments.result(Statistic::Corr).unwrap() <= 1.0);
        let falling = of(&[(-2.0, 2.0), (-3.0, 3.0)]);
        assert_eq!(falling.result(Statistic::Corr), Some(-1.0));
    }

    #[test]
    fn what_running_formulas_lose() {
        let mut moments = Moments::default();
        for x in [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0] {
            moments.add(x, 1);
        }
        assert_eq!(moments.result(Statistic::VarSamp), Some(30.0));
        let mut large = Moments::default();
        [1e300, -1e300].into_iter().for_each(|x| large.add(x, 1));
        assert_eq!(large.result(Statistic::StddevPop), Some(1e300));
        assert_eq!(large.result(Statistic::VarPop), Some(f64::INFINITY));
    }

    #[test]
    fn few_rows_and_no_numbers() {
        assert!(bits(&of(&[])).iter().all(Option::is_none));
        let one = of(&[(5.0, 3.0)]);
        assert_eq!(one.result(Statistic::VarPop), Some(0.0));
        assert_eq!(one.result(Statistic::VarSamp), None);
        assert_eq!(one.result(Statistic::CovarPop), Some(0.0));
        assert_eq!(one.result(Statistic::Corr), None);
        assert_eq!(of(&[(5.0, 3.0), (6.0, 3.0)]).result(Statistic::RegrSlope), None);
        let mut odd = of(&[(5.0, 3.0), (6.0, f64::INFINITY), (f64::NAN, 1.0)]);
        assert!(odd.result(Statistic::CovarPop).unwrap().is_nan());
        assert_eq!(odd.result(Statistic::RegrAvgX), Some(f64::INFINITY));
        odd.add_pair(6.0, f64::INFINITY, -1);
        odd.add_pair(f64::NAN, 1.0, -1);
        assert_eq!(bits(&odd), bits(&of(&[(5.0, 3.0)])));
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1000_i32..1000).prop_map(f64::from),
            4 => -1e6_f64..1e6,
            1 => any::<f64>(),
        ]
    }

    proptest! {
        /// Neither order, nor grouping, nor rows that were taken away again leave a trace.
        #[test]
        fn only_the_rows_count(
            rows in prop::collection::vec((any_value(), any_value()), 0..20),
            passing in prop::collection::vec((any_value(), any_value()), 0..20),
        ) {
            let mut reversed = Moments::default();
            passing.iter().for_each(|&(y, x)| reversed.add_pair(y, x, 2));
            rows.iter().rev().for_each(|&(y, x)| reversed.add_pair(y, x, 1));
            passing.iter().for_each(|&(y, x)| reversed.add_pair(y, x, -2));
            prop_assert_eq!(bits(&reversed), bits(&of(&rows)));

            let (left, right) = rows.split_at(rows.len() / 2);
            let mut merged = of(left);
            merged.merge(&Moments::from_bytes(&of(right).to_bytes()).unwrap());
            prop_assert_eq!(bits(&merged), bits(&of(&rows)));
        }
    }
}
