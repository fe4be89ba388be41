//! Chance that is the same on every machine (SplitMix64, Steele et al. 2014).

pub struct Rng(pub u64);

impl Rng {
    /// From 0 to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next()
    }

    pub fn chance(&mut self, chance: f64) -> bool {
        self.next() < chance
    }

    /// As often between 1 and 2 as between 2 and 4.
    pub fn scale(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.next())
    }

    /// Normal, about 0, by 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.next().max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * self.next()).cos()
    }

    /// About normal, of mean 0 and deviation 1, and never beyond 3.
    pub fn bell(&mut self) -> f64 {
        (self.next() + self.next() + self.next() - 1.5) * 2.0
    }
}
