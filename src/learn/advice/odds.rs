//! How much can be believed of a few counts.

use std::time::Duration;

/// Two-sided 95 % of the normal distribution, in standard deviations.
const Z: f64 = 1.96;

/// Between which shares the true one lies by 95 %, when it was so `part` times of `whole`: the score interval of
/// E. B. Wilson (J. of the American Statistical Association 22, 1927), which is honest for few and for extreme counts.
pub fn bounds(part: usize, whole: usize) -> (f64, f64) {
    if whole == 0 {
        return (0.0, 1.0);
    }
    let n = whole as f64;
    let share = part as f64 / n;
    let middle = share + Z * Z / (2.0 * n);
    let wide = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - wide) / scale).max(0.0), ((middle + wide) / scale).min(1.0))
}

/// More often than not, by 95 %.
pub fn mostly(part: usize, whole: usize) -> bool {
    bounds(part, whole).0 > 0.5
}

/// The middle one; of an even number the later of the two in the middle.
pub fn median(spans: &[Duration]) -> Option<Duration> {
    let mut sorted = spans.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_counts_say_little() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 0.001, "{a} {b}");
        // From the tables: 5 of 5, 0 of 16, 8 of 10.
        close(bounds(5, 5).0, 0.5655);
        close(bounds(0, 16).1, 0.1936);
        close(bounds(8, 10).0, 0.4902);
        assert_eq!(bounds(0, 0), (0.0, 1.0));
        assert!(mostly(5, 5) && !mostly(3, 3) && !mostly(8, 10) && mostly(9, 10));
    }
}
