//! What many runs say together.

/// In ascending order.
pub(super) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The one in the middle, or what lies between the two; 0 of none.
pub(super) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted {
        [] => 0.0,
        _ if sorted.len() % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!((median(&[]), median(&[3.0]), median(&[1.0, 3.0]), median(&[1.0, 2.0, 9.0])), (0.0, 3.0, 2.0, 2.0));
        assert_eq!(median(&sorted([9.0, 1.0, 2.0])), 2.0);
    }
}
