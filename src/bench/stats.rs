//! Medians and quartiles.

/// The value below which a share `q` (0 to 1) of the values lies, interpolated; `None` if there are none.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let low = *sorted.get(at.floor() as usize)?;
    let high = *sorted.get(at.ceil() as usize)?;
    Some(low + (high - low) * at.fract())
}

/// The middle value.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The median of the rounds' ratios. Rounds that one of them has not finished do not count.
pub fn paired_ratio(rounds: &[Vec<f64>], base: &[Vec<f64>]) -> Option<f64> {
    let ratios: Vec<f64> = rounds
        .iter()
        .zip(base)
        .filter_map(|(r, b)| Some(median(r)? / median(b)?))
        .filter(|r| r.is_finite())
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.25), Some(2.5));
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The machine became three times slower after the first round: the ratio is 2 all the same.
        let base = [vec![1.0], vec![3.0], vec![3.0]];
        let other = [vec![2.0], vec![6.0], vec![6.0]];
        assert_eq!(paired_ratio(&other, &base), Some(2.0));
        assert_eq!(paired_ratio(&[vec![]], &base), None);
    }
}
