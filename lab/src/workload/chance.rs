//! Seeded chance: one stream per purpose, and the few distributions that arrivals and lengths need.

/// One stream.
#[derive(Debug)]
pub(super) struct Chance {
    rng: fastrand::Rng,
}

impl Chance {
    /// The stream for one purpose of one seed.
    pub(super) fn new(seed: u64, purpose: &str) -> Chance {
        let seed = xxhash_rust::xxh3::xxh3_64_with_seed(purpose.as_bytes(), seed);
        Chance { rng: fastrand::Rng::with_seed(seed) }
    }

    /// Evenly in [0, 1).
    pub(super) fn share(&mut self) -> f64 {
        self.rng.f64()
    }

    /// Evenly among `count` places.
    pub(super) fn place(&mut self, count: usize) -> usize {
        self.rng.usize(..count.max(1))
    }

    /// Exponential with mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.rng.f64()).ln()
    }

    /// Normal with mean 0 and deviation 1 (polar method, one of the two values).
    pub(super) fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.rng.f64() - 1.0, 2.0 * self.rng.f64() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// Gamma with mean 1 and this coefficient of variation; 1 is exponential. Marsaglia and Tsang's squeeze; shapes
    /// below 1 by a power of a uniform.
    pub(super) fn gamma(&mut self, cv: f64) -> f64 {
        let shape = 1.0 / (cv * cv);
        let boost = if shape < 1.0 { (1.0 - self.rng.f64()).powf(1.0 / shape) } else { 1.0 };
        let d = if shape < 1.0 { shape + 1.0 } else { shape } - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v <= 0.0 {
                continue;
            }
            let u = 1.0 - self.rng.f64();
            if u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v * boost / shape;
            }
        }
    }
}
