//! How likely it is that mere chance would have done as much.

/// Terms of the continued fraction after which no digit changes any more, for all that is asked here.
const TERMS_MAX: usize = 300;
const PRECISE: f64 = 1e-12;
/// Stands for zero where one divides by it.
const TINY: f64 = 1e-300;

/// How likely at least `hits` of `tries` are when each hits with chance `p`. Counts may be faded, and then have fractions:
/// the tail of the binomial distribution is the regularised incomplete beta function `I_p(hits, tries - hits + 1)`.
pub fn at_least(hits: f64, tries: f64, p: f64) -> f64 {
    let sound = hits.is_finite() && tries.is_finite() && p.is_finite();
    if !sound || hits <= 0.0 || p >= 1.0 {
        return 1.0;
    }
    if p <= 0.0 || hits > tries {
        return 0.0;
    }
    incomplete_beta(hits, tries - hits + 1.0, p).clamp(0.0, 1.0)
}

/// Abramowitz and Stegun 26.5.8, evaluated by Lentz's method.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction converges fast on this side; the other one is its mirror.
    match x < (a + 1.0) / (a + b + 2.0) {
        true => front * fraction(a, b, x) / a,
        false => 1.0 - front * fraction(b, a, 1.0 - x) / b,
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    let apart = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / apart(1.0 - (a + b) * x / (a + 1.0));
    let mut sum = d;
    for term in 1..TERMS_MAX {
        let m = term as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for part in [even, odd] {
            d = 1.0 / apart(1.0 + part * d);
            c = apart(1.0 + part / c);
            step = c * d;
            sum *= step;
        }
        if (step - 1.0).abs() < PRECISE {
            break;
        }
    }
    sum
}

/// The logarithm of the gamma function for positive values (Lanczos' series with g = 7 and nine terms).
fn ln_gamma(x: f64) -> f64 {
    const SERIES: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Gamma(x) = Gamma(x + 1) / x
        return ln_gamma(x + 1.0) - x.ln();
    }
    let x = x - 1.0;
    let sum =
        SERIES.iter().zip(1u32..).fold(0.999_999_999_999_809_9, |sum, (term, nth)| sum + term / (x + f64::from(nth)));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Term by term, for whole numbers.
    fn summed(hits: u32, tries: u32, p: f64) -> f64 {
        let choose = |k: u32| (0..k).fold(1.0, |product, i| product * f64::from(tries - i) / f64::from(i + 1));
        (hits..=tries).map(|k| choose(k) * p.powi(k as i32) * (1.0 - p).powi((tries - k) as i32)).sum()
    }

    #[test]
    fn it_is_the_tail_of_the_binomial_distribution() {
        for tries in [1, 2, 5, 30, 100] {
            for hits in 0..=tries {
                for p in [0.001, 0.04, 0.3, 0.5, 0.9] {
                    let (found, truth) = (at_least(f64::from(hits), f64::from(tries), p), summed(hits, tries, p));
                    assert!(
                        (found - truth).abs() <= 1e-9 + truth * 1e-6,
                        "{hits} of {tries} at {p}: {found}, not {truth}"
                    );
                }
            }
        }
    }

    #[test]
    fn fractions_lie_between_whole_numbers() {
        let at = |hits: f64| at_least(hits, 20.0, 0.1);
        assert!(at(3.0) > at(3.5) && at(3.5) > at(4.0));
    }

    #[test]
    fn nonsense_is_no_evidence() {
        for (hits, tries, p) in [(0.0, 0.0, 0.5), (f64::NAN, 3.0, 0.5), (3.0, f64::INFINITY, 0.5), (3.0, 3.0, 1.0)] {
            assert_eq!(at_least(hits, tries, p), 1.0);
        }
        assert_eq!(at_least(2.0, 3.0, 0.0), 0.0);
        assert!(at_least(1e6, 2e6, 0.4).is_finite());
    }
}
